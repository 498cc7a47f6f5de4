"""Named settings of a training: values of flags that go under those that a user gives.

`paper` is PF-MSMTRec as its source describes it, where that is known: experts of shared, scenario
and task parts with a pull to the consensus, updates of each expert coordinated and aggregated
personally, towers after them, batch normalisation, gates and the projection of numbers at home, one
aggregation a round, one table for all. What the defaults do otherwise, and why, stands in
docs/algorithms.md.

References:
  Ding et al., "Towards Personalized Federated Multi-Scenario Multi-Task Recommendation", arXiv
  2406.18938.
"""

from collections.abc import Mapping

NONE, PAPER = "none", "paper"

PRESETS: "Mapping[str, Mapping[str, str]]" = {
    NONE: {},
    PAPER: {
        "template": "additive",
        "proximal": "0.1",
        "coordination": "conflict_averse",
        "mu": "0.5",
        "tower_mu": "0.5",
        "gate_mu": "0",
        "numeric_mu": "0",
        "rows_prior": "0",
        "weigh_by_rows": "false",
        "log_counts": "true",
        "pf_attraction": "1",
        "pf_find_spread": "false",
        "server_step": "1",
        "table_prior": "0",
        "aggregations": "1",
        "aggregate_every": "1000000000",
        "average_over": "0",
        "weight_decay": "0",
    },
}
