"""What steps of the sampled Gaussian mechanism cost, and the noise that a budget asks for.

Neighbouring scenarios differ by one training row that one has and the other lacks. A step takes
each row with probability q, sums gradients of norm at most C and adds Gaussian noise of standard
deviation `noise * C` to the sum.

References:
  Abadi et al., "Deep Learning with Differential Privacy", CCS 2016; Koskela et al., "Computing
  Tight Differential Privacy Guarantees Using FFT", AISTATS 2020 (privacy loss distributions);
  Balle and Wang, "Improving the Gaussian Mechanism for Differential Privacy", ICML 2018 (the closed
  form that the tests hold it against).
"""

import functools

from pfrec import errors, lazy

with lazy.imports():
    import dp_accounting
    from dp_accounting.pld import pld_privacy_accountant

# Losses are rounded up to multiples of this, so that epsilon is never stated too small: 1,300 steps
# state it by less than 0.001 too large.
_INTERVAL = 1e-3
# The noise is as small as the budget allows, to this part of it.
_PRECISION = 2e-3
_LEAST, _MOST = 0.2, 10_000.0


@functools.cache
def epsilon(rate: float, noise: float, steps: int, delta: float) -> float:
    """Epsilon of some steps, by privacy loss distributions.

    Args:
      rate: q, above 0 and at most 1.
      noise: standard deviation of the noise over C.
      steps: how many.
      delta: of the guarantee.
    """
    if not steps:
        return 0.0
    relation = dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE
    accountant = pld_privacy_accountant.PLDAccountant(
        relation, value_discretization_interval=_INTERVAL
    )
    step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    accountant.compose(step, steps)
    return float(accountant.get_epsilon(delta))


@functools.cache
def noise_for(budget: float, rate: float, steps: int, delta: float) -> float:
    """The noise with which some steps cost at most a budget, and hardly less.

    Args:
      budget: epsilon.
      rate, steps, delta: see `epsilon`.

    Raises:
      PfrecError: where no noise is enough.
    """
    low = high = 1.0
    while epsilon(rate, high, steps, delta) > budget:
        low, high = high, high * 1.5
        if high > _MOST:
            raise errors.PfrecError(
                f"dp_epsilon {budget:g} and delta {delta:.3g}: no noise makes {steps} steps cost "
                "so little; give a larger --dp_epsilon or train fewer rounds"
            )
    while low == high or epsilon(rate, low, steps, delta) <= budget:
        if low < _LEAST:
            return high
        low, high = low / 1.5, low
    while high - low > _PRECISION * high:
        middle = (low + high) / 2.0
        if epsilon(rate, middle, steps, delta) > budget:
            low = middle
        else:
            high = middle
    return high
