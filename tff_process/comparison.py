"""Many algorithms on the same splits and seeds, cell by cell."""

import dataclasses
import pathlib
import shutil
from collections.abc import Iterable, Sequence
from typing import Any, Callable

import numpy as np
import pandas as pd

from pfrec import errors, files
from pfrec.data import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process import training
from tff_process.algorithms import registry
from tff_process.runtime import options as options_lib

HEADER = ("algorithm", "seed", "scenario", "task", "metric", "value")
_METRICS = ("auc", "gauc", "logloss", "ece")


def compare(
    plans: Iterable[plan_lib.Plan],
    dataset: dataset_lib.Dataset,
    output: pathlib.Path,
    *,
    options: options_lib.Options = options_lib.Options(),
    progress: Callable[[plan_lib.Plan], training.Progress],
) -> "list[dict[str, Any]]":
    """Trains every plan that has no summary yet in `output/runs/ALGORITHM/seed_N`; an interrupted one continues.

    Returns:
      the summaries, in the order of the plans.

    Raises:
      PfrecError: where a run there was made by another plan or on other data.
    """
    summaries = []
    for plan in plans:
        run = run_path(output, plan.algorithm, plan.seed)
        if not (run / "summary.json").exists():
            training.train(plan, dataset, run, resume=True, options=options, progress=progress(plan))
        else:
            training.check_same(run, plan, dataset)
        summaries.append(files.read_json(run / "summary.json", remedy=f"remove {run} to train it again"))
    return summaries


def run_path(output: pathlib.Path, algorithm: str, seed: int) -> pathlib.Path:
    """Where a cell's run directory is."""
    return output / "runs" / algorithm / f"seed_{seed}"


def long_rows(summaries: Sequence["dict[str, Any]"]) -> "list[tuple[str, int, str, str, str, Any]]":
    """The rows of results.csv; a metric that is not defined has an empty value."""
    rows: list[tuple[str, int, str, str, str, Any]] = []
    for summary in summaries:
        for scenario, tasks in summary["test"].items():
            for task, cell in tasks.items():
                rows += [
                    (summary["algorithm"], summary["seed"], scenario, task, metric, "" if cell[metric] is None else cell[metric])
                    for metric in _METRICS
                ]
        rows.append((summary["algorithm"], summary["seed"], "", "", "mean_auc", summary["mean_auc"]))
        rows.append((summary["algorithm"], summary["seed"], "", "", "train_seconds", summary["wall_seconds"]))
    return rows


@dataclasses.dataclass(frozen=True)
class Standing:
    """How an algorithm did: its mean test AUC over scenario-task pairs, mean and deviation over seeds."""

    algorithm: str
    mean: float
    deviation: float
    seconds: float


def standings(summaries: Sequence["dict[str, Any]"]) -> "list[Standing]":
    """All algorithms, best first.

    Raises:
      PfrecError: where no scenario's test split holds both classes of any task.
    """
    table = pd.DataFrame(
        [(s["algorithm"], s["seed"], s["mean_auc"], s["wall_seconds"]) for s in summaries], columns=["a", "s", "auc", "t"]
    )
    if table.auc.isna().any():
        raise errors.PfrecError(
            "no scenario's test split holds both classes of any task; AUC is not defined, convert with more rows"
        )
    grouped = table.astype({"auc": float}).groupby("a", sort=False)
    rows = [
        Standing(
            str(name), float(cell.auc.mean()), float(cell.auc.std(ddof=1)) if len(cell) > 1 else float("nan"), float(cell.t.mean())
        )
        for name, cell in grouped
    ]
    return sorted(rows, key=lambda row: -row.mean)


def markdown(summaries: Sequence["dict[str, Any]"], plans: Sequence[plan_lib.Plan], dataset: dataset_lib.Dataset) -> str:
    """results.md: the mean table, the paired difference to pf_msmtrec, and a table per scenario and task."""
    seeds = sorted({plan.seed for plan in plans})
    lines = [
        "# Comparison",
        "",
        f"Test AUC at the round that was best on `valid`; mean and standard deviation over {len(seeds)} seed{'s' * (len(seeds) != 1)}"
        f" ({', '.join(map(str, seeds))}). All algorithms share splits, initial values, batch order, embedding policy and number of rounds.",
        "",
        "| algorithm | data leave the client | mean test AUC | deviation | seconds a run |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in standings(summaries):
        pooled = "yes" if row.algorithm in registry.POOLED else "no"
        lines.append(f"| {row.algorithm} | {pooled} | {row.mean:.4f} | {_number(row.deviation)} | {row.seconds:.0f} |")
    lines += ["", *_differences(summaries), "", "| scenario | task | " + " | ".join(_algorithms(summaries)) + " |"]
    lines.append("| --- | --- |" + " --- |" * len(_algorithms(summaries)))
    for scenario in dataset.scenarios:
        for task in dataset.schema.tasks:
            cells = []
            for algorithm in _algorithms(summaries):
                values = [s["test"][scenario][task.name]["auc"] for s in summaries if s["algorithm"] == algorithm]
                defined = [value for value in values if value is not None]
                cells.append(f"{np.mean(defined):.4f}" if defined else "one class")
            lines.append(f"| {scenario} | {task.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _differences(summaries: Sequence["dict[str, Any]"]) -> "list[str]":
    """Paired by seed, so that what a seed does to all algorithms alike does not count."""
    own = {s["seed"]: s["mean_auc"] for s in summaries if s["algorithm"] == "pf_msmtrec"}
    lines = []
    for algorithm in _algorithms(summaries):
        pairs = [own[s["seed"]] - s["mean_auc"] for s in summaries if s["algorithm"] == algorithm and s["seed"] in own]
        if algorithm != "pf_msmtrec" and pairs:
            error = np.std(pairs, ddof=1) / np.sqrt(len(pairs)) if len(pairs) > 1 else float("nan")
            lines.append(f"- pf_msmtrec minus {algorithm}: {np.mean(pairs):+.4f} (standard error {_number(error)}, paired by seed)")
    return lines


def _algorithms(summaries: Sequence["dict[str, Any]"]) -> "list[str]":
    return list(dict.fromkeys(s["algorithm"] for s in summaries))


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.4f}"


def winner(summaries: Sequence["dict[str, Any]"], output: pathlib.Path) -> "dict[str, Any]":
    """The best federated algorithm on the mean, and its run of the first seed, as a path relative to `output`."""
    for row in standings(summaries):
        if row.algorithm in registry.FEDERATED:
            seed = min(s["seed"] for s in summaries if s["algorithm"] == row.algorithm)
            path = run_path(output, row.algorithm, seed).relative_to(output)
            return {"federated": str(path), "algorithm": row.algorithm, "mean_auc": row.mean}
    return {"federated": None, "algorithm": None, "mean_auc": None}


def prepare(output: pathlib.Path) -> None:
    """Checks that `output` is new, empty, or a comparison that was begun.

    Raises:
      PfrecError: where it holds something else.
    """
    if not (output / "runs").is_dir():
        files.require_empty(output)
    for leftover in output.glob(f"{files.TEMPORARY_PREFIX}*"):
        shutil.rmtree(leftover, ignore_errors=True)
