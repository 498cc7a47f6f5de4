"""What is known of a round of training, whatever runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class RoundReport:
    """What is known of a round of training.

    Attributes:
      loss: mean training loss by scenario present.
      diagnostics: what the algorithm says of its aggregation, by name.
      refused: why the server refused a scenario's update.
      skipped: why a scenario missed the round though it was to take part.
      clipped: the factor that a scenario's update was scaled by.
      applied: whether the server's state changed.
    """

    loss: Mapping[str, float]
    diagnostics: Mapping[str, np.ndarray]
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)
    skipped: Mapping[str, str] = dataclasses.field(default_factory=dict)
    clipped: Mapping[str, float] = dataclasses.field(default_factory=dict)
    applied: bool = True


def whole_round(aggregation_steps: Sequence[RoundReport]) -> RoundReport:
    """The report of a round from those of its aggregation steps: mean losses, the last diagnostics,
    and everything that was refused or skipped.
    """
    losses: dict[str, list[float]] = {}
    for report in aggregation_steps:
        for scenario, loss in report.loss.items():
            losses.setdefault(scenario, []).append(loss)
    merged = {
        name: {
            scenario: value
            for report in aggregation_steps
            for scenario, value in getattr(report, name).items()
        }
        for name in ("refused", "skipped", "clipped")
    }
    applied = [report for report in aggregation_steps if report.applied]
    return RoundReport(
        loss={scenario: float(np.mean(values)) for scenario, values in losses.items()},
        diagnostics=(applied or aggregation_steps)[-1].diagnostics,
        applied=bool(applied),
        **merged,
    )
