"""Robust aggregation around any algorithm: no client's update moves the others further than what
is usual among the clients present.

With Delta[k] = W[k] - P[k] of the n clients present, what the algorithm is given of client k is
`P[k] + L(Delta[k])`, where L is one of

  norm: a group of variables is scaled down to the median over clients of its norms;
  winsorize: each coordinate is limited to the range between the (b+1)-th smallest and the (b+1)-th
    largest of the clients, b = max(1, floor(n / 4)), whose mean is the winsorised mean;
  median: each coordinate is the median of the clients.

Rows of embedding tables move at the clients that met them alone, so that among all clients a moved
row is the outlier: tables are limited by `norm` whatever the choice. Below three clients nothing is
limited: of two, neither is the odd one. Where half of the clients send what harms, the median is
theirs.

[ours] Limiting what comes in, instead of a robust mean in place of the algorithm's own: so it goes
with every algorithm, personalised ones included.

References:
  Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates", ICML 2018
  (coordinate-wise median and trimmed mean);
  Sun et al., "Can You Really Backdoor Federated Learning?", arXiv 1911.07963 (bounded norms).
"""

from __future__ import annotations

import collections
import dataclasses

from pfrec import errors, lazy
from tff_process.algorithms import base
from tff_process.client import variables as variables_lib

with lazy.imports():
    import tensorflow as tf

    from tff_process.aggregation import mix, present

NONE, NORM, WINSORIZE, MEDIAN = "none", "norm", "winsorize", "median"
CHOICES: tuple[str, ...] = (NONE, NORM, WINSORIZE, MEDIAN)
_FEWEST = 3


def applied(algorithm: base.Algorithm, how: str) -> base.Algorithm:
    """The algorithm on limited updates.

    Args:
      algorithm: any.
      how: one of `CHOICES`; `none` is the algorithm as it is.

    Raises:
      PfrecError: where it is none of them.
    """
    if how not in CHOICES:
        raise errors.PfrecError(f"--robust={how}: is not one of {', '.join(CHOICES)}")
    if how == NONE:
        return algorithm

    def aggregate(
        variables: variables_lib.ModelVariables,
        tasks: tuple[str, ...],
        state: base.ServerState,
        reports: base.ClientReports,
    ) -> tuple[base.ServerState, base.Diagnostics]:
        values = limited(how, variables, tasks, state, reports)
        return algorithm.aggregate(
            variables, tasks, state, dataclasses.replace(reports, values=values)
        )

    return dataclasses.replace(algorithm, aggregate=aggregate)


def limited(
    how: str,
    variables: variables_lib.ModelVariables,
    tasks: tuple[str, ...],
    state: base.ServerState,
    reports: base.ClientReports,
) -> base.Values:
    """The clients' values, [clients, ...] by name, with their updates limited; see the module."""
    groups: dict[str, list[variables_lib.VariableSpec]] = {}
    for spec in variables.uploaded:
        groups.setdefault(spec.group, []).append(spec)
    found: collections.OrderedDict[str, tf.Tensor] = collections.OrderedDict()
    for specs in groups.values():
        members = reports.taking_part(specs[0], tasks)
        places = present.indices(members)
        enough = tf.size(places) >= _FEWEST
        before = [
            state.personal[s.name] if s.name in state.personal else state.common[s.name]
            for s in specs
        ]
        deltas = [reports.values[s.name] - old for s, old in zip(specs, before)]
        if how == NORM or specs[0].counts_rows:
            small = _bounded(deltas, places)
        else:
            small = [_limited(delta, places, how) for delta in deltas]
        for spec, old, delta in zip(specs, before, small):
            value = reports.values[spec.name]
            found[spec.name] = tf.where(
                enough & mix.broadcast_like(present.mask(members), value),
                old + delta,
                value,
            )
    return collections.OrderedDict((s.name, found[s.name]) for s in variables.uploaded)


def _bounded(deltas: list[tf.Tensor], places: tf.Tensor) -> list[tf.Tensor]:
    squares = [tf.reduce_sum(mix.flat(d) ** 2, axis=1) for d in deltas]
    norms = tf.sqrt(tf.add_n(squares))
    bound = _median(tf.gather(norms, places))
    factor = tf.minimum(1.0, tf.math.divide_no_nan(bound, norms))
    return [delta * mix.broadcast_like(factor, delta) for delta in deltas]


def _limited(delta: tf.Tensor, places: tf.Tensor, how: str) -> tf.Tensor:
    among = tf.gather(delta, places)
    if how == MEDIAN:
        return tf.broadcast_to(_median(among), tf.shape(delta))
    count = tf.size(places)
    cut = tf.minimum(tf.maximum(1, count // 4), tf.maximum(0, (count - 1) // 2))
    ordered = tf.sort(among, axis=0)
    # Fewer than one client cannot be: an algorithm aggregates where somebody is present.
    low, high = ordered[cut], ordered[count - 1 - cut]
    return tf.clip_by_value(delta, low, high)


def _median(values: tf.Tensor) -> tf.Tensor:
    """Along the first axis."""
    ordered = tf.sort(values, axis=0)
    count = tf.shape(values)[0]
    return 0.5 * (ordered[(count - 1) // 2] + ordered[count // 2])
