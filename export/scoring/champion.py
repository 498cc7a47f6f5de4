"""Champion and challenger: what is served now and what is about to be, on the same rows.

Both are asked by raw values, so that each understands them by its own vocabularies and statistics.
Of hashed features stored rows hold the ids alone; a text of the same id stands for the value. A
word that the rows' vocabulary lacked is unknown to both.
"""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Optional, Union

import numpy as np

from export import interface
from export.exporting import trained
from export.graph import requests
from export.scoring import delong
from export.scoring import models as models_lib
from pfrec import errors, text_table
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block

_BATCH_ROWS = 4096
_ROWS = 100_000  # of each scenario; they are stored in random order


@dataclasses.dataclass(frozen=True)
class Cell:
    """One scenario and task.

    Attributes:
      scenario, task: which.
      version: of the champion.
      found: both AUCs; None without two rows of each class.
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
        head = ("rows", "champion", "challenger", "difference, 95% interval", "")
        lines = [("scenario", "task", *head)]
        for cell in self.cells:
            told = ("", "", "", "too few rows of a class", "")
            if cell.found is not None:
                found = cell.found
                between = f"{found.difference:+.4f} [{cell.low:+.4f}, {cell.high:+.4f}]"
                both = (f"{found.first:.4f}", f"{found.second:.4f}")
                told = (str(found.rows), *both, between, "WORSE" if cell.worse else "")
            lines.append((cell.scenario, cell.task, *told))
        return "\n".join(text_table.aligned(lines, "llrrrrl"))


class Champions:
    """The models that are served, against which new ones are held one by one before they appear
    (`versions.Judge`).

    Args:
      serving: the serving directory.
      names: the models' names by scenario.
      rows_of: up to so many rows of a scenario with labels; None where there are none.
      force: whether to let pass what is worse by more than chance.
      say: is told the table and the notes.

    Raises:
      PfrecError: where a served version is damaged.
    """

    def __init__(
        self,
        serving: pathlib.Path,
        names: "Mapping[str, str]",
        rows_of: "Callable[[str, int], Optional[trained.LabelledRows]]",
        force: bool = False,
        say: "Callable[[str], None]" = lambda text: None,
    ) -> None:
        self._served = models_lib.served_versions(serving, names.values())
        self._names, self._rows_of = names, rows_of
        self._force, self._say = force, say
        self._cells: list[Cell] = []
        self._notes: list[str] = []

    def consider(self, scenario: str, challenger: trained.TrainedModel) -> None:
        """Holds a scenario's new model against the served one, on the same rows.

        Raises:
          PfrecError: where the served version is damaged.
        """
        directory = self._served.get(self._names[scenario])
        if directory is None:
            return  # the first export of it
        rows = self._rows_of(scenario, _ROWS)
        if rows is None:
            self._notes.append(
                f"{scenario}: no rows to compare with; name some with --champion_data"
            )
            return
        champion = models_lib.Version(directory)
        difference = _other_inputs(champion.served, challenger.served)
        if difference:
            self._notes.append(f"{scenario}: version {directory.name} {difference}; not compared")
            return
        self._cells += _cells(scenario, champion, challenger, rows)

    def comparison(self) -> Comparison:
        """All that was considered until now."""
        known = sum(cell.found is not None for cell in self._cells)
        return Comparison(
            tuple(
                dataclasses.replace(cell, low=low, high=high)
                for cell in self._cells
                for low, high in [cell.found.interval(known) if cell.found else (np.nan, np.nan)]
            ),
            tuple(self._notes),
        )

    def decide(self) -> None:
        """Says what was found, and refuses a challenger that is worse by more than chance.

        Raises:
          PfrecError: where it is, and is not forced.
        """
        found = self.comparison()
        for text in (found.table(), *(f"note: {note}" for note in found.notes)):
            if text:
                self._say(text)
        if found.worse and not self._force:
            raise errors.PfrecError(
                f"the new model ranks worse than what is served in {', '.join(found.worse)}, by "
                "more than chance; nothing was exported. Export another run, or this one with "
                "--force"
            )


def rows_of(
    data: "Union[str, os.PathLike[str]]",
) -> "Callable[[str, int], Optional[trained.LabelledRows]]":
    """The test rows of a directory that pfrec-convert wrote, for `Champions`.

    Raises:
      PfrecError: where there is no dataset, or it is damaged.
    """
    opened = dataset_lib.Dataset.open(pathlib.Path(data))

    def of(scenario: str, most: int) -> "Optional[trained.LabelledRows]":
        if scenario not in opened.scenarios:
            return None
        return trained.labelled(opened, scenario, most)

    return of


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
