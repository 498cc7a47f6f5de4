"""What happens around the rounds of a training: hooks, which the loop calls in order.

Metrics, diagnostics, checkpoints and early stopping are callbacks themselves; a user's own come
after them, when the round is complete on disk.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Callable, Optional

import numpy as np

from pfrec import files, run_directory
from pfrec import metrics as metrics_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import trainable
from pfrec.report import run_files
from tff_process.process import round_report
from tff_process.training import pace


class Callback:
    """Hooks that do nothing. They are called by keywords alone, and an override takes those that it
    needs and `**others`, so that a later pfrec may say more.
    """

    def before_training(self, *, done: int, best_round: int, rounds: int, **others: Any) -> None:
        """Called once, where `done` rounds are complete, of which `best_round` (0 for none) is the
        best on `valid`, and there are `rounds` at most.
        """

    def after_round(
        self,
        *,
        number: int,
        best_round: int,
        score: float,
        values: np.ndarray,
        report: round_report.RoundReport,
        **others: Any,
    ) -> Optional[bool]:
        """Called after each round.

        Args:
          number: of the round, from 1.
          best_round: the best one on `valid` until now.
          score: `selection.score`; NaN where metrics are withheld.
          values: metrics on `valid`, float64 [scenarios, tasks, metrics].
          report: what is known of the round.
          others: what a later pfrec says.

        Returns:
          True to end the training.
        """
        return None

    def after_training(self, *, summary: "Mapping[str, Any]", **others: Any) -> None:
        """Called once, with the content of summary.json."""


@dataclasses.dataclass
class Progress(Callback):
    """Calls a function with each round's number and score."""

    tell: Callable[[int, float], None]

    def after_round(  # type: ignore[override]
        self, *, number: int, score: float, **others: Any
    ) -> None:
        self.tell(number, score)


class Times(Callback):
    """Writes times.csv: the seconds of each round, and whether computations were traced in it.

    Args:
      run: where to.
    """

    def __init__(self, run: run_directory.RunDirectory) -> None:
        self._path = run.path / run_files.TIMES
        self._pace = pace.Pace()

    def before_training(self, *, done: int, **others: Any) -> None:  # type: ignore[override]
        seconds, traced = run_files.read_times(self._path)
        known = [(n, s, int(n in traced)) for n, s in sorted(seconds.items()) if n <= done]
        files.write_csv(self._path, run_files.TIMES_HEADER, known)
        self._pace.begin()

    def after_round(self, *, number: int, **others: Any) -> None:  # type: ignore[override]
        seconds = round(self._pace.ended(number), 3)
        files.append_csv(self._path, [(number, seconds, int(self._pace.traced(number)))])


@dataclasses.dataclass
class EarlyStopping(Callback):
    """Ends a training that has not been better on `valid` for so many rounds; 0 for never."""

    patience: int

    def after_round(  # type: ignore[override]
        self, *, number: int, best_round: int, **others: Any
    ) -> bool:
        return 0 < self.patience <= number - best_round


@dataclasses.dataclass
class Metrics(Callback):
    """Writes metrics.csv: losses as far as they are told, and metrics on `valid` where there are
    any.
    """

    run: run_directory.RunDirectory
    dataset: dataset_lib.Dataset
    losses: bool
    measured: bool

    def before_training(self, *, done: int, **others: Any) -> None:  # type: ignore[override]
        self.run.begin_metrics(done)

    def after_round(  # type: ignore[override]
        self, *, number: int, values: np.ndarray, report: round_report.RoundReport, **others: Any
    ) -> None:
        told = report.loss if self.losses else {}
        rows: list[run_directory.MetricRow] = [
            (number, scenario, "train", "all", "loss", loss) for scenario, loss in told.items()
        ]
        if self.measured:
            rows += metric_rows(number, self.dataset, "valid", values)
        self.run.append_metrics(rows)


# Of more clients, what is said of each pair of them would fill the disk (18 matrices of 200 clients
# are 19 MB of text a round), and nobody could look at it.
MOST_PAIRED = 100


@dataclasses.dataclass
class Diagnostics(Callback):
    """Writes what the algorithm and the guard rails said of each round, but for matrices of more
    than `MOST_PAIRED` clients.
    """

    run: run_directory.RunDirectory

    def after_round(  # type: ignore[override]
        self, *, number: int, report: round_report.RoundReport, **others: Any
    ) -> None:
        value: dict[str, Any] = {
            name: np.asarray(array).tolist()
            for name, array in report.diagnostics.items()
            if np.ndim(array) < 2 or len(array) <= MOST_PAIRED
        }
        for name in ("refused", "skipped", "clipped"):
            if getattr(report, name):
                value[name] = dict(getattr(report, name))
        if not report.applied:
            value["applied"] = False
        if value:
            files.write_json(self.run.path / "diagnostics" / f"round_{number:05d}.json", value)


def metric_rows(
    round_number: int, dataset: dataset_lib.Dataset, split: str, values: np.ndarray
) -> "list[run_directory.MetricRow]":
    """The rows of metrics.csv of a split; none of tasks that a scenario does not serve."""
    return [
        (round_number, scenario, split, task.name, metric, float(values[s, t, m]))
        for s, scenario in enumerate(dataset.scenarios)
        for t, task in enumerate(dataset.schema.tasks)
        for m, metric in enumerate(metrics_lib.METRICS)
        if not (metric == "gauc" and dataset.schema.group is None)
        and trainable.serves(dataset, scenario, task.name)
    ]
