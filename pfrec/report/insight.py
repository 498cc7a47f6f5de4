"""The parts of a run's page that say how its scenarios help one another, and what matters."""

from collections.abc import Mapping, Sequence
from typing import Optional

from pfrec.report import figures, markup, shades, signals
from pfrec.report.markup import Markup, tag
from pfrec.report.run_files import RunFiles

_MOST_PAIRS = 40
_FIRST_FEATURES = 25
# Shades of the largest matrix of a page; beyond it a number more tells nobody anything.
_MOST_ROUNDS = 60


def diagnostics(run: RunFiles) -> Markup:
    """Conflicts, what is applied, distances, gates and what the guard rails did."""
    return markup.section(
        "Diagnostics", _events(run), _conflicts(run), _applied(run), _distances(run), _gates(run)
    )


def importance(run: RunFiles) -> Markup:
    """By scenario and task, what a feature is worth, where pfrec-diagnose computed it."""
    found = run.computed["importance"]
    if not found:
        return Markup("")
    columns = [
        (scenario, task)
        for scenario in run.scenarios
        for task in run.tasks
        if task in found["scenarios"].get(scenario, {})
    ]
    features = list(found["features"])
    values = [
        [_mean(found["scenarios"][scenario][task].get(feature)) for scenario, task in columns]
        for feature in features
    ]
    known = [[value for value in row if value is not None] for row in values]
    means = [sum(row) / len(row) if row else 0.0 for row in known]
    order = sorted(range(len(features)), key=lambda number: -means[number])
    first, rest = order[:_FIRST_FEATURES], order[_FIRST_FEATURES:]

    def chart(numbers: "list[int]") -> Markup:
        return shades.matrix(
            "AUC lost where the feature is shuffled",
            [features[number] for number in numbers],
            [f"{scenario} {task}" for scenario, task in columns],
            [values[number] for number in numbers],
            row_axis="features, those that matter most first",
            column_axis="scenario and task",
            form=".3f",
        )

    note = (
        f"Rows of {found['split']} at round {found['round']}, mean of {found['repeats']} shuffles: "
        "how much lower AUC is where each row has another row's value. Near 0, the model does "
        "without the feature; features that say the same share what they are worth."
    )
    return markup.section(
        "What matters",
        chart(first),
        markup.folded(markup.counted(len(rest), "more feature"), chart(rest)) if rest else None,
        note=note,
    )


def _mean(value: Optional[Mapping[str, float]]) -> Optional[float]:
    return None if value is None else value["mean"]


def _events(run: RunFiles) -> Optional[Markup]:
    found = signals.events(run.rounds)
    if not found:
        return None
    rows = [[str(number), scenario or "all", what] for number, scenario, what in found]
    table = markup.table(["round", "scenario", "what happened"], rows, words=True)
    return markup.folded(f"{markup.counted(len(found), 'intervention')} of the guard rails", table)


def _conflicts(run: RunFiles) -> Optional[Markup]:
    shares = signals.by_group(run.rounds, "conflict_share")
    pairs = signals.likeness(run.rounds, run.scenarios)
    drawn = []
    if pairs:
        kept = signals.strongest(pairs, _MOST_PAIRS)
        title = "How alike the updates of two scenarios are, by round"
        if len(kept) < len(pairs):
            title += f": the {len(kept)} of {len(pairs)} pairs that conflict most"
        of_pairs = {f"{one} and {other}": pairs[one, other] for one, other in kept}
        drawn.append(_over_rounds(title, of_pairs, "pairs"))
    if shares:
        title = "Share of pairs whose updates conflict, by round"
        drawn.append(_over_rounds(title, shares, "groups of variables", 1.0, opposed=True))
    if not drawn:
        return None
    note = (
        "Mean cosine over groups: warm where two scenarios pull together, cold where they conflict."
    )
    return markup.joined(tag("h3", "Conflicts"), tag("p", note, class_="note"), drawn)


def _over_rounds(
    title: str,
    rows: "dict[str, dict[int, float]]",
    axis: str,
    largest: Optional[float] = None,
    opposed: bool = False,
) -> Markup:
    numbers = sorted({number for row in rows.values() for number in row})
    step = -(-len(numbers) // _MOST_ROUNDS)
    numbers = numbers[::step]
    if step > 1:
        title += f", every {step}th"
    return shades.matrix(
        title,
        list(rows),
        [str(number) for number in numbers],
        [[row.get(number) for number in numbers] for row in rows.values()],
        row_axis=axis,
        column_axis="rounds",
        largest=largest,
        opposed=opposed,
    )


def _applied(run: RunFiles) -> Optional[Markup]:
    matrices = signals.applied(run.rounds.get(run.best_round or 0, {}), len(run.scenarios))
    if not matrices:
        return None
    note = (
        f"Round {run.best_round}, last aggregation: the weight that the values of each scenario "
        "(columns) have in what a scenario (rows) gets back, its own included."
    )
    drawn = [
        shades.matrix(
            group,
            run.scenarios,
            run.scenarios,
            matrix,
            row_axis="who takes",
            column_axis="from whom",
            largest=1.0,
        )
        for group, matrix in matrices.items()
    ]
    return markup.joined(
        tag("h3", "What each scenario takes from which"),
        tag("p", note, class_="note"),
        shades.matrices(drawn[:1]),
        markup.folded(markup.counted(len(drawn) - 1, "more group"), shades.matrices(drawn[1:]))
        if drawn[1:]
        else None,
    )


def _distances(run: RunFiles) -> Optional[Markup]:
    found = signals.distances(run.rounds, run.scenarios)
    if not found:
        return None
    drawn = figures.lines("root of summed squares", series(found), mark=run.best_round, large=True)
    return markup.joined(
        tag("h3", "Distance of personal values from what is common"),
        figures.legend(list(found)),
        drawn,
    )


def series(rows: "dict[str, dict[int, float]]") -> "list[figures.Line]":
    """Lines of series by round, each in a style of its own."""
    return [
        figures.Line(name, [(float(number), value) for number, value in sorted(row.items())], style)
        for style, (name, row) in enumerate(rows.items())
    ]


def _gates(run: RunFiles) -> Optional[Markup]:
    use = run.computed["gate_use"].get(str(run.best_round))
    if not use:
        return None
    labels = [f"{scenario} {task}" for scenario, tasks in use.items() for task in tasks]
    values: list[Sequence[Optional[float]]] = [
        weights for tasks in use.values() for weights in tasks.values()
    ]
    experts = [f"expert {number}" for number in range(len(values[0]))]
    return markup.joined(
        tag("h3", "Gates"),
        shades.matrix(
            "Mean weight of each expert on valid rows",
            labels,
            experts,
            values,
            row_axis="gate of scenario and task",
            largest=1.0,
        ),
    )
