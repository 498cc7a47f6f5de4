"""The parts of a run's page that say what each site has, and what left it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pfrec import amounts, communication
from pfrec.report import markup, results
from pfrec.report.markup import Markup, tag
from pfrec.report.run_files import RunFiles

_SPLITS = ("train", "valid", "test")


def data(run: RunFiles) -> Markup:
    """Rows by scenario, and how often each task's label is 1."""
    found = run.counts
    if not found:
        return Markup("")
    first = found[run.scenarios[0]]
    splits = [split for split in _SPLITS if split in first]
    rated = [split for split in ("train", "test") if split in splits and "observed" in first[split]]
    header = ["scenario", *(f"{split} rows" for split in splits)]
    header += [f"{task}, {split}" for task in run.tasks for split in rated]
    rows: list[list[markup.Content]] = []
    for scenario in run.scenarios:
        own = found[scenario]
        row: list[markup.Content] = [scenario]
        row += [results.counted(own[split]["rows"]) for split in splits]
        row += [
            results.rate(own[split]["positives"][task], own[split]["observed"][task])
            for task in run.tasks
            for split in rated
        ]
        rows.append(row)
    place = run.config.get("data") or "silos, which tell coarse counts"
    return markup.section(
        "Data",
        markup.table(header, rows, label="rows and rates by scenario"),
        note=f"Of {place}. Rates: positive labels among those observed.",
    )


def leaving(run: RunFiles) -> Markup:
    """What crosses the wire, from the privacy manifest."""
    manifest, summary = run.manifest, run.summary
    if not manifest:
        words = "A pooled algorithm: all rows are in one place, and no site keeps any apart."
        return markup.section("What left each site", tag("p", words))
    plan, clients = run.config["plan"], len(run.scenarios)
    of_round = communication.round_bytes(manifest, plan["participation"], clients)
    rounds = len(run.seconds) or run.last_round
    once = manifest.get("upload_bytes_once", 0)
    cards = [
        results.card(results.size(manifest["upload_bytes"]), "up, a site and aggregation"),
        results.card(results.size(manifest["download_bytes"]), "down, a site and aggregation"),
        results.card(manifest["aggregations_per_round"], "aggregations a round"),
        results.card(results.size(of_round), "a round, all sites, both ways"),
        results.card(
            results.size(of_round * rounds + once * clients),
            f"in {amounts.amount(rounds, 'round')}",
        ),
    ]
    best = summary.get("best_round")
    if best:
        cards.append(results.card(results.size(of_round * best), f"until round {best}, the chosen"))
    sent = [*_each(manifest, "uploads"), *_each(manifest, "uploads_once", "once a run")]
    kept = [item["what"] for item in manifest.get("kept_copies", [])]
    tried = _each(manifest, "evaluation_downloads", "every round")
    return markup.section(
        "What left each site",
        tag("div", cards, class_="cards"),
        tag("h3", "Sent by each site"),
        _values(sent, by_kind=True),
        markup.folded("One by one", _values(sent)),
        tag("h3", "What never left"),
        tag(
            "p",
            "Rows, labels, predictions; of the model ",
            _names(manifest["never_leaves"]),
        ),
        markup.folded("Received by each site", _values(_each(manifest, "downloads"))),
        markup.folded("Received besides, to find the spread", _values(tried)) if tried else None,
        markup.folded("Copies that a site keeps beside the model", tag("p", _names(kept)))
        if kept
        else None,
        note="From privacy_manifest.json, which was written before training began.",
    )


def budgets(run: RunFiles) -> Markup:
    """What differential privacy guarantees each scenario, and what of that is spent; nothing of a
    run without it.
    """
    private = run.manifest.get("differential_privacy")
    if not private:
        return Markup("")
    rows: list[list[markup.Content]] = [
        [
            scenario,
            f"{budget['epsilon']:g}",
            f"{budget['epsilon_spent']:.3f}" if "epsilon_spent" in budget else "",
            f"{budget['delta']:.2g}",
            f"{budget['noise_multiplier']:.3f}",
            f"{budget['sampling_rate']:.2%}",
            f"{budget.get('steps_spent', 0):,} of {budget['steps']:,}",
        ]
        for scenario, budget in private["scenarios"].items()
    ]
    header = ["scenario", "epsilon", "spent", "delta", "noise", "rows of a step", "steps"]
    return markup.section(
        "Differential privacy",
        markup.table(header, rows, label="budgets of differential privacy by scenario"),
        note=f"Protects {private['protects']}; takes as known: {private['takes_as_known']}. By "
        f"{private['mechanism']}, a row's gradient clipped to {private['clip']:g}; noise is its "
        "deviation over that. The models that are served have no noise.",
    )


@dataclasses.dataclass(frozen=True)
class _Value:
    """What crosses the wire under one name."""

    name: str
    shapes: "tuple[str, ...]"
    bytes: int
    exactness: str
    often: str


def _each(
    manifest: Mapping[str, Any], kind: str, often: str = "every aggregation"
) -> "list[_Value]":
    """One for each group of variables, and for each value that is no variable."""
    often_by_name = dict.fromkeys(("metrics", "spreads_metrics"), "every round")
    if any(item["what"] == "spreads_metrics" for item in manifest.get(kind, [])):
        often_by_name["metrics"] = "once, on test"
    groups: dict[str, list[Any]] = {}
    for item in manifest.get(kind, []):
        name = item["group"] or item["what"]
        if item["what"].startswith("row_counts/"):
            name = f"counts of ids/{name}"
        groups.setdefault(name, []).append(item)
    return [
        _Value(
            name,
            tuple("×".join(map(str, item["shape"])) or "one number" for item in items),
            sum(item["bytes"] for item in items),
            items[0].get("exactness", "as it is"),
            often_by_name.get(name, often),
        )
        for name, items in groups.items()
    ]


def _values(values: Sequence[_Value], *, by_kind: bool = False) -> Markup:
    """A line for each value, or for all whose names begin alike."""
    lines: dict[str, list[_Value]] = {}
    for value in values:
        lines.setdefault(value.name.partition("/")[0] if by_kind else value.name, []).append(value)
    rows = [
        [
            name,
            f"{len(found)} groups" if len(found) > 1 else ", ".join(dict.fromkeys(found[0].shapes)),
            results.size(sum(value.bytes for value in found)),
            found[0].exactness,
            found[0].often,
        ]
        for name, found in lines.items()
    ]
    header = ["what", "shapes", "size", "how exact", "how often"]
    return markup.table(header, rows, words=True, label="values that cross the wire")


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) + "." if names else "nothing."
