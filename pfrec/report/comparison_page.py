"""DIR/report.html: one self-contained page of a comparison, from its files alone."""

import math
import pathlib
import statistics
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from pfrec import cells, files
from pfrec.report import figures, markup, records, results, run_files, run_page
from pfrec.report.markup import Markup, tag

# Lines of a small panel; more cannot be told apart.
_MOST_LINES = 8
# Panels that stand open; a page of more is long, on a phone above all.
_MOST_PANELS = 12
_TITLES = {"auc": "AUC", "gauc": "grouped AUC", "logloss": "log loss", "ece": "ECE"}
_LOWER_IS_BETTER = ("logloss", "ece")
_REMEDY = "run pfrec-compare again"


class Comparison:
    """The content of a comparison's files.

    Args:
      path: its directory.

    Attributes:
      found: of results.json.
      entries: names, best on the test mean first.
      tests: by entry, scenario, task and metric: the values of all seeds, those that are defined;
        NaN where predictions are.
      seconds: by entry: of each seed's run.

    Raises:
      PfrecError: where there is none, or a file of it is damaged.
    """

    def __init__(self, path: pathlib.Path) -> None:
        place = path / "results.json"
        self.path, self.found = path, records.results(place, _REMEDY)
        self.entries = sorted(self.found["entries"], key=self._rank)
        self.tests: dict[tuple[str, str, str, str], list[float]] = {}
        self.seconds: dict[str, list[float]] = {}
        with run_files.readable(path / "results.csv", _REMEDY):
            for row in run_files.read_rows(path / "results.csv"):
                if row["metric"] == "train_seconds":
                    self.seconds.setdefault(row["algorithm"], []).append(float(row["value"]))
                elif row["scenario"] and row["value"]:
                    key = row["algorithm"], row["scenario"], row["task"], row["metric"]
                    self.tests.setdefault(key, []).append(float(row["value"]))
        self.pairs = list(dict.fromkeys((s, t) for _, s, t, _ in self.tests))

    def entry(self, name: str) -> "dict[str, Any]":
        """What results.json says of an entry."""
        return dict(self.found["entries"][name])

    def _rank(self, name: str) -> "tuple[bool, float]":
        mean = self.found["entries"][name]["test_auc"]["mean"]
        return mean is None, -(mean or 0.0)

    def curves(self, name: str) -> "dict[tuple[str, str], list[run_files.Curve]]":
        """By scenario and task, AUC on valid of each seed's run, as far as the runs are there."""
        curves: dict[tuple[str, str], list[run_files.Curve]] = {}
        for place in self.entry(name).get("runs", []):
            metrics = run_files.read_metrics(self.path / place / "metrics.csv")
            for (scenario, split, task, metric), points in metrics.items():
                if split == "valid" and metric == "auc":
                    curves.setdefault((scenario, task), []).append(points)
        return curves


def write(path: pathlib.Path) -> pathlib.Path:
    """Writes the page of a comparison.

    Returns:
      its path.

    Raises:
      PfrecError: where there is none, a file of it is damaged, or nothing can be written.
    """
    files.write_bytes(path / run_page.NAME, page(Comparison(path)).encode())
    return path / run_page.NAME


def page(comparison: Comparison) -> str:
    """The page as text."""
    return markup.page(
        f"Comparison: {comparison.path.resolve().name}",
        _head(comparison),
        _standings(comparison),
        _curves(comparison),
        _tests(comparison),
        _communication(comparison),
        _data(comparison),
        _settings(comparison),
        _runs(comparison),
    )


def _head(comparison: Comparison) -> Markup:
    seeds = {seed for name in comparison.entries for seed in comparison.entry(name)["seeds"]}
    cards = [
        results.card(len(comparison.entries), "entries"),
        results.card(len(seeds), "seed" if len(seeds) == 1 else "seeds"),
        results.card(len(comparison.found.get("rows", {})), "scenarios"),
        results.card(results.duration(sum(map(sum, comparison.seconds.values()))), "of training"),
    ]
    return tag("div", cards, class_="cards")


