"""Many algorithms on the same splits and seeds, cell by cell: the runs,
and what is known of each.
"""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional, TypeVar

from pfrec import cells as cells_lib
from pfrec import communication, errors, files, run_records
from pfrec.data.dataset import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process.comparison import entries as entries_lib
from tff_process.runtime import cache as cache_lib
from tff_process.runtime import options as options_lib
from tff_process.training import automatic, beginning, checks, loop, results, selection
from tff_process.training import callbacks as callbacks_lib

HEADER = ("algorithm", "seed", "scenario", "task", "metric", "value")
_Path = TypeVar("_Path", bound=pathlib.PurePath)
_METRICS = ("auc", "gauc", "logloss", "ece")
# What shows a run while it trains.
Progress = Callable[
    [entries_lib.Entry, plan_lib.Plan], "contextlib.AbstractContextManager[loop.Progress]"
]
# Who is told of a run that trains in a directory.
Callbacks = Callable[
    [entries_lib.Entry, plan_lib.Plan, pathlib.Path], "Sequence[callbacks_lib.Callback]"
]


def _nobody(
    entry: entries_lib.Entry, plan: plan_lib.Plan, run: pathlib.Path
) -> "Sequence[callbacks_lib.Callback]":
    return ()


@dataclasses.dataclass(frozen=True)
class Cell:
    """A finished run of a comparison.

    Attributes:
      entry: what was run.
      seed: with which.
      summary: the content of its summary.json.
      valid: `selection.score` after each round.
      round_bytes: what crosses the wire in a round, both ways, all clients that take part; None
        where rows themselves leave (pooled).
      leaves: the variable groups that leave a client.
    """

    entry: entries_lib.Entry
    seed: int
    summary: Mapping[str, Any]
    valid: "tuple[float, ...]" = ()
    round_bytes: Optional[int] = None
    leaves: "tuple[str, ...]" = ()

    @property
    def auc(self) -> float:
        """Mean test AUC over scenario-task pairs; NaN where predictions of one of them are.

        Raises:
          PfrecError: where it is defined nowhere.
        """
        if self.summary.get("nan"):
            return float("nan")
        if self.summary["mean_auc"] is None:
            raise errors.PfrecError(
                "no scenario's test split holds both classes of any task; AUC is not defined, "
                "convert with more rows"
            )
        return float(self.summary["mean_auc"])

    @property
    def best_valid(self) -> float:
        """`selection.score` at the chosen round."""
        return self.valid[self.summary["best_round"] - 1]


@dataclasses.dataclass(frozen=True)
class Runner:
    """Trains plans in the runs of a comparison, `output/runs/ENTRY/seed_N`; an interrupted run
    continues.

    What was traced and compiled is kept for as long as one entry follows upon another that differs
    in its seed or its learning rate alone, so such entries and the seeds of one had best stand
    together. Whatever the order, each comes to what it comes to alone.

    Attributes:
      dataset: on what.
      output: the comparison's directory.
      progress: shows a run while it trains.
      options: how trainings are executed, which does not change what comes out.
      callbacks: who is told of a run that trains.
      cache: what all of them share.
    """

    dataset: dataset_lib.Dataset
    output: pathlib.Path
    progress: Progress
    options: options_lib.Options = options_lib.Options()
    callbacks: Callbacks = _nobody
    cache: cache_lib.ComputationCache = dataclasses.field(
        default_factory=cache_lib.ComputationCache
    )

    def check(self, planned: "Iterable[tuple[entries_lib.Entry, plan_lib.Plan]]") -> None:
        """Checks plans before the first of them is trained, which takes hours: those whose run was
        not begun yet (`checks`), once for all seeds, on which nothing of it depends.

        Raises:
          PfrecError: where one cannot be trained; the message names its entry.
        """
        named: dict[plan_lib.Plan, entries_lib.Entry] = {}
        for entry, plan in planned:
            if not (run_path(self.output, entry, plan.seed) / run_records.CONFIG).exists():
                named.setdefault(dataclasses.replace(plan, seed=0), entry)
        for asked, entry in named.items():
            plan = automatic.resolved(asked, None)
            try:
                checks.check(plan, self.dataset, self.options)
                checks.check_new(plan, self.dataset, self.options)
            except errors.PfrecError as error:
                raise errors.PfrecError(f"{entry.name}: {error}") from error

    def compare(self, planned: "Iterable[tuple[entries_lib.Entry, plan_lib.Plan]]") -> "list[Cell]":
        """Trains every plan whose run has no summary yet, or one of fewer rounds.

        Returns:
          the cells, in the order of the plans.

        Raises:
          PfrecError: where a run there was made by another plan or on other data.
        """
        cells = []
        for entry, plan in planned:
            run = run_path(self.output, entry, plan.seed)
            has = 0  # rounds
            if (run / "summary.json").exists():
                has = beginning.check_same(run, plan, self.dataset).config["plan"]["rounds"]
            if has < plan.rounds:
                self._train(entry, plan, run)
            cells.append(read(run, entry, plan, len(self.dataset.scenarios)))
        return cells

    def scores(self, planned: "Iterable[tuple[entries_lib.Entry, plan_lib.Plan]]") -> "list[float]":
        """`selection.score` of the best of the plans' rounds, each trained as far as it is not
        yet: a run of more rounds counts by its first ones, and one of fewer is extended.

        Returns:
          the scores, in the order of the plans; -1 for a training that is of no use.

        Raises:
          PfrecError: where a run there was made by another plan or on other data.
        """
        found = []
        for entry, plan in planned:
            run = run_path(self.output, entry, plan.seed)
            valid, ended = _known(run, plan, self.dataset)
            if not ended:
                self._train(entry, plan, run)
                valid, _ = _known(run, plan, self.dataset)
            numbers = [score for score in valid[: plan.rounds] if score == score]
            found.append(max(numbers, default=-1.0))
        return found

    def _train(self, entry: entries_lib.Entry, plan: plan_lib.Plan, run: pathlib.Path) -> None:
        with self.progress(entry, plan) as report:
            loop.train(
                plan,
                self.dataset,
                run,
                resume=True,
                options=self.options,
                cache=self.cache,
                progress=report,
                callbacks=self.callbacks(entry, plan, run),
            )


