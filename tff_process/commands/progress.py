"""What a training shows of itself as it goes: a bar on a terminal, a line a round when piped."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Callable, Optional

from tff_process import plan as plan_lib
from tff_process.training import callbacks, pace

if TYPE_CHECKING:
    import tqdm

    from tff_process.process import round_report


class Progress(callbacks.Callback):
    """Tells each round: its score and loss, the time since the first began and the time left.

    Args:
      plan: of the training.
      write: shows how many rounds are complete, and of a round its number and a text.
      measured: how long rounds take.

    Attributes:
      rounds: how many there are at most, which a budget of steps or rows makes fewer.
    """

    def __init__(
        self,
        plan: plan_lib.Plan,
        write: Callable[[int, int, str], None],
        measured: Optional[pace.Pace] = None,
    ) -> None:
        self._plan, self._write = plan, write
        self._pace = measured or pace.Pace()
        self.rounds = plan.rounds

    def before_training(  # type: ignore[override]
        self, *, done: int, rounds: Optional[int] = None, **others: Any
    ) -> None:
        self.rounds = rounds or self.rounds
        self._pace.begin()
        if done < self.rounds:
            self._write(done, done + 1, "tracing computations, once")
        else:
            self._write(done, done, "was the last one; what comes after the rounds is left")

    def after_round(  # type: ignore[override]
        self, *, number: int, score: float, report: "round_report.RoundReport", **others: Any
    ) -> None:
        self._pace.ended(number)
        measured = plan_lib.METRICS not in self._plan.withhold
        parts = [f"valid AUC {score:.4f}" if measured else "metrics withheld"]
        if report.loss and plan_lib.LOSS not in self._plan.withhold:
            parts.append(f"loss {sum(report.loss.values()) / len(report.loss):.4f}")
        parts.append(f"{pace.duration(self._pace.elapsed)} elapsed")
        typical = self._pace.typical
        if typical is None:
            parts.append("with tracing, which is no measure of the rest")
        else:
            most = "at most " if self._plan.patience else ""
            left = (self.rounds - number) * typical
            parts.append(f"{pace.duration(typical)} a round, {most}{pace.duration(left)} left")
        self._write(number, number, ", ".join(parts))


@contextlib.contextmanager
def reporting(plan: plan_lib.Plan, label: str = "") -> "Iterator[callbacks.Callback]":
    """A callback that shows a training's rounds; at the end of the context a bar is closed, however
    many rounds there were.

    Args:
      plan: of the training.
      label: what stands before a round, as which of several runs it is.
    """
    if not sys.stderr.isatty():
        shown = Progress(
            plan,
            lambda complete, number, text: print(
                f"{label}round {number}/{shown.rounds}: {text}", flush=True
            ),
        )
        yield shown
        return
    import tqdm

    # Its own estimate would take the traced round for one like the others.
    form = "{desc}{n_fmt}/{total_fmt} |{bar}| {postfix}"
    with tqdm.tqdm(total=plan.rounds, desc=label or "round ", bar_format=form) as bar:
        told = Progress(
            plan, lambda complete, number, text: _advance(bar, told.rounds, complete, text)
        )
        yield told


def _advance(bar: "tqdm.tqdm", rounds: int, complete: int, text: str) -> None:
    bar.total = rounds
    bar.update(complete - bar.n)
    bar.set_postfix_str(text)


class Counter:
    """Numbers the runs of a comparison in the order in which they are asked for, those that were
    finished before too.

    Args:
      asked: for each entry the names of its candidates, of which one is chosen.
      seeds: how many seeds the chosen one is trained with; the others with the first alone.
    """

    def __init__(self, asked: "Iterable[Sequence[str]]", seeds: int) -> None:
        self._total, self._numbers = 0, dict[tuple[str, int], int]()
        for candidates in asked:
            for place, name in enumerate(candidates, 1):
                self._numbers.setdefault((name, 0), self._total + place)
                for seed in range(1, seeds):
                    self._numbers.setdefault((name, seed), self._total + len(candidates) + seed)
            self._total += len(candidates) + seeds - 1

    def label(self, entry: str, seed: int) -> str:
        """What stands before a round of a run."""
        return f"run {self._numbers[entry, seed]} of {self._total}, {entry} seed {seed}: "
