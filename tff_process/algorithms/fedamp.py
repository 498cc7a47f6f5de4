"""FedAMP: each client receives a mixture of all models that favours those that are like its own.

Formula, with `d[i, j] = ||w[i] - w[j]||^2`: `u[i] = sum over j of xi[i, j] * w[j]`, `xi[i, j] =
alpha * A'(d[i, j])` for j other than i, xi[i, i] the rest to one, and `A(d) = 1 - exp(-d / sigma)`.
Client i starts from u[i] and minimises `F[i](w) + proximal / 2 * ||w - u[i]||^2`.

[ours] d is taken in units of its mean over the pairs present, and alpha stands for the paper's
alpha / sigma times the number of other clients: so `xi[i, j] = alpha / (N - 1) * exp(-d[i, j] /
sigma)` and alpha at most 1 keeps every weight at least zero, for models of any size. Shared
embedding tables are averaged by rows seen, as in all algorithms here. alpha = 0 is local training
of all else; sigma towards infinity with alpha = (N - 1) / N is the plain mean.

References:
  Huang et al., "Personalized Cross-Silo Federated Learning on Non-IID Data", AAAI 2021, equations 3
  to 6.
"""

from __future__ import annotations

import collections
import dataclasses

from pfrec import lazy, sharing
from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry
from tff_process.client import variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.aggregation import gram as gram_lib
    from tff_process.aggregation import mix

PERSONAL = ("expert", "gate", "tower", "numeric", "batch_norm")


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="fedamp"):
    """FedAMP's hyperparameters."""

    alpha: float = settings_lib.setting(
        0.5, "how much a client takes from the others at most", low=0.0, high=1.0
    )
    sigma: float = settings_lib.setting(
        1.0,
        "the distance, in mean squared distances, at which a client takes 1/e of that",
        above=0.0,
    )
    proximal: float = settings_lib.setting(
        1e-4,
        "weight of the pull towards the received mixture, the paper's lambda / alpha_K",
        low=0.0,
    )


def weights(settings: Settings, gram: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """xi [N, N], float64; rows sum to 1, an absent client keeps its own.

    Args:
      settings: the hyperparameters.
      gram: inner products of the clients' models or, as distances are the same, of their
        differences from one model, [N, N].
      present: bool [N].
    """
    square = tf.linalg.diag_part(gram)
    distance = tf.maximum(square[:, tf.newaxis] + square[tf.newaxis, :] - 2.0 * gram, 0.0)
    here = tf.cast(present, tf.float64)
    pairs = (
        here[:, tf.newaxis]
        * here[tf.newaxis, :]
        * (1.0 - tf.eye(tf.shape(gram)[0], dtype=tf.float64))
    )
    typical = tf.math.divide_no_nan(tf.reduce_sum(pairs * distance), tf.reduce_sum(pairs))
    near = tf.exp(-tf.math.divide_no_nan(distance, settings.sigma * typical))
    others = settings.alpha * pairs * tf.math.divide_no_nan(near, tf.reduce_sum(here) - 1.0)
    return others + tf.linalg.diag(1.0 - tf.reduce_sum(others, axis=1))


@registry.register("fedamp")
def fedamp(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """Everything is shared, and comes back mixed for each client;
    embedding tables by their feature's policy.
    """
    rules = (
        ("*", "shared"),
        ("batch_norm/*", "shared"),
        ("embedding/*", "private"),
        *sharing.feature_rules(schema),
    )

    def aggregate(
        layout: variables.ModelVariables,
        tasks: tuple[str, ...],
        state: base.ServerState,
        reports: base.ClientReports,
    ) -> tuple[base.ServerState, base.Diagnostics]:
        specs = layout.joined(variables.PERSONAL)
        personal, diagnostics = collections.OrderedDict(state.personal), {}
        if specs:
            # Differences from one model have the models' distances, and lose less to rounding.
            origin = {
                spec.name: mix.weighted_mean(reports.values[spec.name], reports.examples)
                for spec in specs
            }
            gram = gram_lib.gram(
                [reports.values[spec.name] - origin[spec.name] for spec in specs if spec.trainable]
            )
            xi = weights(settings, gram, reports.present)
            for spec in specs:
                members = reports.taking_part(spec, tasks)
                mixed = mix.combine(mix.among(xi, members), reports.values[spec.name])
                before = state.personal[spec.name]
                personal[spec.name] = tf.where(mix.broadcast_like(members, before), mixed, before)
            # Its weights hold a client's own already: nothing stands beside them.
            own = tf.zeros(tf.shape(xi)[:1], tf.float64)
            diagnostics = {"attention/all": xi, "own_weight/all": own}
        consensus = base.consensus(layout, tasks, state, reports, personal)
        common = fedavg.average(layout, tasks, state.common, reports)
        return base.ServerState(
            state.round + 1, common, personal, consensus, state.extra
        ), diagnostics

    return base.Algorithm(
        "fedamp",
        sharing.SharingPolicy(rules),
        PERSONAL,
        aggregate,
        proximal=settings.proximal,
        anchor=base.RECEIVED,
    )
