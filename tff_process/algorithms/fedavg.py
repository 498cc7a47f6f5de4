"""FedAvg: the mean of all clients' values, weighted by their training rows.

Formula: `w = sum over k of n[k] / n * w[k]`. The rows of a shared embedding table are weighted by
how often each client saw them: a row that only one client touched would otherwise be pulled back to
its old value by all others.

References:
  McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized Data",
  AISTATS 2017.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from pfrec import lazy, sharing
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, registry
from tff_process.client import variables

with lazy.imports():
    from tff_process.aggregation import mix

if TYPE_CHECKING:
    import tensorflow as tf  # noqa: F401  (`base.Values` names it, for readers of annotations)


def average(
    layout: variables.ModelVariables,
    tasks: tuple[str, ...],
    common: base.Values,
    reports: base.ClientReports,
) -> base.Values:
    """The next values of the common variables."""
    joined = collections.OrderedDict()
    for spec in layout.joined(variables.COMMON):
        if spec.counts_rows:
            joined[spec.name] = mix.mean_by_rows_seen(
                reports.values[spec.name], reports.seen[spec.name], common[spec.name]
            )
        else:
            joined[spec.name] = reports.mean(
                spec, tasks, reports.values[spec.name], common[spec.name]
            )
    return joined


@base.of_means
def aggregate(
    layout: variables.ModelVariables,
    tasks: tuple[str, ...],
    state: base.ServerState,
    reports: base.ClientReports,
) -> tuple[base.ServerState, base.Diagnostics]:
    """FedAvg's `Algorithm.aggregate`."""
    common = average(layout, tasks, state.common, reports)
    return base.ServerState(
        state.round + 1, common, state.personal, state.consensus, state.extra
    ), collections.OrderedDict()


@registry.register("fedavg")
def fedavg(schema: schema_lib.Schema) -> base.Algorithm:
    """Everything is averaged, batch normalisation included;
    embedding tables by their feature's policy.
    """
    rules = (
        ("*", "shared"),
        ("batch_norm/*", "shared"),
        ("embedding/*", "private"),
        *sharing.feature_rules(schema),
    )
    return base.Algorithm(
        "fedavg", sharing.SharingPolicy(rules), personal_kinds=(), aggregate=aggregate
    )
