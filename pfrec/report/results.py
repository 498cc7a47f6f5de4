"""The parts of a run's page that say how well it did: test, curves, calibration."""

import math
import shlex
from typing import Any

from pfrec import cells, run_records
from pfrec.report import figures, markup
from pfrec.report.markup import Markup, tag
from pfrec.report.run_files import RunFiles


def card(value: markup.Content, words: str) -> Markup:
    """A figure with what it is."""
    return tag("div", tag("b", value), tag("span", words), class_="card")


def test_table(run: RunFiles) -> Markup:
    """Metrics on test at the chosen round: a line for each scenario and task."""
    if not run_records.measured(run.summary):
        note = "Metrics are withheld: no round was chosen by them, the model is that of the last."
        return markup.section("Test", tag("p", note))
    test = run.summary.get("test", {})
    found = [
        (scenario, task, test[scenario][task])
        for scenario in run.scenarios
        for task in run.tasks
        if task in test.get(scenario, {})
    ]
    if not found:
        return Markup("")
    grouped = any(cells.has_value(cell.get("gauc")) for _, _, cell in found)
    shown = ["auc", *(["gauc"] if grouped else []), "logloss", "ece"]
    titles = {"auc": "AUC", "gauc": "grouped AUC", "logloss": "log loss", "ece": "ECE"}
    rows: list[list[markup.Content]] = []
    for scenario, task, cell in found:
        count, positives = cell.get("rows"), cell.get("positives")
        rows.append(
            [
                scenario,
                task,
                *(cells.text(cell, name) for name in shown),
                counted(count),
                counted(positives),
                rate(positives, count),
            ]
        )
    header = ["scenario", "task", *(titles[name] for name in shown), "rows", "positives", "rate"]
    note = (
        "At the round that was best on valid"
        + (", finished by each client on its own rows" if run_records.finished(run.summary) else "")
        + ". AUC: the share of pairs of a positive and a negative row that are ranked rightly. "
        + ("Grouped AUC: the same within each group, averaged by rows. " if grouped else "")
        + "ECE: how far predicted probabilities lie from observed rates. "
        + run_records.counts_note(run.summary)
    )
    return markup.section(
        "Test", markup.table(header, rows, names=2, label="metrics on test"), note=note
    )


def curves(run: RunFiles) -> Markup:
    """AUC on valid by round, and losses of training."""
    auc = [
        figures.lines(
            scenario,
            [
                figures.Line(task, run.curve(scenario, "valid", task, "auc"), style)
                for style, task in enumerate(run.tasks)
            ],
            mark=run.best_round,
        )
        for scenario in run.scenarios
        if any(run.curve(scenario, "valid", task, "auc") for task in run.tasks)
    ]
    sources = dict.fromkeys(scenario for scenario, split, *_ in run.metrics if split == "train")
    loss = [
        figures.lines(
            source,
            [figures.Line("loss", run.curve(source, "train", "all", "loss"))],
            mark=run.best_round,
        )
        for source in sources
    ]
    return markup.section(
        "Curves",
        [tag("h3", "AUC on valid"), figures.legend(run.tasks), figures.panels(auc)]
        if auc
        else None,
        markup.folded("Loss of training, by scenario", figures.panels(loss)) if loss else None,
        note="By round, each panel with an axis of its own; a dotted line marks the chosen round.",
    )


def calibration(run: RunFiles) -> Markup:
    """Observed rates over predicted ones, where pfrec-diagnose computed them."""
    found = run.computed["calibration"]
    if not found:
        line = shlex.join(["pfrec-diagnose", f"--run={run.path}"])
        note = f"The plot needs models and rows: {line} computes it."
        return markup.section("Calibration", tag("p", note)) if run.summary else Markup("")
    panels = []
    for scenario, tasks in found["scenarios"].items():
        lines = [
            figures.Line(task, _points(tasks[task]), style)
            for style, task in enumerate(run.tasks)
            if task in tasks
        ]
        largest = max((max(point) for line in lines for point in line.points), default=0.0)
        if largest > 0:
            panels.append(figures.calibration(scenario, lines, largest * 1.05))
    note = (
        f"Rows of {found['split']} at round {found['round']}, in ten parts of equal size by "
        "prediction: each dot is a part's observed rate (up) over its mean prediction (across). On "
        "the dashed line they agree."
    )
    return markup.section(
        "Calibration", figures.legend(run.tasks), figures.panels(panels), note=note
    )


def _points(parts: "list[dict[str, Any]]") -> "list[tuple[float, float]]":
    return [(part["predicted"], part["positives"] / part["rows"]) for part in parts]


def counted(value: Any) -> str:
    """A count with its thousands apart."""
    return f"{value:,.0f}" if cells.has_value(value) else cells.UNKNOWN


def rate(positives: Any, rows: Any) -> str:
    """Positives among rows, in percent."""
    if not (cells.has_value(positives) and cells.has_value(rows) and rows):
        return "-"
    return f"{100 * positives / rows:.3g}%"


def duration(seconds: float) -> str:
    """Seconds in the unit that fits."""
    if not math.isfinite(seconds):
        return "-"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
