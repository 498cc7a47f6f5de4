"""The noise, the sampling and the budget of each scenario of a run, as data."""

import dataclasses
from collections.abc import Sequence

from pfrec import errors
from tff_process.privacy import accounting, soundness

# Another number wherever what a step draws of a key, or the key itself, comes to be another: keys
# follow from it, so that old and new answers to one question are drawn independently.
DRAWS = 3
# Noise wants large batches; a model without it is trained on a quarter of one, within these bounds.
_LEAST_HOME_ROWS, _MOST_HOME_ROWS = 32, 256
# Delta is 1 / rows to this power where nobody says: well below what telling one row would be.
_DELTA_POWER = 1.1


@dataclasses.dataclass(frozen=True)
class Budget:
    """How one scenario's rows are protected.

    Attributes:
      epsilon, delta: the guarantee: what all planned steps cost together is at most this.
      rows: training rows, to the two digits that are taken as known.
      batch: rows of a batch in the mean, which sums are divided by.
      steps: that are planned.
      noise: standard deviation of the noise of a step over the clip.
      home_batch: rows of a batch of the home model.
    """

    epsilon: float
    delta: float
    rows: int
    batch: int
    steps: int
    noise: float
    home_batch: int

    @property
    def rate(self) -> float:
        """The probability that a row is in a batch."""
        return self.batch / self.rows

    @property
    def epoch_steps(self) -> int:
        """Batches of the released model in an epoch."""
        return max(1, self.rows // self.batch)

    @property
    def home_epoch_steps(self) -> int:
        """Batches of the home model in an epoch."""
        return max(1, self.rows // self.home_batch)

    def home_steps(self, epochs: float) -> int:
        """Batches of the home model in so many epochs."""
        return round(epochs * self.home_epoch_steps)

    def spent(self, steps: int) -> float:
        """Epsilon of the first `steps` steps."""
        return accounting.epsilon(self.rate, self.noise, steps, self.delta)


@dataclasses.dataclass(frozen=True)
class Mechanism:
    """How a run protects rows.

    Attributes:
      clip: the norm that a row's gradient is clipped to.
      budgets: of each client, in order.
      unit: what is protected, and what is sampled, of `soundness.UNITS`: groups have the rate that
        rows would have, so that a batch has as many rows in the mean.
      sparse_rows: see `sampled_gaussian.SampledGaussian`.
    """

    clip: float
    budgets: "tuple[Budget, ...]"
    unit: str = soundness.ROW
    sparse_rows: int = 0


def of(
    epsilon: float,
    delta: float,
    clip: float,
    batch_size: int,
    rows: "Sequence[int]",
    steps: "Sequence[int]",
) -> Mechanism:
    """The mechanism whose noise is calibrated to the steps of a whole run.

    Args:
      epsilon: that each scenario may spend.
      delta: with it; 0 for `1 / rows^1.1`.
      clip: see `Mechanism`.
      batch_size: rows of a batch; where a scenario has fewer, all of them.
      rows: each client's training rows, to two digits.
      steps: each client's steps in the run.

    Raises:
      PfrecError: where no noise is enough for the budget, or delta is 1 / rows or more.
    """
    fewest = min(rows)
    if delta >= 1 / fewest:
        raise errors.PfrecError(
            f"--dp_delta={delta:g}: the smallest scenario has about {fewest:,} training rows, and "
            "with a delta of 1 / rows or more a mechanism may publish a row as it is; give far "
            f"less than {1 / fewest:.2g}, or leave --dp_delta out for 1 / rows^{_DELTA_POWER:g}"
        )
    at_home = min(batch_size, max(_LEAST_HOME_ROWS, min(batch_size // 4, _MOST_HOME_ROWS)))

    def budget(count: int, planned: int) -> Budget:
        batch, own = min(batch_size, count), delta or float(count) ** -_DELTA_POWER
        noise = accounting.noise_for(epsilon, batch / count, planned, own)
        return Budget(epsilon, own, count, batch, planned, noise, at_home)

    return Mechanism(clip, tuple(budget(*pair) for pair in zip(rows, steps)))
