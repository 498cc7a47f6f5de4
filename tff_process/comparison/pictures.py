"""The charts of a run's diagnostics, as pfrec-diagnose writes them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from pfrec.report import signals
from tff_process.comparison import charts

# By scenario and task, a weight for each expert.
GateUse = dict[str, dict[str, list[float]]]

_MOST_PAIRS = 40


def of_rounds(scenarios: Sequence[str], best: int, by_round: signals.Rounds) -> "dict[str, str]":
    """What the aggregations of a run say.

    Args:
      scenarios: in client order.
      best: the chosen round.
      by_round: of `signals.rounds`.

    Returns:
      charts by the names of their files.
    """
    drawn = {}
    shares = signals.by_group(by_round, "conflict_share")
    if shares:
        title = "Share of pairs of scenarios whose updates conflict"
        drawn["conflict_share.svg"] = _over_rounds(title, shares, "group of variables")
    pairs = signals.likeness(by_round, scenarios)
    if pairs:
        kept = signals.strongest(pairs, _MOST_PAIRS)
        title = "Mean cosine of the updates of two scenarios; below 0 they conflict"
        if len(kept) < len(pairs):
            title += f" (those {len(kept)} of {len(pairs)} pairs that do most)"
        rows = {f"{one} and {other}": pairs[one, other] for one, other in kept}
        drawn["conflict_pairs.svg"] = _over_rounds(title, rows, "pair", around_zero=True)
    distances = signals.distances(by_round, scenarios)
    if distances:
        drawn["consensus_distance.svg"] = charts.lines(
            "Distance of each scenario's personal values from the consensus",
            "round",
            "root of summed squares",
            [_line(scenario, row) for scenario, row in distances.items()],
            whole=True,
        )
    for group, matrix in signals.applied(by_round.get(best, {}), len(scenarios)).items():
        drawn[f"attention_{group.replace('/', '_')}.svg"] = charts.grid(
            f"{group}: the weight of each scenario's values in what each gets back, round {best}",
            scenarios,
            scenarios,
            matrix,
            row_axis="who takes",
            column_axis="from whom, its own included",
        )
    return drawn


def of_gates(best: int, gates: "Mapping[int, GateUse]") -> "dict[str, str]":
    """How gates are used, by kept round; nothing without gates."""
    use = gates.get(best)
    if not use:
        return {}
    labels = [f"{scenario}, {task}" for scenario, tasks in use.items() for task in tasks]
    values: list[list[Optional[float]]] = [
        list(weights) for tasks in use.values() for weights in tasks.values()
    ]
    experts = [str(number) for number in range(len(values[0]))]
    lines = [
        charts.Line(
            f"{scenario}, {task}",
            [
                (float(number), effective_experts(found[scenario][task]))
                for number, found in sorted(gates.items())
            ],
        )
        for scenario, tasks in use.items()
        for task in tasks
    ]
    return {
        "gate_use.svg": charts.grid(
            f"Mean weight of each expert in the gates, valid rows, round {best}",
            labels,
            experts,
            values,
            row_axis="gate of scenario and task",
            column_axis="expert",
        ),
        "effective_experts.svg": charts.lines(
            "Experts that each gate uses: exponential of the entropy of its mean weights",
            "round (those that were kept)",
            "experts",
            lines,
            whole=True,
        ),
    }


def effective_experts(weights: Sequence[float]) -> float:
    """How many experts a gate uses: the exponential of the entropy of its mean weights, 1 for a
    single expert, their number for all alike.
    """
    return math.exp(-sum(weight * math.log(weight) for weight in weights if weight > 0))


def _over_rounds(
    title: str, rows: "Mapping[str, Mapping[int, float]]", axis: str, **others: Any
) -> str:
    numbers = sorted({number for row in rows.values() for number in row})
    return charts.grid(
        title,
        list(rows),
        [str(number) for number in numbers],
        [[row.get(number) for number in numbers] for row in rows.values()],
        row_axis=axis,
        column_axis="round",
        **others,
    )


def _line(label: str, row: "Mapping[int, float]") -> charts.Line:
    return charts.Line(label, [(float(number), value) for number, value in sorted(row.items())])