def _standings(comparison: Comparison) -> Markup:
    subject = comparison.found.get("subject")
    rows: list[list[markup.Content]] = []
    for name in comparison.entries:
        entry = comparison.entry(name)
        against, seconds = entry.get("subject_minus_it"), comparison.seconds.get(name, [])
        rows.append(
            [
                name,
                "yes" if _is_pooled(entry) else "no",
                _plus_minus(entry["test_auc"]["mean"], entry["test_auc"]["deviation"]),
                "-" if not against else _plus_minus(against["mean"], against["half_width"], "+.4f"),
                _number(entry["valid_auc"]),
                results.duration(statistics.fmean(seconds)) if seconds else "-",
            ]
        )
    against_title = f"{subject} minus it, 95% interval" if subject else "difference"
    header = ["entry", "rows leave", "mean test AUC", against_title, "valid AUC", "time a run"]
    dots = [
        figures.Dot(
            name,
            _float(comparison.entry(name)["test_auc"]["mean"]),
            _float(comparison.entry(name)["test_auc"]["deviation"]),
            int(_is_pooled(comparison.entry(name))),
        )
        for name in comparison.entries
    ]
    kinds = ["rows stay where they are", "rows are pooled"]
    return markup.section(
        "Test AUC by entry",
        figures.legend(kinds[: 1 + max((dot.style for dot in dots), default=0)]),
        figures.dots("Mean over scenarios and tasks, with the deviation over seeds", dots),
        markup.table(header, rows, label="entries"),
        note="At the round that was best on valid; ± is the deviation over seeds.",
    )


def _curves(comparison: Comparison) -> Markup:
    whole = [
        figures.Line(name, list(enumerate(by["mean"], 1)), style, by["deviation"])
        for style, name in enumerate(comparison.entries)
        if (by := comparison.entry(name).get("valid_by_round"))
    ]
    shown = comparison.entries[:_MOST_LINES]
    curves = {name: comparison.curves(name) for name in shown}
    panels = [
        figures.lines(
            f"{scenario}, {task}",
            [
                _mean_line(name, curves[name][scenario, task], style)
                for style, name in enumerate(shown)
                if (scenario, task) in curves[name]
            ],
        )
        for scenario, task in comparison.pairs
        if any((scenario, task) in curves[name] for name in shown)
    ]
    less = (
        f"The {len(shown)} entries that are best on test."
        if len(shown) < len(comparison.entries)
        else ""
    )
    return markup.section(
        "Curves",
        figures.legend(comparison.entries) if whole or panels else None,
        figures.lines("all, as rounds are chosen", whole, large=True) if whole else None,
        _by_pair(panels, less) if panels else None,
        note="By round: the mean over seeds, and in lighter colour its deviation.",
    )


def _by_pair(panels: "Sequence[Markup]", note: str) -> "list[Markup]":
    """The panels of scenarios and tasks, behind their title where there are many."""
    title = "AUC on valid by scenario and task"
    shown = [tag("p", note, class_="note")] if note else []
    shown.append(figures.panels(panels))
    if len(panels) > _MOST_PANELS:
        return [markup.folded(f"{title}, {len(panels)} pictures", shown)]
    return [tag("h3", title), *shown]


def _mean_line(name: str, curves: "Sequence[run_files.Curve]", style: int) -> figures.Line:
    """The mean over seeds, with the deviation, at rounds where all have a value."""
    by_round = [dict(curve) for curve in curves]
    common = sorted(set(by_round[0]).intersection(*by_round))
    values = [[curve[number] for curve in by_round] for number in common]
    return figures.Line(
        name,
        [(number, statistics.fmean(own)) for number, own in zip(common, values)],
        style,
        [statistics.stdev(own) for own in values] if len(by_round) > 1 else (),
    )


def _tests(comparison: Comparison) -> Markup:
    made = []
    for metric, title in _TITLES.items():
        if not any(key[3] == metric for key in comparison.tests):
            continue
        rows = [[s, t, *_best_marked(comparison, s, t, metric)] for s, t in comparison.pairs]
        header = ["scenario", "task", *(tag("span", n, title=n) for n in comparison.entries)]
        table = markup.table(header, rows, names=2, label=f"{title} on test")
        made.append(table if metric == "auc" else markup.folded(title, table))
    return markup.section(
        "Test AUC by scenario and task",
        made,
        note="Mean and deviation over seeds; the best of a line is bold.",
    )


