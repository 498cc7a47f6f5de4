"""Champion and challenger: what is served now and what is about to be, on the same rows.

Both are asked by raw values, so that each understands them by its own vocabularies and statistics.
Of hashed features stored rows hold the ids alone; a text of the same id stands for the value. A
word that the rows' vocabulary lacked is unknown to both.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Optional

import numpy as np

from export import interface
from export.exporting import trained
from export.graph import requests
from export.scoring import delong
from export.scoring import models as models_lib
from pfrec import errors
from pfrec.data.dataset import row_block

_BATCH_ROWS = 4096


@dataclasses.dataclass(frozen=True)
class Cell:
    """One scenario and task.

    Attributes:
      scenario, task: which.
      version: of the champion.
      found: both AUCs; None where the rows are of one class.
      low, high: of the difference, simultaneous over all cells.
    """

    scenario: str
    task: str
    version: int
    found: Optional[delong.Paired]
    low: float = float("nan")
    high: float = float("nan")

    @property
    def worse(self) -> bool:
        """Whether the challenger is worse by more than chance."""
        return self.high < 0.0

    def to_json(self) -> "dict[str, Any]":
        """Plain data."""
        value: dict[str, Any] = {
            "scenario": self.scenario,
            "task": self.task,
            "champion_version": self.version,
        }
        if self.found is not None:
            value.update(
                champion_auc=self.found.first,
                challenger_auc=self.found.second,
                difference=self.found.difference,
                interval=[self.low, self.high],
                rows=self.found.rows,
                positives=self.found.positives,
                worse=self.worse,
            )
        return value


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What was compared, and what could not be.

    Attributes:
      cells: by scenario and task.
      notes: why a scenario was not compared.
    """

    cells: "tuple[Cell, ...]" = ()
    notes: "tuple[str, ...]" = ()

    @property
    def worse(self) -> "list[str]":
        """The scenarios and tasks in which the challenger is worse by more than chance."""
        return [f"{cell.scenario} {cell.task}" for cell in self.cells if cell.worse]

    def to_json(self) -> "dict[str, Any]":
        """Plain data."""
        return {"cells": [cell.to_json() for cell in self.cells], "notes": list(self.notes)}

    def table(self) -> str:
        """As aligned text; empty where nothing was compared."""
        if not self.cells:
            return ""
        lines = [
            f"{'scenario':<16} {'task':<12} {'rows':>8} {'champion':>9} {'challenger':>10} "
            f"{'difference, 95% interval':>32}"
        ]
        for cell in self.cells:
            if cell.found is None:
                lines.append(f"{cell.scenario:<16} {cell.task:<12} rows of one class")
                continue
            found = cell.found
            between = f"{found.difference:+.4f} [{cell.low:+.4f}, {cell.high:+.4f}]"
            lines.append(
                f"{cell.scenario:<16} {cell.task:<12} {found.rows:>8} {found.first:>9.4f} "
                f"{found.second:>10.4f} {between:>32}{'  WORSE' if cell.worse else ''}"
            )
        return "\n".join(lines)


def compare(
    serving: pathlib.Path,
    names: "Mapping[str, str]",
    challenger_of: "Callable[[str], trained.TrainedModel]",
    rows: "Mapping[str, trained.LabelledRows]",
) -> Comparison:
    """Compares what is served with what would be exported.

    Args:
      serving: the serving directory.
      names: the models' names by scenario.
      challenger_of: makes the new model of a scenario.
      rows: of a scenario, where there are any.

    Raises:
      PfrecError: where a served version is damaged.
    """
    served = models_lib.served_versions(serving, names.values())
    cells, notes = [], []
    for scenario, name in names.items():
        if name not in served:
            continue  # the first export of it
        if scenario not in rows:
            notes.append(f"{scenario}: no rows to compare with; name some with --champion_data")
            continue
        champion = models_lib.Version(served[name])
        challenger = challenger_of(scenario)
        difference = _other_inputs(champion.served, challenger.served)
        if difference:
            notes.append(f"{scenario}: version {served[name].name} {difference}; not compared")
            continue
        cells += _cells(scenario, champion, challenger, rows[scenario])
    known = sum(cell.found is not None for cell in cells)
    return Comparison(
        tuple(
            dataclasses.replace(cell, low=low, high=high)
            for cell in cells
            for low, high in [cell.found.interval(known) if cell.found else (np.nan, np.nan)]
        ),
        tuple(notes),
    )


def _cells(
    scenario: str,
    champion: models_lib.Version,
    challenger: trained.TrainedModel,
    given: trained.LabelledRows,
) -> "list[Cell]":
    request = requests.with_hashed_texts(
        requests.from_rows(given.rows, given.schema), given.rows, given.schema
    )
    predictors = (champion.predict, challenger.predict)
    scores = [_scores(predict, request, len(given.rows)) for predict in predictors]
    labels = dict(zip((t.name for t in given.schema.tasks), given.rows.labels.T))
    tasks = [task for task in champion.served.tasks() if task in scores[1] and task in labels]
    found = []
    for task in tasks:
        observed = labels[task] != row_block.UNOBSERVED
        pair = (score[task][observed] for score in scores)
        found.append(
            Cell(
                scenario, task, champion.version, delong.compare(labels[task][observed] > 0, *pair)
            )
        )
    return found


def _scores(
    predict: models_lib.Predict, request: requests.Request, count: int
) -> "dict[str, np.ndarray]":
    parts = [
        predict(requests.take(request, slice(start, start + _BATCH_ROWS)))
        for start in range(0, count, _BATCH_ROWS)
    ]
    return {task: np.concatenate([part[task] for part in parts]) for task in parts[0]}


def _other_inputs(champion: interface.Interface, challenger: interface.Interface) -> str:
    """How the inputs of two models differ, in words; empty where both take the same raw values."""
    before, now = ({**one.inputs()} for one in (champion, challenger))
    if before != now:
        changed = sorted(set(before.items()) ^ set(now.items()))
        return f"takes other inputs ({', '.join(dict.fromkeys(name for name, _ in changed))})"
    hashed = [
        {f.name: f.cardinality for f in one.schema.categorical if f.encoding == "hash"}
        for one in (champion, challenger)
    ]
    if hashed[0] != hashed[1]:
        return "hashes to another number of ids"
    return "" if set(champion.tasks()) & set(challenger.tasks()) else "has none of the tasks"


def require_not_worse(comparison: Comparison, force: bool) -> None:
    """Refuses a challenger that is worse by more than chance.

    Raises:
      PfrecError: where it is, and is not forced.
    """
    if comparison.worse and not force:
        raise errors.PfrecError(
            f"the new model ranks worse than what is served in {', '.join(comparison.worse)}, by "
            "more than chance; nothing was exported. Export another run, or this one with --force"
        )
