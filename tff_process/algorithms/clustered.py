"""Clustered federated learning: FedAvg within groups of clients, which split where updates of one
group point in different ways.

Formula: clients that share a model send updates `D[i]`, weighted by rows n[i]. A group splits in
two where `||sum of n[i] / n * D[i]|| < threshold * max over i of ||D[i]||`: together it stands
still while its clients do not. The split is the one whose largest cosine between the two sides is
the smallest; it cuts the maximum spanning tree of the cosines at its weakest edge, so with
`b[i, j]` the best worst cosine over all ways from i to j it is who has a better way to the group's
first client than the weakest there is. Groups never join again. Shared embedding tables are
averaged over all clients, by rows seen, as in all algorithms here.

[ours] The source's two thresholds, of the mean and of the largest update, are one of their ratio,
as updates of Adam have no scale of their own; one group, whose ratio is the smallest, splits in an
aggregation, after `wait` of them. An absent client stays in its group. With threshold 0 there is
one group, which is FedAvg.

References:
  Sattler, Müller and Samek, "Clustered Federated Learning: Model-Agnostic Distributed Multi-Task
  Optimization under Privacy Constraints", IEEE TNNLS 2021, algorithms 1 and 2.
"""

from __future__ import annotations

import collections
import dataclasses
import math

from pfrec import lazy
from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedamp, fedavg, registry
from tff_process.client import variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.aggregation import gram as gram_lib
    from tff_process.aggregation import mix

# The group of each client, by the number of a client in it.
GROUPS = "groups"


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="clustered"):
    """The hyperparameters of clustered federated learning."""

    threshold: float = settings_lib.setting(
        0.4,
        "a group splits where its mean update is below so much of its largest; 0 is fedavg",
        low=0.0,
        high=1.0,
    )
    wait: int = settings_lib.setting(8, "aggregations before the first split", low=0)


def bottlenecks(cosine: tf.Tensor, count: int) -> tf.Tensor:
    """The best worst cosine over all ways between two of `count` clients, [N, N]."""
    best = cosine
    for _ in range(math.ceil(math.log2(max(2, count)))):
        ways = tf.minimum(best[:, :, tf.newaxis], best[tf.newaxis, :, :])
        best = tf.maximum(best, tf.reduce_max(ways, axis=1))
    return best


def split(groups: tf.Tensor, gram: tf.Tensor, weights: tf.Tensor, threshold: float) -> tf.Tensor:
    """The groups after an aggregation: as they were, or one of them in two.

    Args:
      groups: int32 [N], the group of each client.
      gram: inner products of the updates, float64 [N, N].
      weights: float [N], rows; 0 for an absent client, which stays where it is.
      threshold: see `Settings`.
    """
    count = int(groups.shape[0])
    # Each by the number of its first client, so that a new one's name is free.
    groups = tf.argmax(tf.cast(_together(groups), tf.int32), axis=1, output_type=tf.int32)
    weight, here = tf.cast(weights, tf.float64), weights > 0
    members = (
        tf.equal(groups[tf.newaxis, :], tf.range(count)[:, tf.newaxis]) & here
    )  # [group, client]
    shares = tf.cast(members, tf.float64) * weight
    shares = tf.math.divide_no_nan(shares, tf.reduce_sum(shares, axis=1, keepdims=True))
    mean = tf.sqrt(tf.maximum(tf.einsum("gi,ij,gj->g", shares, gram, shares), 0.0))
    largest = tf.reduce_max(tf.cast(members, tf.float64) * gram_lib.norms(gram), axis=1)
    several = tf.reduce_sum(tf.cast(members, tf.int32), axis=1) > 1
    ratio = tf.where(
        several & (largest > 0),
        tf.math.divide_no_nan(mean, largest),
        tf.constant(math.inf, tf.float64),
    )
    group = tf.argmin(ratio, output_type=tf.int32)
    inside = members[group]
    pairs = inside[:, tf.newaxis] & inside[tf.newaxis, :]
    best = bottlenecks(tf.where(pairs, gram_lib.cosine(gram), tf.constant(-2.0, tf.float64)), count)
    weakest = tf.reduce_min(tf.where(pairs, best, tf.constant(2.0, tf.float64)))
    index = tf.range(count)
    first = tf.reduce_min(tf.where(inside, index, count - 1))
    leaving = inside & (best[first] <= weakest) & tf.not_equal(index, first)
    named = tf.reduce_min(tf.where(leaving, index, count - 1))
    return tf.where(leaving & (ratio[group] < threshold), named, groups)


def _together(groups: tf.Tensor) -> tf.Tensor:
    """Whether two clients are of one group, bool [N, N]. TFF's graphs have no `==` of tensors."""
    return tf.equal(groups[:, tf.newaxis], groups[tf.newaxis, :])


def initial_extra(layout: variables.ModelVariables, clients: int) -> base.Values:
    """One group of all."""
    del layout
    return collections.OrderedDict({GROUPS: tf.zeros([clients], tf.int32)})


@registry.register("clustered")
def clustered(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """Everything is shared, and comes back as the mean of a client's group;
    embedding tables by their feature's policy.
    """

    def aggregate(
        layout: variables.ModelVariables,
        tasks: tuple[str, ...],
        state: base.ServerState,
        reports: base.ClientReports,
    ) -> tuple[base.ServerState, base.Diagnostics]:
        specs = layout.joined(variables.PERSONAL)
        common = fedavg.average(layout, tasks, state.common, reports)
        groups, personal = state.extra[GROUPS], collections.OrderedDict(state.personal)
        diagnostics: base.Diagnostics = collections.OrderedDict()
        weights = reports.examples * tf.cast(reports.present, reports.examples.dtype)
        if specs and settings.threshold:
            here = reports.present
            moves = [
                tf.where(
                    mix.broadcast_like(here, state.personal[spec.name]),
                    reports.values[spec.name] - state.personal[spec.name],
                    0.0,
                )
                for spec in specs
                if spec.trainable
            ]
            after = split(groups, gram_lib.gram(moves), weights, settings.threshold)
            groups = tf.where(state.round + 1 > settings.wait, after, groups)
        together = tf.cast(_together(groups), tf.float64)
        for spec in specs:
            members = tf.cast(reports.taking_part(spec, tasks), tf.float64)
            shares = together * (members * tf.cast(weights, tf.float64))[tf.newaxis, :]
            total = tf.reduce_sum(shares, axis=1, keepdims=True)
            mean = mix.combine(tf.math.divide_no_nan(shares, total), reports.values[spec.name])
            before = state.personal[spec.name]
            # Those who were away move with their group.
            moved = mix.broadcast_like(total[:, 0] > 0, before)
            personal[spec.name] = tf.where(moved, mean, before)
        if specs:
            rows = together * tf.cast(weights, tf.float64)[tf.newaxis, :]
            taken = tf.math.divide_no_nan(rows, tf.reduce_sum(rows, axis=1, keepdims=True))
            diagnostics = collections.OrderedDict(
                {"attention/all": taken, "own_weight/all": tf.zeros_like(taken[0])}
            )
        consensus = base.consensus(layout, tasks, state, reports, personal)
        extra = collections.OrderedDict({**state.extra, GROUPS: groups})
        return base.ServerState(state.round + 1, common, personal, consensus, extra), diagnostics

    return base.Algorithm(
        "clustered",
        fedamp.fedamp(schema).policy,
        fedamp.PERSONAL,
        aggregate,
        initial_extra=initial_extra,
    )
