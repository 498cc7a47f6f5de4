"""PF-MSMTrec: experts, towers and gates aggregated personally for every client,
batch normalisation local, conflicts coordinated.

Formula, for each expert of client k, with Delta[k] = W[k] - P[k], N clients present, and client k
training on n[k] rows in an epoch:
  coordination: `U = sum over j of u[j] * Delta[j]` with the coefficients u of
    `aggregation.conflict`, whose mean weighs clients by their rows;
  own weight: `v[k] = 1 - q * (1 - (1 - mu) * n[k] / (n[k] + rows_prior))`;
  attraction: `Q[k] = P[k] + g * (sum over j of a[k, j] * P[j] - P[k])` with the attention a of
    `aggregation.attention`;
  personalisation: `P'[k] = v[k] * W[k] + (1 - v[k]) * (Q[k] + U)`;
  consensus: `G' = sum over k of n[k] / n * P'[k]`.
Towers and gates are aggregated per task over the clients that serve it, the projection of numerical
features over all: `P'[k] = v[k] * W[k] + (1 - v[k]) * (Q[k] + sum over j of a[k, j] * Delta[j])`,
each with a mu of its own. A gate or projection whose mu is 0 stays private. A client with few rows
thus takes more from the others, and one with many follows its own training.

With g = 0 clients join what they learned since the last aggregation and nothing else, so what one
has of its own stays; with g = 1 they join their values (the sums are then of W[j]), which takes
the part (1 - v) of it away at every aggregation. The default lies between. No g suits all data:
how far apart clients stay is therefore found on valid after every round (`training.spreading`), and
the sharing q, of 1 at first, follows what was found (`process.spread`): where nothing is common it
goes to nearly 0, which is local training.

With a `quick_start`, sums of updates and the common change of a table's row are lengthened while
training begins: see `aggregation.lengths`.

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

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

from pfrec import lazy, sharing
from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, pf_sums, registry
from tff_process.client import variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.aggregation import attention, conflict, lengths, mix, tables
    from tff_process.aggregation import gram as gram_lib

COORDINATIONS = ("none", "mean", "pcgrad", "conflict_averse")


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="pf"):
    """The modules' settings."""

    coordination: str = settings_lib.setting(
        "conflict_averse",
        "how the experts' updates are joined; none is by attention alone, as those of towers",
        choices=COORDINATIONS,
        alias="coordination",
    )
    conflict_radius: float = settings_lib.setting(
        0.4,
        "c of conflict-averse coordination; 0 is the mean",
        low=0.0,
        below=1.0,
        alias="conflict_radius",
    )
    temperature: float = settings_lib.setting(
        1.0,
        "tau of the attention between clients; larger is more even",
        above=0.0,
        alias="temperature",
    )
    log_counts: bool = settings_lib.setting(
        False, "whether attention also weighs clients by their rows", alias="log_counts"
    )
    weigh_by_rows: bool = settings_lib.setting(
        True,
        "whether a client's update of an expert counts by its rows; else all count alike",
        alias="weigh_by_rows",
    )
    mu: float = settings_lib.setting(
        0.25,
        "how much of an expert comes from the aggregation at least",
        low=0.0,
        high=1.0,
        alias="mu",
    )
    tower_mu: float = settings_lib.setting(
        0.25, "the same of a tower", low=0.0, high=1.0, alias="tower_mu"
    )
    gate_mu: float = settings_lib.setting(
        0.25, "the same of a gate; 0 keeps gates private", low=0.0, high=1.0, alias="gate_mu"
    )
    numeric_mu: float = settings_lib.setting(
        0.25,
        "the same of the projection of numerical features; 0 keeps it private",
        low=0.0,
        high=1.0,
        alias="numeric_mu",
    )
    rows_prior: float = settings_lib.setting(
        2_000.0,
        "how many rows a client must have to keep half of what mu leaves to it of experts, towers, "
        "gates and the projection of numbers, with fewer it takes more from the others; "
        "0 leaves it all of that, whatever its rows",
        low=0.0,
        alias="rows_prior",
    )
    attraction: float = settings_lib.setting(
        0.3,
        "how far an aggregation draws a client's values of these towards the others', beside "
        "joining their updates: 0 joins updates alone, 1 joins values",
        low=0.0,
        high=1.0,
    )
    proximal: float = settings_lib.setting(
        0.0, "weight of the pull towards the consensus", low=0.0, alias="proximal"
    )
    server_step: float = settings_lib.setting(
        1.0,
        "how far the server's values go towards the aggregated ones; 1 is all the way",
        above=0.0,
        high=1.0,
        alias="server_step",
    )
    table_prior: float = settings_lib.setting(
        2000.0,
        "how often in an epoch a client must meet a row of a shared table for the row to follow "
        "its own training half; 0 keeps one table for all",
        low=0.0,
        alias="table_prior",
    )

    find_spread: bool = settings_lib.setting(
        True,
        "whether all clients' values are drawn together or apart after every round, by what is "
        "best on valid; not where metrics are withheld, nor with --secure_sums",
    )

    follow_spread: bool = settings_lib.setting(
        True,
        "whether clients that are driven apart after a round also take less from one another in "
        "those to come",
    )

    quick_start: float = settings_lib.setting(
        0.0,
        "for how many rows of the mean client joined updates are lengthened, less and less, to "
        "those of one client, for data whose epochs are a few steps; 0 for never",
        low=0.0,
    )

    def to_json(self) -> dict[str, Any]:
        """Plain data, in which nothing is followed where nothing is found: a run that began
        without either goes on with the same flags.
        """
        return {**super().to_json(), "follow_spread": self.find_spread and self.follow_spread}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Settings:
        """The inverse of `to_json`; a record from before `attraction` came is of clients whose
        values were joined, and one from before `find_spread` of clients that stayed where they
        were. See `settings.Settings.from_json`.
        """
        before = {"attraction": 1.0, "find_spread": False, "follow_spread": False}
        return super().from_json({**before, **value})

    def initial_extra(self, layout: variables.ModelVariables, clients: int) -> base.Values:
        """`Algorithm.initial_extra`: q of the formula, where it is followed, and the rows gone,
        where it matters that training begins.
        """
        del layout, clients
        kept = collections.OrderedDict()
        if self.find_spread and self.follow_spread:
            kept[base.SHARING] = tf.constant(1.0)
        if self.quick_start:
            kept[base.ROWS_GONE] = tf.constant(0.0)
        return kept


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


