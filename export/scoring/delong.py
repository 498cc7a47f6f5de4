"""The difference of two models' AUC on the same rows, and how well those rows let it be known.

Formula (DeLong): with m positives and n negatives, and of each model the share V10[i] of negatives
that positive i is ranked above and the share V01[j] of positives that negative j is ranked below,
ties counting half, AUC = mean V10, and

    var(AUC_a - AUC_b) = var(V10_a - V10_b) / m + var(V01_a - V01_b) / n

with the sample variances of the paired differences. Both shares follow from midranks, so it takes a
sort in place of all pairs.

References:
  DeLong, DeLong and Clarke-Pearson, "Comparing the Areas under Two or More Correlated Receiver
  Operating Characteristic Curves", Biometrics 44, 1988; Sun and Xu, "Fast Implementation of
  DeLong's Algorithm", IEEE Signal Processing Letters 21, 2014.
"""

import dataclasses
import statistics

import numpy as np


@dataclasses.dataclass(frozen=True)
class Paired:
    """Two models on the same rows.

    Attributes:
      first, second: their AUC.
      error: standard error of `second - first`.
      rows: how many there were.
      positives: of them.
    """

    first: float
    second: float
    error: float
    rows: int
    positives: int

    @property
    def difference(self) -> float:
        """By how much the second ranks better."""
        return self.second - self.first

    def interval(self, comparisons: int = 1, level: float = 0.95) -> "tuple[float, float]":
        """Bounds of the true difference.

        Args:
          comparisons: how many intervals are to hold together (Bonferroni).
          level: with which probability they do.
        """
        z = statistics.NormalDist().inv_cdf(1.0 - (1.0 - level) / (2.0 * comparisons))
        return self.difference - z * self.error, self.difference + z * self.error


def compare(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> "Paired | None":
    """Compares two models' scores of the same rows; None without two rows of each class.

    Args:
      labels: [rows], 0 or 1.
      first, second: scores, [rows].
    """
    positive = np.asarray(labels, bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if min(m, n) < 2:
        return None
    above, below = zip(*(_shares(positive, np.asarray(scores)) for scores in (first, second)))
    variance = sum(
        np.var(two - one, ddof=1) / count for (one, two), count in ((above, m), (below, n))
    )
    auc = [float(shares.mean()) for shares in above]
    return Paired(auc[0], auc[1], float(np.sqrt(variance)), m + n, m)


def single(
    labels: np.ndarray, scores: np.ndarray, level: float = 0.95
) -> "tuple[float, float] | None":
    """One model's AUC with the half width of its interval, of the same formula; None without two
    rows of each class.

    Args:
      labels: [rows], 0 or 1.
      scores: [rows].
      level: with which probability the interval holds.
    """
    positive = np.asarray(labels, bool)
    if min(positive.sum(), (~positive).sum()) < 2:
        return None
    above, below = _shares(positive, np.asarray(scores))
    variance = sum(np.var(shares, ddof=1) / len(shares) for shares in (above, below))
    z = statistics.NormalDist().inv_cdf(0.5 + level / 2.0)
    return float(above.mean()), float(z * np.sqrt(variance))


def _shares(positive: np.ndarray, scores: np.ndarray) -> "tuple[np.ndarray, np.ndarray]":
    """V10 of each positive and V01 of each negative, float64."""
    m, n = positive.sum(), (~positive).sum()
    among_all = _midranks(scores)
    above = (among_all[positive] - _midranks(scores[positive])) / n
    below = 1.0 - (among_all[~positive] - _midranks(scores[~positive])) / m
    return above, below


def _midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1, equal values sharing the mean of theirs, float64."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2.0)[place]
