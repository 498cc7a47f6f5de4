"""RUN/report.html: one self-contained page of a run, from its files alone."""

import pathlib
from collections.abc import Mapping
from typing import Any, Optional

from pfrec import files, run_records
from pfrec.report import exchange, figures, insight, markup, results
from pfrec.report.markup import Markup, tag
from pfrec.report.run_files import RunFiles

NAME = "report.html"


def write(run: pathlib.Path) -> pathlib.Path:
    """Writes the page of a run, finished or not.

    Returns:
      its path.

    Raises:
      PfrecError: where there is no run, a file of it is damaged, or nothing can be written.
    """
    files.write_bytes(run / NAME, page(RunFiles.read(run)).encode())
    return run / NAME


def page(run: RunFiles) -> str:
    """The page as text."""
    title = f"{run.config.get('algorithm', 'a run')}: {run.path.resolve().name}"
    return markup.page(
        title,
        _head(run),
        results.test_table(run),
        results.curves(run),
        results.calibration(run),
        insight.importance(run),
        exchange.data(run),
        exchange.leaving(run),
        exchange.budgets(run),
        insight.diagnostics(run),
        _times(run),
        _settings(run),
    )


def _head(run: RunFiles) -> Markup:
    summary = run.summary
    cards = []
    if summary:
        mean = summary.get("mean_auc")
        unknown = "undefined" if run_records.measured(summary) else "withheld"
        cards = [
            results.card(unknown if mean is None else f"{mean:.4f}", "mean test AUC"),
            results.card(f"{run.best_round} of {run.last_round}", "chosen round"),
            results.card(results.duration(summary.get("wall_seconds", float("nan"))), "in all"),
        ]
    cards += [
        results.card(len(run.scenarios), "scenarios"),
        results.card(len(run.tasks), f"tasks: {', '.join(run.tasks)}"),
    ]
    return markup.joined(tag("div", cards, class_="cards"), _warnings(run))


def _warnings(run: RunFiles) -> "list[Markup]":
    said = []
    if not run.summary:
        most = run_records.most_rounds(run.manifest, run.config["plan"])
        said.append(f"The run is not finished: round {run.last_round} of {most}.")
    elif early := run_records.ended_early(run.summary):
        said.append(f"Training {early}.")
    if run.summary.get("fault"):
        said.append(f"Of no use: {run.summary['fault']}.")
    if run.summary.get("nan"):
        said.append(f"Predictions are NaN: {', '.join(run.summary['nan'])}.")
    return [tag("p", words, class_="warn") for words in said]


def _times(run: RunFiles) -> Markup:
    if not run.seconds:
        return Markup("")
    steady = [value for number, value in run.seconds.items() if number not in run.traced]
    chart = figures.lines(
        "seconds a round",
        [figures.Line("seconds", [(float(n), s) for n, s in sorted(run.seconds.items())])],
        mark=run.best_round,
    )
    rows = [["all", results.duration(run.summary.get("wall_seconds", float("nan")))]]
    rows.append(["rounds", results.duration(sum(run.seconds.values()))])
    if steady:
        rows.append(["a round", results.duration(sum(steady) / len(steady))])
    traced = ", ".join(map(str, sorted(run.traced)))
    note = (
        f"With evaluation on valid and saving. In round {traced} computations were traced, so it "
        "is in no mean."
        if traced
        else "With evaluation on valid and saving."
    )
    return markup.section(
        "Times", markup.table(["what", "time"], rows), figures.panels(chart), note=note
    )


def _settings(run: RunFiles) -> Markup:
    rows = [[name, value] for name, value in flat(run.config["plan"]).items()]
    others = [
        [name, str(run.config[name])]
        for name in ("id", "pfrec_version", "data", "format_version")
        if run.config.get(name) is not None
    ]
    return markup.section(
        "Settings",
        markup.folded("The whole plan", markup.table(["setting", "value"], rows, words=True)),
        markup.table(["of the run", ""], others, words=True),
    )


def flat(value: Mapping[str, Any], start: str = "") -> "dict[str, str]":
    """Nested settings as lines of text, each under the path of its name."""
    found: dict[str, str] = {}
    for name, entry in sorted(value.items()):
        if isinstance(entry, Mapping):
            found.update(flat(entry, f"{start}{name}."))
        else:
            found[f"{start}{name}"] = _told(entry)
    return found


def _told(value: Optional[Any]) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_told, value)) or "-"
    return "-" if value in (None, "") else str(value)