def from_aggregation(mu: float, examples: tf.Tensor, prior: float) -> float | tf.Tensor:
    """`1 - v` of the formula, [clients]: how much of a group each client takes from the
    aggregation; `mu` itself without a prior.
    """
    return 1.0 - (1.0 - mu) * mix.own_weight(examples, prior) if prior else mu


def own_weight(taken: float | tf.Tensor, members: tf.Tensor) -> tf.Tensor:
    """v of the formula, float64 [clients], for the diagnostics: the weight of a client's own values
    beside what the aggregation offers it; 1 for those that take no part.
    """
    portion = tf.cast(taken, tf.float64) if tf.is_tensor(taken) else taken
    own = 1.0 - portion * tf.ones(tf.shape(members), tf.float64)
    return tf.where(tf.cast(members, tf.bool), own, tf.ones_like(own))


def aggregate(
    settings: Settings,
    layout: variables.ModelVariables,
    tasks: tuple[str, ...],
    state: base.ServerState,
    reports: base.ClientReports,
    epochs: float = 1.0,
) -> tuple[base.ServerState, base.Diagnostics]:
    """`Algorithm.aggregate` of PF-MSMTrec: experts first, then towers,
    gates and the numerical projection, then tables.

    Args:
      settings: of the modules.
      layout, tasks, state, reports: see `Algorithm.aggregate`.
      epochs: how much of its rows a client went over since the last aggregation.
    """
    personal = collections.OrderedDict(state.personal)
    diagnostics: collections.OrderedDict[str, tf.Tensor] = collections.OrderedDict()
    extra = collections.OrderedDict(state.extra)
    sharing, early = extra.get(base.SHARING), None
    if base.ROWS_GONE in extra:
        early = lengths.beginning(extra[base.ROWS_GONE], settings.quick_start)
        here = tf.reduce_sum(tf.cast(reports.present, tf.float32))
        extra[base.ROWS_GONE] += tf.reduce_sum(reports.examples) / here

    def join(
        group: str,
        specs: list[variables.VariableSpec],
        members: tf.Tensor,
        mu: float,
        coordinate: bool,
    ) -> None:
        deltas = [reports.values[s.name] - state.personal[s.name] for s in specs]
        gram = gram_lib.gram(deltas)
        weights = attention.attention(
            gram, reports.examples, members, settings.temperature, settings.log_counts
        )
        coordinated = coordinate and settings.coordination != "none"
        joined, longer = weights, None
        if coordinated:
            joined = coefficients(settings, gram, reports.examples, members)[tf.newaxis]
        if early is not None:
            by = lengths.lengthening(gram, joined, reports.examples, members, early)
            longer = (by - 1.0)[:, tf.newaxis] * tf.cast(joined, by.dtype)
        taken = from_aggregation(mu, reports.examples, settings.rows_prior * epochs)
        if sharing is not None:
            taken *= sharing
        for spec, delta in zip(specs, deltas):
            trained, previous = reports.values[spec.name], state.personal[spec.name]
            gathered = mix.combine(weights, previous)
            if coordinated:
                attended = gathered + mix.combine(joined, delta)
            else:
                attended = mix.combine(weights, trained)
            if longer is not None:
                attended += mix.combine(longer, delta)
            if settings.attraction < 1.0:
                attended -= (1.0 - settings.attraction) * (gathered - previous)
            personal[spec.name] = tf.where(
                mix.broadcast_like(reports.present, previous),
                mix.personalise(trained, attended, taken, members),
                previous,
            )
        diagnostics[f"gram/{group}"] = gram
        diagnostics[f"attention/{group}"] = weights
        diagnostics[f"own_weight/{group}"] = own_weight(taken, members)
        diagnostics[f"conflict_share/{group}"] = conflict.conflict_share(gram, members)

    for group, specs in layout.personal_groups("expert").items():
        join(group, specs, reports.present, settings.mu, coordinate=True)
    for kind, mu in (("tower", settings.tower_mu), ("gate", settings.gate_mu)):
        for group, specs in layout.personal_groups(kind).items():
            join(group, specs, reports.taking_part(specs[0], tasks), mu, coordinate=False)
    for group, specs in layout.personal_groups("numeric").items():
        join(group, specs, reports.present, settings.numeric_mu, coordinate=False)
    personal = mix.interpolate(state.personal, personal, settings.server_step)
    consensus = base.consensus(layout, tasks, state, reports, personal)
    for group, (spec,) in layout.personal_groups("embedding").items():
        seen, trained, previous = (
            reports.seen[spec.name],
            reports.values[spec.name],
            state.personal[spec.name],
        )
        change = tables.common_change(trained - previous, seen, settings.server_step)
        if early is not None:
            change *= lengths.lengthening_of_rows(seen, early)[:, tf.newaxis]
        own = mix.own_weight(seen, settings.table_prior)
        if sharing is not None:
            own += (1.0 - sharing) * (1.0 - own)
            # Of an absent client, which then has a weight too, there are zeros.
            trained = tf.where(mix.broadcast_like(reports.present, previous), trained, previous)
        personal[spec.name] = tables.blend_rows(previous, trained, change, own)
        consensus[spec.name] = state.consensus[spec.name] + change
        diagnostics[f"own_weight/{group}"] = tf.math.divide_no_nan(
            tf.reduce_sum(own * seen, axis=1), tf.reduce_sum(seen, axis=1)
        )
    common = mix.interpolate(
        state.common, fedavg.average(layout, tasks, state.common, reports), settings.server_step
    )
    return base.ServerState(state.round + 1, common, personal, consensus, extra), diagnostics


@registry.register("pf_msmtrec")
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
        tasks: tuple[str, ...],
        state: base.ServerState,
        reports: base.ClientReports,
    ) -> tuple[base.ServerState, base.Diagnostics]:
        return aggregate(settings, layout, tasks, state, reports, epochs)

    made = base.Algorithm(
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
        initial_extra=settings.initial_extra,
        finds_spread=settings.find_spread,
    )
    return dataclasses.replace(
        made, in_sums=lambda: pf_sums.in_sums(made, settings, schema, epochs)
    )
