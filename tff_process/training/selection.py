"""What rounds, settings and entries are chosen by on `valid`.

A choice is made by what clients say of themselves. By the mean of it, a client that says 1 of what
it likes and 0 of all else decides for all: an AUC that it makes up moves the mean by up to `1 / N`,
more than rounds differ by. With `--robust` it is made by the median of the clients' gains, which no
minority moves beyond what the others say.
"""

import dataclasses
from collections.abc import Sequence
from typing import Optional

import numpy as np

from pfrec import metrics as metrics_lib

_BELOW_ALL = -1.0  # no score


@dataclasses.dataclass(frozen=True)
class Best:
    """The best round until now.

    Attributes:
      round: its number, from 1; 0 before the first.
      score: its `score`; below all scores where it stands only for want of another.
      scenarios: its `by_scenario`; empty where that is not known, as of a run of before.
    """

    round: int = 0
    score: float = _BELOW_ALL
    scenarios: "Sequence[Optional[float]]" = ()

    def after(self, number: int, score: float, values: np.ndarray, robust: bool = False) -> "Best":
        """The best round after round `number` came to `score` and `values` on `valid`.

        A mean over other scenarios cannot be compared: a round that a skipped client is missing
        from is the best one only for want of another. With `robust` scenarios are compared one by
        one, and a minority that is missing, or says what cannot be, holds no round back.
        """
        whole = not np.isnan(values[:, :, metrics_lib.METRICS.index("rows")]).any()
        told = by_scenario(values)
        if robust and self.scenarios:
            before = np.array(self.scenarios, np.float64)
            # What half or fewer spoke of stands for want of another.
            few = 2 * np.sum(~np.isnan(before)) <= np.sum(~np.isnan(told))
            better = bool(few) or gain(told, before, robust) > 0.0
        else:
            better = whole and score > self.score
        if self.round and not better:
            return self
        scenarios = [None if np.isnan(one) else float(one) for one in told]
        return Best(number, score if whole else _BELOW_ALL, scenarios)


def gain(one: np.ndarray, other: np.ndarray, robust: bool = False) -> float:
    """By how much one is better than another.

    Args:
      one, other: `by_scenario` of two models.
      robust: whether by the median of the scenarios' gains, else by that of their mean.

    Returns:
      the gain, in AUC; NaN where nothing counts, and with `robust` where no majority of those that
      count in `other` counts in both.
    """
    if robust:
        gains = (one - other)[~np.isnan(one - other)]
        known = 2 * len(gains) > np.sum(~np.isnan(other))
        return float(np.median(gains)) if known else float("nan")
    return _mean(one) - _mean(other)


def _mean(scenarios: np.ndarray) -> float:
    counted = scenarios[~np.isnan(scenarios)]
    return float(np.mean(counted)) if len(counted) else float("nan")


def score(values: np.ndarray) -> float:
    """AUC on `valid`, scenarios equal,
    a scenario's tasks weighted by how well its rows let their AUC be known.

    What is reported of `test` is the plain mean over scenario-task pairs. On `valid` a task with a
    dozen positives would fill such a mean with noise, and the choice would follow it. So a task
    weighs `1 / (variance + 0.01^2)`, with the variance of the AUC of scores that know nothing,
    `(positives + negatives + 1) / (12 positives negatives)` (Mann and Whitney, 1947): tasks whose
    AUC is known to better than a hundredth weigh the same, so that with many rows this is the plain
    mean, and rare ones weigh as their rarer class.

    Args:
      values: float64 [scenarios, tasks, metrics], in the order of `pfrec.metrics.METRICS`.

    Returns:
      the score, in AUC; a task whose rows are of one class, and a scenario where all are, do not
      count. A task with rows of both whose predictions are NaN counts as the worst AUC, 0. NaN
      where nothing counts.
    """
    return _mean(by_scenario(values))


def by_scenario(values: np.ndarray) -> np.ndarray:
    """What `score` is the mean of: float64 [scenarios], NaN where nothing counts."""
    auc, rows, positives = (
        values[:, :, metrics_lib.METRICS.index(name)] for name in ("auc", "rows", "positives")
    )
    pairs = positives * (rows - positives)
    # An AUC is defined where there are both classes and predictions are numbers.
    auc = np.where(predicts_nan(values) & (pairs > 0.0), 0.0, auc)
    defined = ~np.isnan(auc)
    pairs = np.where(defined, pairs, 1.0)
    weights = np.where(
        defined, 1.0 / ((rows + 1.0) / (12.0 * pairs) + metrics_lib.KNOWN_WELL**2), 0.0
    )
    sums, totals = (weights * np.where(defined, auc, 0.0)).sum(axis=1), weights.sum(axis=1)
    return np.divide(sums, totals, out=np.full_like(sums, np.nan), where=totals > 0.0)


def predicts_nan(values: np.ndarray) -> np.ndarray:
    """Where a model's predictions are not numbers, bool [scenarios, tasks]; as `cells.predicts_nan`
    of one of them.
    """
    auc, logloss, rows = (
        values[:, :, metrics_lib.METRICS.index(name)] for name in ("auc", "logloss", "rows")
    )
    return (rows > 0.0) & np.isnan(auc) & ~np.isfinite(logloss)
