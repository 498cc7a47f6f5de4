"""How much work stands behind each answer of a silo, at least and at most: what its agreement binds
of the amounts that a driver asks for.
"""

import dataclasses
import threading
from collections.abc import Sequence
from typing import Optional

import numpy as np

from tff_process.silos import labels


@dataclasses.dataclass
class WorkRules:
    """What a driver may ask a silo to train on.

    A round's steps are cut into aggregation steps, one grid for all trainings of a plan on the same
    rows: work that begins or ends anywhere else would let a driver subtract two reports and see a
    single batch.

    Attributes:
      rounds: of a training, at most.
      round_steps: batches of this silo in a round.
      epoch_steps: batches of this silo in an epoch.
      batch_size: rows of a batch.
      rows: behind a report, at least.
      steps: behind a report, at least.
      learning_rate, seed: of the plan; a schedule keeps the rate at or below the plan's.
      home_steps: the most that a home model may be asked to train; None where there is none.
      task_weights, positive_weights: of the plan for this silo, by task.
      scheduled: whether the rate follows a schedule.
    """

    rounds: int
    round_steps: int
    epoch_steps: int
    batch_size: int
    rows: int
    steps: int
    learning_rate: float
    seed: int
    home_steps: Optional[int] = None
    task_weights: "tuple[float, ...]" = ()
    positive_weights: "tuple[float, ...]" = ()
    scheduled: bool = False

    def __post_init__(self) -> None:
        self._grids = set(range(1, max(1, self.round_steps // self.steps) + 1))
        self._lock = threading.Lock()

    def rows_behind(self, steps: int) -> int:
        """Different rows that so many steps meet."""
        return min(steps, self.epoch_steps) * self.batch_size

    def check(
        self, first_step: int, steps: int, epoch_steps: int, learning_rate: float, seed: int
    ) -> None:
        """Checks what a driver asks for.

        Raises:
          RefusedError: where it is less, more or other than agreed.
        """
        if epoch_steps != self.epoch_steps:
            raise labels.RefusedError(
                f"an epoch has {self.epoch_steps} steps here, not {epoch_steps}"
            )
        asked, agreed = np.float32(learning_rate), np.float32(self.learning_rate)
        fits = 0.0 <= asked <= agreed if self.scheduled else asked == agreed
        if not fits:
            most = " at most" * self.scheduled
            raise labels.RefusedError(
                f"the learning rate agreed is{most} {self.learning_rate:g}, not {learning_rate:g}"
            )
        if seed != self.seed:
            raise labels.RefusedError(f"the seed agreed is {self.seed}, not {seed}")
        if steps < self.steps:
            raise labels.RefusedError(
                f"work of {steps} steps; the agreement has at least {self.steps} behind each "
                "report (see --aggregation_steps of pfrec-agreement)"
            )
        if self.rows_behind(steps) < self.rows:
            raise labels.RefusedError(
                f"work of {self.rows_behind(steps)} rows; the agreement has at least {self.rows} "
                "behind each report"
            )
        number, offset = divmod(first_step, self.round_steps)
        if first_step < 0 or number >= self.rounds:
            raise labels.RefusedError(
                f"work of round {number + 1}; the agreement has {self.rounds}"
            )
        if not self.narrow(first_step, steps):
            raise labels.RefusedError(
                f"work of steps {offset} to {offset + steps} of a round's {self.round_steps}: not "
                "one of its aggregation steps, which stay as the first report cut them while plan "
                "and rows are the same; where other silos' rows have changed, agree to a new --seed"
            )

    def check_part(self, first_step: int, steps: int, number: int, parts: int) -> None:
        """Checks that work is the part of this silo's batches that belongs to a sum: all silos are
        told the same number and parts, so none alone can be asked to train on other batches, of
        which a difference of two sums would tell.

        Args:
          first_step, steps: that are asked for.
          number: of the aggregation step, counted from 0 over all rounds.
          parts: aggregation steps of a round.

        Raises:
          RefusedError: where it is another one.
        """
        if number >= 0 and 1 <= parts <= self.round_steps:
            done, part = divmod(number, parts)
            begin, end = (at * self.round_steps // parts for at in (part, part + 1))
            if (first_step, steps) == (done * self.round_steps + begin, end - begin):
                return
        raise labels.RefusedError(
            f"work of {steps} steps from {first_step} for sum {number} with {parts} in a round, "
            "which are not its steps here"
        )

    def check_weights(
        self, task_weights: "Sequence[float]", positive_weights: "Sequence[float]"
    ) -> None:
        """Checks the weights of the loss that a driver asks for.

        Raises:
          RefusedError: where they are others than agreed.
        """
        for what, asked, agreed in (
            ("task weights", task_weights, self.task_weights),
            ("weights of positive rows", positive_weights, self.positive_weights),
        ):
            if not np.array_equal(np.asarray(asked, np.float32), np.asarray(agreed, np.float32)):
                raise labels.RefusedError(f"other {what} than agreed")

    def narrow(self, first_step: int, steps: int) -> bool:
        """Keeps to the grids that some work is on; without one nothing changes and it is False.
        Safe to use from several threads: else two that ask at once could have a grid each.
        """
        offset = first_step % self.round_steps
        with self._lock:
            fitting = {grid for grid in self._grids if self._on(grid, offset, steps)}
            self._grids = fitting or self._grids
        return bool(fitting)

    def _on(self, grid: int, offset: int, steps: int) -> bool:
        def cut(part: int) -> int:
            return part * self.round_steps // grid

        # The part that begins at the offset is this one or, where it was rounded down, the next.
        first = offset * grid // self.round_steps
        return any(
            (cut(part), cut(part + 1)) == (offset, offset + steps) for part in (first, first + 1)
        )
