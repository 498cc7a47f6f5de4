"""results.md and results.json: what a comparison found, and what each of its entries was given."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import cells as cells_lib
from pfrec.data.dataset import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process.comparison import intervals, runs, standings


def to_json(
    cells: "Sequence[runs.Cell]",
    plans: "Mapping[str, plan_lib.Plan]",
    dataset: dataset_lib.Dataset,
    target: Optional[float],
) -> "dict[str, Any]":
    """The content of results.json.

    Args:
      cells: of the comparison.
      plans: of each entry, of any seed.
      dataset: that all were trained on.
      target: the AUC on `valid` whose cost in bytes is told.
    """
    rows = standings.standings(cells)
    own, entries = standings.subject(rows), {}
    for row in rows:
        plan, cell = plans[row.entry], next(c for c in cells if c.entry.name == row.entry)
        reached = (
            standings.rounds_to(cells, row.entry, target)
            if target and standings.communicates(cells, row)
            else None
        )
        by_seed = {c.seed: c.auc for c in cells if c.entry.name == row.entry}
        against = (
            standings.difference(cells, own.entry, row.entry)
            if own and own.entry != row.entry
            else None
        )
        entries[row.entry] = {
            "algorithm": row.algorithm,
            "sharing": [list(rule) for rule in cell.entry.sharing],
            "settings": dict(cell.entry.settings),
            "leaves": list(cell.leaves),
            "plan": plan.to_json(),
            "knobs": plan.settings.to_json() if plan.settings else {},
            "seeds": sorted(by_seed),
            "runs": [
                runs.run_path(pathlib.PurePath(), cell.entry, seed).as_posix()
                for seed in sorted(by_seed)
            ],
            "valid_by_round": standings.spread_curve(cells, row.entry),
            "test_auc": {
                "mean": _known(row.mean),
                "deviation": _known(row.deviation),
                "by_seed": [_known(by_seed[seed]) for seed in sorted(by_seed)],
            },
            # What is of no use counts as 0 where rounds are chosen, and has no AUC.
            "valid_auc": None if math.isnan(row.mean) else _known(row.valid),
            "speaks_for_its_algorithm": row.speaks,
            "subject_minus_it": against
            and {"mean": _known(against.mean), "half_width": _known(against.half_width)},
            "seconds": row.seconds,
            "round_bytes": row.round_bytes,
            "rounds_to_target": reached,
            "bytes_to_target": reached and row.round_bytes and reached * row.round_bytes,
        }
    given = [plan.to_json() for plan in plans.values()]
    return {
        "data": str(dataset.path),
        "rows": {scenario: dataset.rows(scenario, "train") for scenario in dataset.scenarios},
        "given_to_all": {
            name: given[0][name]
            for name in given[0]
            if all(plan[name] == given[0][name] for plan in given)
        },
        "subject": own and own.entry,
        "target_valid_auc": target,
        "entries": entries,
    }


def markdown(
    cells: "Sequence[runs.Cell]",
    dataset: dataset_lib.Dataset,
    target: Optional[float],
    tuned: str = "",
    tried: "Sequence[tuple[str, str, int, float, str]]" = (),
) -> str:
    """The content of results.md; arguments: see `to_json`, and `tuned`, a sentence of what all
    entries were tuned by, and `tried`, the rows of `tuning.table`.
    """
    given = tuned or "No knob was tuned on these runs"
    rows = standings.standings(cells)
    seeds = sorted({cell.seed for cell in cells})
    lines = [
        "# Comparison",
        "",
        "Test AUC at the round that was best on `valid`; mean and standard deviation over "
        f"{len(seeds)} seed{'s' * (len(seeds) != 1)}"
        f" ({', '.join(map(str, seeds))}). All algorithms share splits, initial values, batch "
        "order, number of rounds and, where no rule stands "
        f"behind a name, the policy of embeddings. {given}; `results.json` holds what each "
        "was given.",
        "",
        *_main_table(cells, rows),
        "",
        *_verdict(cells, rows),
        "",
        *_communication(cells, rows, target),
        "",
        *_smallest(cells, rows, dataset),
        "",
        *_by_scenario(cells, rows, dataset),
        *_tried(tried),
    ]
    return "\n".join(lines) + "\n"


def _tried(rows: "Sequence[tuple[str, str, int, float, str]]") -> "list[str]":
    if not rows:
        return []
    lines = ["", "What was tried, on the first seed:", ""]
    lines += ["| entry | with | rounds | valid AUC | |", "| --- | --- | --- | --- | --- |"]
    return [
        *lines,
        *(f"| {name} | {own} | {n} | {_text(score)} | {c} |" for name, own, n, score, c in rows),
    ]


def _main_table(cells: "Sequence[runs.Cell]", rows: "Sequence[standings.Standing]") -> "list[str]":
    own = standings.subject(rows)
    against = f"{own.entry} minus it, 95% interval" if own else "difference"
    lines = [
        f"| algorithm | data leave the client | mean test AUC | deviation | {against} | "
        "seconds a run |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        found = (
            standings.difference(cells, own.entry, row.entry)
            if own and row.entry != own.entry
            else None
        )
        why = "speaks for it" if math.isnan(row.valid) else "is ahead on `valid`"
        name = row.entry if row.speaks else f"{row.entry} (another of its entries {why})"
        lines.append(
            f"| {name} | {'no' if row.federated else 'yes'} | {_text(row.mean)} | "
            f"{_number(row.deviation)} | {_interval(found)} | {row.seconds:.0f} |"
        )
    return lines


def _verdict(cells: "Sequence[runs.Cell]", rows: "Sequence[standings.Standing]") -> "list[str]":
    """The paired difference to the best baseline, in words."""
    own, baseline = standings.subject(rows), standings.best_baseline(rows)
    if own is None or baseline is None:
        return []
    found = standings.difference(cells, own.entry, baseline.entry)
    assert found is not None
    if math.isnan(found.mean):
        judgement = "predictions of one of them are NaN"
    elif math.isnan(found.half_width):
        judgement = "one seed says nothing of chance"
    elif not found.excludes_zero:
        judgement = "the interval holds zero"
    else:
        judgement = "ahead" if found.mean > 0 else "behind"
    where = "test, as none is known on `valid`" if math.isnan(own.valid) else "`valid`"
    chosen = "" if own.algorithm == standings.SUBJECT else f", the best of all on {where},"
    lines = [
        f"Against {baseline.entry}, which on test is the best of the others whose rows stay where "
        f"they are, {own.entry}{chosen} stands {_interval(found)}, paired by seed: {judgement}."
    ]
    closed = standings.gap_closed(rows)
    if closed is not None:
        lines.append(
            f"From local training to the pooled MMoE, which sees all rows, it goes {closed:.0%} "
            "of the way."
        )
    return lines


def _communication(
    cells: "Sequence[runs.Cell]", rows: "Sequence[standings.Standing]", target: Optional[float]
) -> "list[str]":
    talking = [row for row in rows if standings.communicates(cells, row)]
    if not talking or target is None:
        return []
    lines = [
        f"## Communication to a valid AUC of {target:.4f}",
        "",
        "| algorithm | MB a round, all clients, both ways | rounds | MB in all |",
        "| --- | --- | --- | --- |",
    ]
    for row in talking:
        reached, size = standings.rounds_to(cells, row.entry, target), (row.round_bytes or 0) / 1e6
        total = "not reached" if reached is None else f"{reached * size:.3g}"
        lines.append(
            f"| {row.entry} | {size:.3g} | {'-' if reached is None else reached} | {total} |"
        )
    return lines


def _smallest(
    cells: "Sequence[runs.Cell]", rows: "Sequence[standings.Standing]", dataset: dataset_lib.Dataset
) -> "list[str]":
    scenario = min(dataset.scenarios, key=lambda name: dataset.rows(name, "train"))
    lines = [
        f"## The smallest scenario, {scenario} ({dataset.rows(scenario, 'train')} training rows)",
        "",
        "| algorithm | mean test AUC over its tasks | deviation | minus local, 95% interval |",
        "| --- | --- | --- | --- |",
    ]

    def value(cell: runs.Cell) -> Optional[float]:
        return standings.scenario_auc(cell, scenario)

    alone = standings.of_algorithm(rows, "local")
    for row in rows:
        found = [value(cell) for cell in cells if cell.entry.name == row.entry]
        known = [auc for auc in found if auc is not None]
        against = (
            standings.difference(cells, row.entry, alone.entry, value)
            if alone and row.entry != alone.entry
            else None
        )
        mean, deviation = _mean(known)
        lines.append(f"| {row.entry} | {mean} | {deviation} | {_interval(against)} |")
    return lines


def _by_scenario(
    cells: "Sequence[runs.Cell]", rows: "Sequence[standings.Standing]", dataset: dataset_lib.Dataset
) -> "list[str]":
    pairs = [
        (scenario, task.name) for scenario in dataset.scenarios for task in dataset.schema.tasks
    ]
    lines = [
        "## By scenario and task",
        "",
        "| algorithm | " + " | ".join(f"{scenario} {task}" for scenario, task in pairs) + " |",
        "| --- |" + " --- |" * len(pairs),
    ]
    for row in rows:
        texts = []
        for scenario, task in pairs:
            found = [
                standings.cell_auc(cell, scenario, task)
                for cell in cells
                if cell.entry.name == row.entry
            ]
            mean, deviation = _mean(
                [auc for auc in found if auc is not None], _why(cells, row, scenario, task)
            )
            texts.append(mean if deviation == "-" else f"{mean} ± {deviation}")
        lines.append(f"| {row.entry} | " + " | ".join(texts) + " |")
    return lines


def _why(cells: "Sequence[runs.Cell]", row: standings.Standing, scenario: str, task: str) -> str:
    """Why a scenario and task has no AUC."""
    own = next(cell for cell in cells if cell.entry.name == row.entry)
    served = cells_lib.served(own.summary["test"][scenario][task])
    return cells_lib.ONE_CLASS if served else cells_lib.NOT_SERVED


def _mean(values: "Sequence[float]", otherwise: str = cells_lib.ONE_CLASS) -> "tuple[str, str]":
    if not values:
        return otherwise, "-"
    if np.isnan(values).any():
        return cells_lib.NAN, "-"
    return f"{np.mean(values):.4f}", f"{np.std(values, ddof=1):.4f}" if len(values) > 1 else "-"


def _interval(found: Optional[intervals.Interval]) -> str:
    if found is None:
        return "-"
    if math.isnan(found.mean):
        return cells_lib.NAN
    return (
        f"{found.mean:+.4f}"
        if math.isnan(found.half_width)
        else f"{found.mean:+.4f} ± {found.half_width:.4f}"
    )


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4f}"


def _text(value: float) -> str:
    return cells_lib.NAN if math.isnan(value) else f"{value:.4f}"


def _known(value: float) -> Optional[float]:
    return None if math.isnan(value) else value
