"""How the entries of a comparison did: statistics over seeds, paired differences,
and which entry speaks for its algorithm.
"""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any, Callable, Optional

import numpy as np

from pfrec import cells as cells_lib
from tff_process.algorithms import registry
from tff_process.comparison import intervals, runs

SUBJECT = "pf_msmtrec"


@dataclasses.dataclass(frozen=True)
class Standing:
    """How an entry did.

    Attributes:
      entry: its name.
      algorithm: its algorithm.
      mean, deviation: of the mean test AUC over scenario-task pairs, over seeds; the deviation is
        NaN for one seed.
      valid: mean over seeds of `selection.score` on `valid` at the chosen round.
      seconds: mean wall time of a run.
      round_bytes: see `runs.Cell`.
      speaks: whether it is its algorithm's best entry on `valid`, which is the one that counts
        where algorithms are compared.
    """

    entry: str
    algorithm: str
    mean: float
    deviation: float
    valid: float
    seconds: float
    round_bytes: Optional[int]
    speaks: bool

    @property
    def federated(self) -> bool:
        """Whether rows stay where they are."""
        return not registry.is_pooled(self.algorithm)


def standings(cells: "Sequence[runs.Cell]") -> "list[Standing]":
    """All entries, best on the test mean first; those whose predictions are NaN are the last.

    Raises:
      PfrecError: where no scenario's test split holds both classes of any task.
    """
    valid = {
        name: float(np.mean([c.best_valid for c in own])) for name, own in _by_entry(cells).items()
    }
    rows = []
    for name, own in _by_entry(cells).items():
        algorithm = own[0].entry.algorithm
        kin = [n for n, cs in _by_entry(cells).items() if cs[0].entry.algorithm == algorithm]
        auc = [cell.auc for cell in own]
        rows.append(
            Standing(
                entry=name,
                algorithm=algorithm,
                mean=float(np.mean(auc)),
                deviation=float(np.std(auc, ddof=1)) if len(auc) > 1 else float("nan"),
                valid=valid[name],
                seconds=float(np.mean([cell.summary["wall_seconds"] for cell in own])),
                round_bytes=own[0].round_bytes,
                speaks=name == max(kin, key=lambda n: _known_first(valid[n])),
            )
        )
    return sorted(rows, key=lambda row: (np.isnan(row.mean), -row.mean))


def subject(rows: Sequence[Standing]) -> Optional[Standing]:
    """The entry that the others are held against: pf_msmtrec's, or else the federated one that is
    best on `valid`, since one chosen on test would have its luck counted for it, but for want of
    any known there; None without any.
    """
    federated = [row for row in rows if row.federated and row.speaks]
    own = [row for row in federated if row.algorithm == SUBJECT] or federated
    if not own:
        return None
    return max(own, key=lambda row: (not np.isnan(row.mean), *_known_first(row.valid)))


def of_algorithm(rows: Sequence[Standing], algorithm: str) -> Optional[Standing]:
    """The entry that speaks for an algorithm; None where it was not run."""
    return next((row for row in rows if row.algorithm == algorithm and row.speaks), None)


def gap_closed(rows: Sequence[Standing]) -> Optional[float]:
    """How much of the way from local training to the pooled MMoE the subject is; None where one was
    not run or predicts NaN, or pooling does not help.
    """
    own, alone, pooled = (
        subject(rows),
        of_algorithm(rows, "local"),
        of_algorithm(rows, "pooled_mmoe"),
    )
    if own is None or alone is None or pooled is None or not pooled.mean > alone.mean:
        return None
    if np.isnan(own.mean):
        return None
    return (own.mean - alone.mean) / (pooled.mean - alone.mean)


def best_baseline(rows: Sequence[Standing]) -> Optional[Standing]:
    """The federated entry of another algorithm than the subject's that is best on test, which
    favours it beside one that was chosen on `valid`; None without any.
    """
    own = subject(rows)
    return next(
        (
            row
            for row in rows
            if own and row.federated and row.speaks and row.algorithm != own.algorithm
        ),
        None,
    )


