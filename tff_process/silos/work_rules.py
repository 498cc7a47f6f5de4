"""How much work stands behind each answer of a silo, at least and at most: what its agreement binds
of the amounts that a driver asks for.
"""

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Sequence
from typing import Optional

import numpy as np

from tff_process.silos import labels


@dataclasses.dataclass
class WorkRules:
    """What a driver may ask a silo to train on.

    A round's steps are cut into aggregation steps, which are the same ones in all trainings whose
    batches are the same: two reports that overlap in part would let a driver subtract one from the
    other and see a single batch.

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
      train_rows: of this silo, fewer of which than a batch are one; None for no fewer.
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
    train_rows: Optional[int] = None

    def __post_init__(self) -> None:
        self._left: collections.Counter[tuple[int, int]] = collections.Counter()
        self._lock = threading.Lock()

    def rows_behind(self, first_step: int, steps: int) -> int:
        """Different rows that so many steps meet, at least: each epoch has an order of its own, so
        that of steps in two of them those in one alone are known to meet others.
        """
        before = min(steps, self.epoch_steps - first_step % self.epoch_steps)
        batches = max(before, min(steps - before, self.epoch_steps))
        rows = batches * self.batch_size
        return rows if self.train_rows is None else min(rows, self.train_rows)

    def fewest_rows(self, aggregation_steps: int) -> int:
        """The fewest rows that are behind a report, where a round has so many aggregation steps or
        fewer.
        """
        parts = {
            ((number * self.round_steps + first) % self.epoch_steps, last - first)
            for cut in range(1, aggregation_steps + 1)
            for first, last in (self._part(cut, at) for at in range(cut))
            for number in range(min(self.rounds, self.epoch_steps))  # Then it is as before.
        }
        return min(self.rows_behind(first, steps) for first, steps in parts)

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
        if (behind := self.rows_behind(first_step, steps)) < self.rows:
            raise labels.RefusedError(
                f"work of {behind} rows; the agreement has at least {self.rows} behind each report "
                "(see --minimum_rows and --aggregation_steps of pfrec-agreement)"
            )
        number, offset = divmod(first_step, self.round_steps)
        if first_step < 0 or number >= self.rounds:
            raise labels.RefusedError(
                f"work of round {number + 1}; the agreement has {self.rounds}"
            )
        if not self._is_part(offset, steps):
            raise labels.RefusedError(
                f"work of steps {offset} to {offset + steps} of a round's {self.round_steps}: not "
                "one of its aggregation steps, into however many it is cut"
            )
        with self._lock:
            self._require_apart(first_step, steps)

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
            begin, end = self._part(parts, part)
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

    def note(self, first_step: int, steps: int) -> None:
        """Notes the work of a report that left before, whatever else has."""
        self._left[first_step, first_step + steps] += 1

    @contextlib.contextmanager
    def leaving(self, first_step: int, steps: int) -> Iterator[None]:
        """Notes the work of a report that leaves, which it has where the body succeeds. Safe to use
        from several threads: else of two that leave at once each could overlap the other.

        Raises:
          RefusedError: where that of one that left overlaps it in part; nothing is noted then.
        """
        with self._lock:
            self._require_apart(first_step, steps)
            self.note(first_step, steps)
        try:
            yield
        except BaseException:
            with self._lock:
                self._left[first_step, first_step + steps] -= 1
            raise

    def _require_apart(self, first_step: int, steps: int) -> None:
        """Checks that work is that of a report that left, or has no batch of one.

        Raises:
          RefusedError: where it is not.
        """
        last_step = first_step + steps
        for (first, last), left in self._left.items():
            same = (first, last) == (first_step, last_step)
            if left and not same and first < last_step and first_step < last:
                raise labels.RefusedError(
                    f"work of steps {first_step} to {last_step}: a report of steps {first} to "
                    f"{last} of the same batches has left, and two that overlap tell of those "
                    "between them; where a round is cut otherwise now, as with other rows of other "
                    "silos, --aggregations or --local_epochs, agree to a new --seed"
                )

    def _is_part(self, offset: int, steps: int) -> bool:
        """Whether some cut of a round into parts of at least the agreed steps has this one."""
        return any(
            self._part(parts, number) == (offset, offset + steps)
            for parts in range(1, max(1, self.round_steps // self.steps) + 1)
            # The part that begins at the offset is this one or, where it was rounded down, the
            # next.
            for number in (offset * parts // self.round_steps + at for at in (0, 1))
        )

    def _part(self, parts: int, number: int) -> "tuple[int, int]":
        """Where a part of a round of so many begins and ends, in its steps."""
        first, last = (at * self.round_steps // parts for at in (number, number + 1))
        return first, last
