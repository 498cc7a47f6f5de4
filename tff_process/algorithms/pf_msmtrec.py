"""PF-MSMTrec: experts, towers and gates aggregated personally for every client,
batch normalisation local, conflicts coordinated.

Formula, for each expert of client k, with Delta[k] = W[k] - P[k], N clients present, and client k
training on n[k] rows in an epoch:
  coordination: `U = sum over j of u[j] * Delta[j]` with the coefficients u of
    `aggregation.conflict`, whose mean weighs clients by their rows;
  own weight: `v[k] = (1 - mu) * n[k] / (n[k] + rows_prior)`;
  personalisation: `P'[k] = v[k] * W[k] + (1 - v[k]) * (sum over j of a[k, j] * P[j] + U)` with the
    attention a of `aggregation.attention`;
  template: `G' = sum over k of n[k] / n * P'[k]`.
Towers and gates are aggregated per task over the clients that serve it, the projection of numerical
features over all: `P'[k] = v[k] * W[k] + (1 - v[k]) * sum over j of a[k, j] * W[j]`, each with a mu
of its own. A gate or projection whose mu is 0 stays private. A client with few rows thus takes more
from the others, and one with many follows its own training.

All that the server keeps of these may then go a part of the way only, `server_step`, from where it
was to what was aggregated: slow weights. By default it goes all the way, and what is served is
averaged over time instead (`averaging`), as for every algorithm. Rows of shared embedding tables
follow their client's own training the more, the more often the client met them, and for the rest
what is common to all: see `aggregation.tables`. With a `table_prior` of 0 there is one table for
all, averaged by rows seen.

References:
  Ding et al., "Towards Personalized Federated Multi-Scenario Multi-Task Recommendation", arXiv
  2406.18938 (the modules and their order); Zhang et al., "Lookahead Optimizer: k steps forward, 1
  step back", NeurIPS 2019 (slow weights); Liu et al., NeurIPS 2021 (CAGrad); Lu et al., CVPR 2024
  (FedHCA2); Huang et al., AAAI 2021 (FedAMP); Li et al., ICLR 2021 (FedBN).
"""

import collections
import dataclasses

import tensorflow as tf

from pfrec import errors, sharing
from pfrec.data import schema as schema_lib
from tff_process.aggregation import attention, conflict, mix, tables
from tff_process.aggregation import gram as gram_lib
from tff_process.algorithms import base, fedavg
from tff_process.client import variables

COORDINATIONS = ("none", "mean", "pcgrad", "conflict_averse")


