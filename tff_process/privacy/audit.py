"""What attacks show of the privacy that a mechanism claims: a bound on epsilon from below, to be
held against the stated one.

A row is planted or not, the mechanism answers, and a test of likelihoods guesses which it was. A
mechanism that is epsilon-delta private lets no test have more true guesses than `e^epsilon * false
+ delta`, so the guesses of many runs bound epsilon with confidence.

References:
  Jagielski et al., "Auditing Differentially Private Machine Learning: How Private is Private SGD?",
  NeurIPS 2020; Nasr et al., "Tight Auditing of Differentially Private Machine Learning", USENIX
  Security 2023 (with access to gradients).
"""

import numpy as np

from pfrec import lazy

with lazy.imports():
    from scipy import stats


def log_likelihood_ratio(projections: np.ndarray, rate: float, noise: float) -> np.ndarray:
    """How much more likely answers are with a planted row than without: the best test of
    neighbouring scenarios that there is.

    Args:
      projections: [runs, steps], each step's noised sum along the row's gradient, over the clip: 0
        or 1 and Gaussian noise.
      rate: q.
      noise: that the mechanism is said to have.

    Returns:
      [runs].
    """
    planted = np.logaddexp(
        np.log(rate) + (2.0 * projections - 1.0) / (2.0 * noise**2),
        np.log1p(-rate) if rate < 1.0 else -np.inf,
    )
    return planted.sum(axis=1)


def lower_bound(
    with_row: np.ndarray, without: np.ndarray, delta: float, confidence: float = 0.95
) -> float:
    """Epsilon that a mechanism has at least, with some confidence.

    The threshold of the test is chosen on the first half of the runs and judged on the second, by
    the bounds of Clopper and Pearson on both rates, either way round.

    Args:
      with_row, without: a score of each run, larger where the row seems to be there.
      delta: of the claim.
      confidence: that the bound holds.
    """
    half, other = len(with_row) // 2, len(without) // 2
    chosen = max(
        _candidates(with_row[:half], without[:other]),
        key=lambda test: _bound(with_row[:half], without[:other], delta, confidence, *test),
    )
    return max(0.0, _bound(with_row[half:], without[other:], delta, confidence, *chosen))


def _candidates(with_row: np.ndarray, without: np.ndarray) -> "list[tuple[float, bool]]":
    quantiles = np.quantile(np.concatenate([with_row, without]), np.linspace(0.01, 0.99, 99))
    return [(float(q), above) for q in quantiles for above in (True, False)]


def _bound(
    with_row: np.ndarray,
    without: np.ndarray,
    delta: float,
    confidence: float,
    threshold: float,
    above: bool,
) -> float:
    """Of one test: says that the row is there where the score is above, or that it is not there
    where it is not above, whichever errs less often.
    """
    truly, falsely = (with_row, without) if above else (without, with_row)

    def says(scores: np.ndarray) -> int:
        return int(np.sum(scores > threshold if above else scores <= threshold))

    alpha = (1.0 - confidence) / 2.0
    true, false = says(truly), says(falsely)
    least = stats.beta.ppf(alpha, true, len(truly) - true + 1) if true else 0.0
    most = stats.beta.ppf(1 - alpha, false + 1, len(falsely) - false) if false < len(falsely) else 1
    return float(np.log((least - delta) / most)) if least > delta else 0.0