def difference(
    cells: "Sequence[runs.Cell]",
    first: str,
    second: str,
    value: "Callable[[runs.Cell], Optional[float]]" = lambda cell: cell.auc,
) -> Optional[intervals.Interval]:
    """First minus second, paired by seed,
    so that what a seed does to all alike does not count; None where no seed has both.
    """
    by_seed = {cell.seed: value(cell) for cell in cells if cell.entry.name == second}
    pairs = [(value(cell), by_seed.get(cell.seed)) for cell in cells if cell.entry.name == first]
    known = [a - b for a, b in pairs if a is not None and b is not None]
    return intervals.interval(known) if known else None


def cell_auc(cell: "runs.Cell", scenario: str, task: str) -> Optional[float]:
    """Test AUC of a scenario and task; None where its rows are of one class, NaN where predictions
    are.
    """
    own = cell.summary["test"][scenario][task]
    if cells_lib.predicts_nan(own):
        return float("nan")
    return None if own["auc"] is None else float(own["auc"])


def scenario_auc(cell: "runs.Cell", scenario: str) -> Optional[float]:
    """Mean test AUC over a scenario's tasks; None where none is defined."""
    values = [cell_auc(cell, scenario, task) for task in cell.summary["test"][scenario]]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def curve(cells: "Sequence[runs.Cell]", entry: str) -> "list[float]":
    """Mean over seeds of `selection.score` on `valid`, by round, as far as all seeds went."""
    own = [cell.valid for cell in cells if cell.entry.name == entry]
    return [float(np.mean(values)) for values in zip(*own)]


def spread_curve(cells: "Sequence[runs.Cell]", entry: str) -> "dict[str, list[float]]":
    """`curve` with the deviation over seeds at each round, 0 for one seed."""
    own = [cell.valid for cell in cells if cell.entry.name == entry]
    deviation = [float(np.std(v, ddof=1)) if len(v) > 1 else 0.0 for v in zip(*own)]
    return {"mean": curve(cells, entry), "deviation": deviation}


def target_auc(cells: "Sequence[runs.Cell]", rows: Sequence[Standing]) -> Optional[float]:
    """The largest score on `valid` that every entry that communicates model values reaches, but for
    those whose predictions are NaN; None without any.
    """
    able = [row for row in rows if communicates(cells, row) and not np.isnan(row.mean)]
    peaks = [max(curve(cells, row.entry)) for row in able]
    return min(peaks) if peaks else None


def communicates(cells: "Sequence[runs.Cell]", row: Standing) -> bool:
    """Whether values of variables leave its clients: not with local training,
    and not where the rows themselves are pooled.
    """
    return any(cell.leaves for cell in cells if cell.entry.name == row.entry)


def rounds_to(cells: "Sequence[runs.Cell]", entry: str, target: float) -> Optional[int]:
    """The first round after which an entry's `curve` is at `target`; None where it never is."""
    return next(
        (number for number, value in enumerate(curve(cells, entry), 1) if value >= target), None
    )


def winner(cells: "Sequence[runs.Cell]", output: pathlib.Path) -> "dict[str, Any]":
    """The federated entry that is best on `valid`, and its run of the first seed, as a path
    relative to `output`. What is to be exported is not chosen on the rows that say how good it is.
    """
    known = [row for row in standings(cells) if row.federated and not np.isnan(row.mean)]
    if not known:
        return dict.fromkeys(("federated", "algorithm", "entry", "mean_auc", "valid_auc"))
    row = max(known, key=lambda row: _known_first(row.valid))
    cell = min((c for c in cells if c.entry.name == row.entry), key=lambda c: c.seed)
    path = runs.run_path(output, cell.entry, cell.seed).relative_to(output)
    return {
        "federated": str(path),
        "algorithm": row.algorithm,
        "entry": row.entry,
        "mean_auc": row.mean,
        "valid_auc": None if math.isnan(row.valid) else row.valid,
    }


def _known_first(score: float) -> "tuple[bool, float]":
    """A key that is largest for the best score and least for NaN, where nothing counts."""
    return not np.isnan(score), score


def _by_entry(cells: "Sequence[runs.Cell]") -> "dict[str, list[runs.Cell]]":
    found: dict[str, list[runs.Cell]] = {}
    for cell in cells:
        found.setdefault(cell.entry.name, []).append(cell)
    return found
