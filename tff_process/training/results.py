"""What a training came to: metrics of its test round, and whether they are of use."""

import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from pfrec import cells, errors, run_records
from pfrec import metrics as metrics_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import trainable
from pfrec.report import run_files
from tff_process import plan as plan_lib
from tff_process.process import round_report
from tff_process.training import selection

# Scenario, task and metric.
_Place = tuple[str, str, str]


def fault(summary: "Mapping[str, Any]") -> str:
    """Why a finished training is of no use to anybody; empty where it is."""
    if not summary["changed_rounds"]:
        return (
            "nothing was trained: no round changed the server's values. "
            f"{summary['unchanged_because']}; mend that and train into another --output"
        )
    measured = [c for tasks in summary["test"].values() for c in tasks.values() if c["rows"]]
    if measured and all(cells.predicts_nan(cell) for cell in measured):
        return (
            "every prediction on test is NaN; train again with a smaller --learning_rate, or with "
            "numerical columns normalised"
        )
    return ""


def why_not_applied(report: round_report.RoundReport) -> str:
    """Why a round was not applied, in words; empty where it was."""
    if report.applied:
        return ""
    reasons = [
        *(f"the update of {name} was refused: {why}" for name, why in report.refused.items()),
        *(f"{name} missed the round: {why}" for name, why in report.skipped.items()),
    ]
    return "; ".join(reasons) or "fewer clients took part than --min_clients asks for"


def nan(dataset: dataset_lib.Dataset, values: np.ndarray) -> "list[str]":
    """The scenarios and tasks whose predictions are NaN."""
    return [
        f"{dataset.scenarios[s]} {dataset.schema.tasks[t].name}"
        for s, t in np.argwhere(selection.predicts_nan(values))
    ]


def mean_metric(values: np.ndarray, metric: str) -> float:
    """The mean of a metric over scenario-task pairs where it is defined; NaN where it is nowhere,
    and where a model's predictions are NaN: without them it would be the mean of something else.
    """
    if selection.predicts_nan(values).any():
        return float("nan")
    column = values[:, :, metrics_lib.METRICS.index(metric)]
    defined = column[~np.isnan(column)]
    return float(defined.mean()) if defined.size else float("nan")


def measured(dataset: dataset_lib.Dataset, values: np.ndarray) -> np.ndarray:
    """Metrics, without those of tasks that a scenario does not serve: nobody trained them there."""
    served = [
        [trainable.serves(dataset, scenario, task.name) for task in dataset.schema.tasks]
        for scenario in dataset.scenarios
    ]
    nothing = [0.0 if name in ("rows", "positives") else np.nan for name in metrics_lib.METRICS]
    return np.where(np.array(served)[:, :, np.newaxis], values, nothing)


def told_on_valid(path: pathlib.Path, remedy: str) -> "dict[int, dict[_Place, float]]":
    """What a metrics.csv tells of `valid`, by round and by scenario, task and metric; NaN where it
    tells that nothing is known, as of a skipped client.

    Raises:
      PfrecError: where it cannot be read.
    """
    told: dict[int, dict[_Place, float]] = {}
    with run_files.readable(path, remedy):
        for row in run_files.read_rows(path):
            # A line that was being written is of a round that was not complete.
            if row.get("value") is not None and row["split"] == "valid":
                place = row["scenario"], row["task"], row["metric"]
                told.setdefault(int(row["round"]), {})[place] = float(row["value"] or np.nan)
    return told


def array_of(
    told: "Mapping[_Place, float]", scenarios: "Iterable[str]", tasks: "Iterable[str]"
) -> np.ndarray:
    """What is told of a round, float64 [scenarios, tasks, metrics]; NaN where nothing is."""
    return np.array(
        [
            [[told.get((s, t, m), np.nan) for m in metrics_lib.METRICS] for t in tasks]
            for s in scenarios
        ],
        np.float64,
    )


def on_valid(run: pathlib.Path, dataset: dataset_lib.Dataset, number: int) -> np.ndarray:
    """Metrics on `valid` after round `number`, as a run's metrics.csv tells them, float64
    [scenarios, tasks, metrics]; NaN where nothing is known.

    Raises:
      PfrecError: where it cannot be read, or does not speak of the round: then nothing would be
        known of the round that others are held against, and any of them would be better.
    """
    path, remedy = run / "metrics.csv", "put it back as it was, or train into another --output"
    told = told_on_valid(path, remedy).get(number, {})
    tasks = [task.name for task in dataset.schema.tasks]
    for scenario in dataset.scenarios:
        for task in tasks:
            if trainable.serves(dataset, scenario, task) and (scenario, task, "rows") not in told:
                raise errors.PfrecError(
                    f"{path}: does not tell what round {number}, the best one until now, came "
                    f"to on valid for {task} of {scenario}; {remedy}"
                )
    return measured(dataset, array_of(told, dataset.scenarios, tasks))


def unknown(dataset: dataset_lib.Dataset) -> np.ndarray:
    """Metrics of which nothing is known."""
    return np.full(
        [len(dataset.scenarios), len(dataset.schema.tasks), len(metrics_lib.METRICS)], np.nan
    )


def summary(
    plan: plan_lib.Plan, dataset: dataset_lib.Dataset, best_round: int, values: np.ndarray
) -> "dict[str, Any]":
    """The content of summary.json, but for what the loop knows of its rounds.

    Args:
      plan, dataset: of the training.
      best_round: the chosen round.
      values: metrics of it on test, float64 [scenarios, tasks, metrics].
    """
    test: dict[str, Any] = {}
    for s, scenario in enumerate(dataset.scenarios):
        for t, task in enumerate(dataset.schema.tasks):
            cell = cells.plain(dict(zip(metrics_lib.METRICS, values[s, t].tolist())))
            if not trainable.serves(dataset, scenario, task.name):
                cell = cells.not_served(metrics_lib.METRICS)
            test.setdefault(scenario, {})[task.name] = cell
    mean_auc = mean_metric(values, "auc")
    withheld = {run_records.WITHHELD: list(plan.withhold)} if plan.withhold else {}
    return {
        "algorithm": plan.name,
        "seed": plan.seed,
        "best_round": best_round,
        "mean_auc": None if np.isnan(mean_auc) else mean_auc,
        "nan": nan(dataset, values),
        "test": test,
        **withheld,
    }