def _known(
    run: pathlib.Path, plan: plan_lib.Plan, dataset: dataset_lib.Dataset
) -> "tuple[tuple[float, ...], bool]":
    """The scores of a run's rounds, none where it is of no use, and whether it has had as many as a
    plan asks for.
    """
    if not (run / "config.json").exists():
        return (), False
    rounds = run_records.read_config(run)["plan"]["rounds"]
    if rounds >= plan.rounds:  # One of fewer is checked as it is extended.
        beginning.check_same(run, dataclasses.replace(plan, rounds=rounds), dataset)
    valid = _valid_scores(run)
    if not (run / "summary.json").exists():
        return valid, rounds > plan.rounds and len(valid) >= plan.rounds
    fault = run_records.read_summary(run, _remedy(run)).get("fault")
    return (() if fault else valid), rounds >= plan.rounds


def run_path(output: _Path, entry: entries_lib.Entry, seed: int) -> _Path:
    """Where a cell's run directory is."""
    return output / "runs" / entry.directory / f"seed_{seed}"


def read(run: pathlib.Path, entry: entries_lib.Entry, plan: plan_lib.Plan, clients: int) -> Cell:
    """The cell of a finished run.

    Args:
      run: its directory.
      entry, plan: what was run.
      clients: how many there are.

    Raises:
      PfrecError: where a file is missing or damaged.
    """
    remedy = _remedy(run)
    summary = run_records.read_summary(run, remedy)
    valid = _valid_scores(run)
    if len(valid) < summary["best_round"]:
        raise errors.PfrecError(
            f"{run / 'metrics.csv'}: does not tell what round {summary['best_round']}, the best "
            f"one, came to on valid; {remedy}"
        )
    path = run / run_records.MANIFEST
    if not path.exists():
        return Cell(entry, plan.seed, summary, valid)
    manifest = run_records.read_manifest(path, remedy)
    leaves = tuple(row["group"] for row in manifest["groups"] if row["leaves"])
    round_bytes = communication.round_bytes(manifest, plan.participation, clients)
    return Cell(entry, plan.seed, summary, valid, round_bytes, leaves)


def _valid_scores(run: pathlib.Path) -> "tuple[float, ...]":
    """`selection.score` after each round, of a run's metrics.csv."""
    told, scores = results.told_on_valid(run / "metrics.csv", _remedy(run)), []
    for number in sorted(told):
        scenarios, tasks, _ = (list(dict.fromkeys(names)) for names in zip(*told[number]))
        scores.append(selection.score(results.array_of(told[number], scenarios, tasks)))
    return tuple(scores)


def _remedy(run: pathlib.Path) -> str:
    return f"remove {run} to train it again"


def long_rows(cells: Sequence[Cell]) -> "list[tuple[str, int, str, str, str, Any]]":
    """The rows of results.csv; a metric that is not defined has an empty value, and one of
    predictions that are NaN is NaN.
    """
    rows: list[tuple[str, int, str, str, str, Any]] = []
    for cell in cells:
        name, seed, summary = cell.entry.name, cell.seed, cell.summary

        def of(value: Any, nan: bool = False) -> Any:
            return value if value is not None else cells_lib.NAN if nan else ""

        for scenario, tasks in summary["test"].items():
            for task, values in tasks.items():
                if not cells_lib.served(values):
                    continue
                nan = cells_lib.predicts_nan(values)
                rows += [(name, seed, scenario, task, m, of(values[m], nan)) for m in _METRICS]
        nan = bool(summary.get("nan"))
        whole = {
            "mean_auc": of(summary["mean_auc"], nan),
            "valid_auc": of(None if nan else cell.best_valid, nan),
            "round_bytes": of(cell.round_bytes),
            "train_seconds": summary["wall_seconds"],
        }
        rows += [(name, seed, "", "", metric, value) for metric, value in whole.items()]
    return rows


def prepare(output: pathlib.Path) -> None:
    """Checks that `output` is new, empty, or a comparison that was begun.

    Raises:
      PfrecError: where it holds something else.
    """
    if not (output / "runs").is_dir():
        files.require_empty(output)
    for leftover in output.glob(f"{files.TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