@dataclasses.dataclass(frozen=True)
class Settings:
    """The modules' settings.

    Attributes:
      coordination: how the experts' updates are joined: `conflict_averse`, `pcgrad`, `mean`, or
        `none` (attention over W alone).
      conflict_radius: c of conflict-averse coordination, 0 to below 1; 0 is the mean.
      temperature: tau of the attention; larger is more even.
      log_counts: whether attention also weighs clients by their rows.
      weigh_by_rows: whether a client's update of an expert counts by its rows; else all count
        alike.
      mu: how much of an expert comes from the aggregation at least, 0 to 1.
      tower_mu: the same for towers.
      gate_mu: the same for gates; 0 keeps them private.
      numeric_mu: the same for the projection of numerical features; 0 keeps it private.
      rows_prior: how many rows a client must have for half of what mu leaves to it; 0 leaves it all
        of that, whatever its rows.
      proximal: weight of the pull towards the template.
      server_step: how far the server's values go towards the aggregated ones, above 0 to 1; 1 is
        all the way.
      table_prior: how often in an epoch a client must meet a row of a shared table for the row to
        follow its own training half; 0 for one table for all.
    """

    coordination: str = "conflict_averse"
    conflict_radius: float = 0.4
    temperature: float = 1.0
    log_counts: bool = False
    weigh_by_rows: bool = True
    mu: float = 0.25
    tower_mu: float = 0.25
    gate_mu: float = 0.25
    numeric_mu: float = 0.25
    rows_prior: float = 5_000.0
    proximal: float = 0.0
    server_step: float = 1.0
    table_prior: float = 2000.0

    def __post_init__(self) -> None:
        if self.coordination not in COORDINATIONS:
            raise errors.PfrecError(
                f"coordination {self.coordination!r} is not one of {', '.join(COORDINATIONS)}"
            )
        for name in ("mu", "tower_mu", "gate_mu", "numeric_mu"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise errors.PfrecError(
                    f"{name} is {getattr(self, name)}; it must be between 0 and 1"
                )
        if not 0.0 <= self.conflict_radius < 1.0:
            raise errors.PfrecError(
                f"conflict_radius is {self.conflict_radius}; it must be at least 0 and below 1"
            )
        if self.temperature <= 0.0 or self.proximal < 0.0:
            raise errors.PfrecError("temperature must be above 0 and proximal must not be negative")
        if not 0.0 < self.server_step <= 1.0:
            raise errors.PfrecError(
                f"server_step is {self.server_step}; it must be above 0 and at most 1"
            )
        for name, zero in (
            ("rows_prior", "whatever a client's rows"),
            ("table_prior", "for one table for all"),
        ):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise errors.PfrecError(
                    f"{name} is {getattr(self, name)}; it must be a number, at least 0 (0 {zero})"
                )


def coefficients(
    settings: Settings, gram: tf.Tensor, examples: tf.Tensor, present: tf.Tensor
) -> tf.Tensor:
    """u [clients], float64: the coordinated update of a group is `sum over j of u[j] *
    Delta[j]`.
    """
    weights = examples if settings.weigh_by_rows else None
    if settings.coordination == "conflict_averse":
        return conflict.conflict_averse(gram, present, settings.conflict_radius, weights)
    if settings.coordination == "pcgrad":
        return conflict.pcgrad(gram, present, weights)
    return conflict.mean(present, weights)


def from_aggregation(mu: float, examples: tf.Tensor, prior: float) -> "float | tf.Tensor":
    """`1 - v` of the formula, [clients]: how much of a group each client takes from the
    aggregation; `mu` itself without a prior.
    """
    return 1.0 - (1.0 - mu) * mix.own_weight(examples, prior) if prior else mu


def aggregate(
    settings: Settings,
    layout: variables.ModelVariables,
    tasks: "tuple[str, ...]",
    state: base.ServerState,
    reports: base.ClientReports,
    epochs: float = 1.0,
) -> "tuple[base.ServerState, base.Diagnostics]":
    """`Algorithm.aggregate` of PF-MSMTrec: experts first, then towers,
    gates and the numerical projection, then tables.

    Args:
      settings: of the modules.
      layout, tasks, state, reports: see `Algorithm.aggregate`.
      epochs: how much of its rows a client went over since the last aggregation.
    """
    personal = collections.OrderedDict(state.personal)
    diagnostics: collections.OrderedDict[str, tf.Tensor] = collections.OrderedDict()

    def join(
        group: str,
        specs: "list[variables.VariableSpec]",
        members: tf.Tensor,
        mu: float,
        coordinate: bool,
    ) -> None:
        deltas = [reports.values[s.name] - state.personal[s.name] for s in specs]
        gram = gram_lib.gram(deltas)
        weights = attention.attention(
            gram, reports.examples, members, settings.temperature, settings.log_counts
        )
        update = coefficients(settings, gram, reports.examples, members)
        taken = from_aggregation(mu, reports.examples, settings.rows_prior * epochs)
        for spec, delta in zip(specs, deltas):
            trained, previous = reports.values[spec.name], state.personal[spec.name]
            if coordinate and settings.coordination != "none":
                attended = mix.combine(weights, previous) + mix.combine(update[tf.newaxis], delta)
            else:
                attended = mix.combine(weights, trained)
            personal[spec.name] = tf.where(
                mix.broadcast_like(reports.present, previous),
                mix.personalise(trained, attended, taken, members),
                previous,
            )
        diagnostics[f"gram/{group}"] = gram
        diagnostics[f"attention/{group}"] = weights
        diagnostics[f"conflict_share/{group}"] = conflict.conflict_share(gram, members)

    for group, specs in layout.personal_groups("expert").items():
        join(group, specs, reports.present, settings.mu, coordinate=True)
    for kind, mu in (("tower", settings.tower_mu), ("gate", settings.gate_mu)):
        for group, specs in layout.personal_groups(kind).items():
            serving = reports.present & (reports.serves[:, tasks.index(specs[0].member)] > 0)
            join(group, specs, serving, mu, coordinate=False)
    for group, specs in layout.personal_groups("numeric").items():
        join(group, specs, reports.present, settings.numeric_mu, coordinate=False)
    personal = mix.interpolate(state.personal, personal, settings.server_step)
    template = collections.OrderedDict(
        (name, mix.weighted_mean(value, reports.examples)) for name, value in personal.items()
    )
    for group, (spec,) in layout.personal_groups("embedding").items():
        seen, trained, previous = (
            reports.seen[spec.name],
            reports.values[spec.name],
            state.personal[spec.name],
        )
        change = tables.common_change(trained - previous, seen, settings.server_step)
        own = mix.own_weight(seen, settings.table_prior)
        personal[spec.name] = tables.blend_rows(previous, trained, change, own)
        template[spec.name] = state.template[spec.name] + change
        diagnostics[f"own_weight/{group}"] = tf.math.divide_no_nan(
            tf.reduce_sum(own * seen, axis=1), tf.reduce_sum(seen, axis=1)
        )
    common = mix.interpolate(
        state.common, fedavg.average(layout, state.common, reports), settings.server_step
    )
    return base.ServerState(state.round + 1, common, personal, template, state.extra), diagnostics


def pf_msmtrec(
    schema: schema_lib.Schema, settings: Settings = Settings(), epochs: float = 1.0
) -> base.Algorithm:
    """Experts, towers, gates and the numerical projection are personal; batch normalisation stays;
    embeddings by their feature's policy.

    Args:
      schema: of the rows.
      settings: of the modules.
      epochs: how much of its rows a client goes over between aggregations.
    """
    rules = [("expert/*/shared", "shared"), ("tower/*", "shared")]
    rules += [
        (group, "shared")
        for group, mu in (("gate/*", settings.gate_mu), ("numeric", settings.numeric_mu))
        if mu
    ]
    rules += sharing.feature_rules(schema)

    def aggregate_with_settings(
        layout: variables.ModelVariables,
        tasks: "tuple[str, ...]",
        state: base.ServerState,
        reports: base.ClientReports,
    ) -> "tuple[base.ServerState, base.Diagnostics]":
        return aggregate(settings, layout, tasks, state, reports, epochs)

    return base.Algorithm(
        "pf_msmtrec",
        sharing.SharingPolicy(tuple(rules)),
        personal_kinds=(
            "expert",
            "tower",
            "gate",
            "numeric",
            *(("embedding",) if settings.table_prior else ()),
        ),
        aggregate=aggregate_with_settings,
        proximal=settings.proximal,
    )
