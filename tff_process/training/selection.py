"""What rounds, settings and entries are chosen by on `valid`.

A choice is made by what clients say of themselves. By the mean of it, a client that says 1 of what
it likes and 0 of all else decides for all: an AUC that it makes up moves the mean by its part of
the rows that it says it has, more than rounds differ by. With `--robust` it is made by the median
of the clients' gains, which no minority moves beyond what the others say.
"""

import dataclasses

import numpy as np

from pfrec import metrics as metrics_lib

_BELOW_ALL = -1.0  # no score


@dataclasses.dataclass(frozen=True)
class Best:
    """The best round until now.

    Attributes:
      round: its number, from 1; 0 before the first.
      score: its `score`; below all scores where it stands only for want of another.
      scenarios: its `by_scenario`; empty before the first.
    """

    round: int = 0
    score: float = _BELOW_ALL
    scenarios: "tuple[float, ...]" = ()

    @classmethod
    def of(cls, number: int, values: np.ndarray) -> "Best":
        """Round `number` for want of another, which came to `values` on `valid`."""
        whole = not np.isnan(values[:, :, metrics_lib.METRICS.index("rows")]).any()
        return cls(number, score(values) if whole else _BELOW_ALL, tuple(by_scenario(values)))

    def after(self, number: int, values: np.ndarray, robust: bool = False) -> "Best":
        """The best round after round `number` came to `values` on `valid`.

        A mean over other scenarios cannot be compared: a round that a skipped client is missing
        from is the best one only for want of another. With `robust` scenarios are compared one by
        one, and a minority that is missing, or says what cannot be, holds no round back.
        """
        latest = Best.of(number, values)
        if robust and self.round:
            told, before = np.array(latest.scenarios), np.array(self.scenarios)
            # What half or fewer spoke of stands for want of another.
            few = 2 * np.sum(~np.isnan(before)) <= np.sum(~np.isnan(told))
            better = bool(few) or gain(told, before) > 0.0
        else:
            better = latest.score > self.score
        return latest if better or not self.round else self


def gain(one: np.ndarray, other: np.ndarray) -> float:
    """By how much one is better than another, by the median of the scenarios' gains.

    Args:
      one, other: `by_scenario` of two models.

    Returns:
      the gain, in AUC; NaN where no majority of the scenarios that count in `other` counts in both.
    """
    gains = (one - other)[~np.isnan(one - other)]
    known = 2 * len(gains) > np.sum(~np.isnan(other))
    return float(np.median(gains)) if known else float("nan")


def better(one: np.ndarray, other: np.ndarray, robust: bool = False) -> bool:
    """Whether one model is better than another.

    Args:
      one, other: metrics of both on `valid`, float64 [scenarios, tasks, metrics].
      robust: whether by `gain`, else by `score`.
    """
    if robust:
        return gain(by_scenario(one), by_scenario(other)) > 0.0
    return score(one) > score(other)


def score(values: np.ndarray) -> float:
    """AUC on `valid`, of scenario-task pairs weighted by how well their rows let it be known.

    What is reported of `test` is the plain mean over scenario-task pairs. On `valid` a pair with a
    dozen positives would fill such a mean with noise, and the choice would follow it. So a pair
    weighs `metrics.auc_weight` of its `metrics.chance_variance`: pairs whose AUC is known to better
    than a hundredth weigh the same, so that with many rows this is the plain mean, and rare ones
    weigh as their rarer class.

    Args:
      values: float64 [scenarios, tasks, metrics], in the order of `pfrec.metrics.METRICS`.

    Returns:
      the score, in AUC; a pair whose rows are of one class does not count. One with rows of both
      whose predictions are NaN counts as the worst AUC, 0. NaN where nothing counts.
    """
    auc, weights = _weighted(values)
    total = weights.sum()
    return float((weights * auc).sum() / total) if total > 0.0 else float("nan")


def by_scenario(values: np.ndarray) -> np.ndarray:
    """`score` of each scenario by itself: float64 [scenarios], NaN where nothing counts."""
    auc, weights = _weighted(values)
    sums, totals = (weights * auc).sum(axis=1), weights.sum(axis=1)
    return np.divide(sums, totals, out=np.full_like(sums, np.nan), where=totals > 0.0)


def _weighted(values: np.ndarray) -> "tuple[np.ndarray, np.ndarray]":
    """AUC of each pair, 0 where it does not count, and what it weighs; float64
    [scenarios, tasks].
    """
    auc, rows, positives = (
        values[:, :, metrics_lib.METRICS.index(name)] for name in ("auc", "rows", "positives")
    )
    pairs = positives * (rows - positives)
    # An AUC is defined where there are both classes and predictions are numbers.
    auc = np.where(predicts_nan(values) & (pairs > 0.0), 0.0, auc)
    # One that is said of rows of one class is none.
    defined = ~np.isnan(auc) & (pairs > 0.0)
    variance = metrics_lib.chance_variance(rows, np.where(defined, pairs, 1.0))
    weights = np.where(defined, metrics_lib.auc_weight(variance), 0.0)
    return np.where(defined, auc, 0.0), weights


def predicts_nan(values: np.ndarray) -> np.ndarray:
    """Where a model's predictions are not numbers, bool [scenarios, tasks]; as `cells.predicts_nan`
    of one of them.
    """
    auc, logloss, rows = (
        values[:, :, metrics_lib.METRICS.index(name)] for name in ("auc", "logloss", "rows")
    )
    return (rows > 0.0) & np.isnan(auc) & ~np.isfinite(logloss)
