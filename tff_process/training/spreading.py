"""How far apart the clients' values stay is found on their valid rows, after every round.

Of the factors of `process.spread` that one is taken whose models are the best ones by
`selection.better`.
One number is chosen for all clients, by all their valid rows together: those of one small scenario
could not tell. Only metrics leave a client for it, as they do after every round: of all factors in
one answer, as it is told the consensus and moves its values itself. How much clients take from one
another in the rounds to come follows it (`spread.followed`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Protocol

import numpy as np

from pfrec import metrics
from tff_process.process import round_report, spread
from tff_process.training import selection

State = Mapping[str, Any]
# Float64 [factors, scenarios, tasks, metrics] of factors, 1 among them for the state as it is.
Measure = Callable[[Sequence[float]], np.ndarray]


class Training(Protocol):
    """What is searched in."""

    def server_state(self) -> State:
        """The server's state, arrays by name in its parts."""
        ...

    def set_server_state(self, state: State) -> None:
        """Replaces it."""
        ...

    def spread_members(self) -> Mapping[str, np.ndarray]:
        """Who takes part in values that not all clients do, see `spread.scaled`."""
        ...


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
      factor: s of the formula; 1 where none of `spread.FACTORS` was better.
      values: metrics on valid with it, float64 [scenarios, tasks, metrics].
      state: the server's state with it.
    """

    factor: float
    values: np.ndarray
    state: State


def search(
    state: State,
    measure: Measure,
    members: Mapping[str, np.ndarray],
    robust: bool = False,
) -> Found:
    """The best factor for a state.

    Args:
      state: after a round.
      measure: metrics on valid with what the state serves moved by each of some factors.
      members: see `spread.scaled`.
      robust: see `selection.better`.
    """
    values, *tried = measure((1.0, *spread.FACTORS))
    best = Found(1.0, values, state)
    for factor, measured in zip(spread.FACTORS, tried):
        # Where another client is missing the means are of other scenarios.
        if not robust and (_missing(measured) != _missing(values)).any():
            continue
        if selection.better(measured, best.values, robust):
            best = Found(factor, measured, state)
    if best.factor == 1.0:
        return best
    return dataclasses.replace(best, state=spread.scaled(state, best.factor, members))


def after_round(
    training: Training,
    report: round_report.RoundReport,
    measure: Measure,
    robust: bool = False,
) -> tuple[np.ndarray, round_report.RoundReport]:
    """Searches after a round, and leaves the training with what was found.

    Args:
      training: after the round.
      report: of the round.
      measure: metrics on valid of the training as it stands, by factor.
      robust: see `selection.better`.

    Returns:
      the metrics on valid with the factor that was found, and the report with that, as `spread`,
      among its diagnostics.
    """
    found = search(training.server_state(), measure, training.spread_members(), robust)
    if found.factor != 1.0:
        training.set_server_state(spread.followed(found.state, found.factor))
    diagnostics = {**report.diagnostics, "spread": np.array(found.factor)}
    return found.values, dataclasses.replace(report, diagnostics=diagnostics)


def _missing(values: np.ndarray) -> np.ndarray:
    return np.isnan(values[:, :, metrics.METRICS.index("rows")])