def _best_marked(
    comparison: Comparison, scenario: str, task: str, metric: str
) -> "list[markup.Content]":
    found = [comparison.tests.get((n, scenario, task, metric)) for n in comparison.entries]
    means = [statistics.fmean(values) if values else math.nan for values in found]
    known = [mean for mean in means if not math.isnan(mean)]
    best = (min if metric in _LOWER_IS_BETTER else max)(known) if known else math.nan
    row: list[markup.Content] = []
    for mean, values in zip(means, found):
        several = values and len(values) > 1 and not math.isnan(mean)
        deviation = statistics.stdev(values) if values and several else None
        text = _plus_minus(mean, deviation) if values else "-"
        row.append(tag("b", text) if mean == best else text)
    return row


def _communication(comparison: Comparison) -> Markup:
    target = comparison.found.get("target_valid_auc")
    rows: list[list[markup.Content]] = []
    lines = []
    for style, name in enumerate(comparison.entries):
        entry = comparison.entry(name)
        size, by = entry.get("round_bytes"), entry.get("valid_by_round")
        if not (size and entry["leaves"]):
            continue
        reached, total = entry.get("rounds_to_target"), entry.get("bytes_to_target")
        rows.append(
            [
                name,
                results.size(size),
                "not reached" if reached is None else reached,
                "-" if total is None else results.size(total),
                markup.folded(f"{len(entry['leaves'])} groups", ", ".join(entry["leaves"])),
            ]
        )
        if by:
            points = [(n * size / 1e6, value) for n, value in enumerate(by["mean"], 1)]
            lines.append(figures.Line(name, points, style, by["deviation"]))
    if not rows:
        return Markup("")
    header = ["entry", "a round", "rounds to the target", "in all to the target", "what leaves"]
    title = "valid AUC by MB, all sites, both ways"
    chart = figures.lines(title, lines, axis="MB", whole=False, large=True)
    return markup.section(
        "Communication",
        markup.table(header, rows, label="communication"),
        chart if lines else None,
        note=f"The target is a valid AUC of {target:.4f}." if target else "",
    )


def _data(comparison: Comparison) -> Markup:
    rows = [[name, results.counted(n)] for name, n in comparison.found.get("rows", {}).items()]
    note = f"Of {comparison.found.get('data', 'unknown data')}."
    return markup.section("Data", markup.table(["scenario", "train rows"], rows), note=note)


def _settings(comparison: Comparison) -> Markup:
    given = run_page.flat(comparison.found.get("given_to_all", {}))
    own: list[list[markup.Content]] = []
    for name in comparison.entries:
        plan = run_page.flat(comparison.entry(name)["plan"])
        other = {k: v for k, v in plan.items() if k not in given and k != "algorithm"}
        rows = [[k, v] for k, v in other.items()]
        own.append([name, markup.folded(f"{len(other)} settings", markup.table(["", ""], rows))])
    return markup.section(
        "Settings",
        markup.folded(
            "Given to all", markup.table(["setting", "value"], list(given.items()), words=True)
        ),
        markup.folded("Of each entry", markup.table(["entry", "its own"], own, words=True)),
    )


def _runs(comparison: Comparison) -> Markup:
    rows: list[list[markup.Content]] = []
    for name in comparison.entries:
        entry = comparison.entry(name)
        links = [
            tag("a", f"seed {seed}", href=f"{urllib.parse.quote(place)}/{run_page.NAME}")
            for seed, place in zip(entry["seeds"], entry.get("runs", []))
            if (comparison.path / place / run_page.NAME).exists()
        ]
        if links:
            rows.append([name, [[link, " "] for link in links]])
    return markup.section(
        "Runs", markup.table(["entry", "pages"], rows, words=True) if rows else None
    )


def _is_pooled(entry: Mapping[str, Any]) -> bool:
    return str(entry["algorithm"]).startswith("pooled_")


def _float(value: Optional[float]) -> float:
    return math.nan if value is None else value


def _number(value: Optional[float]) -> str:
    return cells.NAN if value is None or math.isnan(value) else f"{value:.4f}"


def _plus_minus(value: Optional[float], width: Optional[float], form: str = ".4f") -> str:
    if value is None or math.isnan(value):
        return cells.NAN
    told = format(value, form)
    return told if width is None or math.isnan(width) else f"{told} ± {width:.4f}"
