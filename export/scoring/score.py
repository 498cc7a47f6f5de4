"""Scores the rows of files with the models of their scenarios, in bounded memory on all cores."""

import collections
import contextlib
import dataclasses
import os
import pathlib
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any

import numpy as np

from export.graph import requests
from export.scoring import models as models_lib
from export.scoring import quarantine, raw_rows, table
from pfrec import errors
from pfrec.data.reading import ahead, bad_rows, folder, source

REFUSE, MEAN = "refuse", "mean"
UNKNOWN_SCENARIO = (REFUSE, MEAN)
BATCH_ROWS = 4096


@dataclasses.dataclass
class Totals:
    """What was scored.

    Attributes:
      rows: by scenario.
      sums: by scenario and column, the sum of its probabilities.
      bad: rows left out, by reason.
      examples: the first few of each reason, with `file`, `line`, `row`, `column`, `reason` and
        `message`.
      strange: by feature, truth values that are spelled as no value of the model, see
        `raw_rows.strange`.
      rounded: by feature, rows with an id that is `raw_rows.rounded`.
    """

    rows: "collections.Counter[str]" = dataclasses.field(default_factory=collections.Counter)
    sums: "dict[str, collections.Counter[str]]" = dataclasses.field(default_factory=dict)
    bad: "dict[str, int]" = dataclasses.field(default_factory=dict)
    examples: "list[dict[str, Any]]" = dataclasses.field(default_factory=list)
    strange: "dict[str, set[str]]" = dataclasses.field(default_factory=dict)
    rounded: "collections.Counter[str]" = dataclasses.field(default_factory=collections.Counter)


def score(
    models: models_lib.Models,
    wanted: raw_rows.Wanted,
    inputs: Sequence[folder.Input],
    output: pathlib.Path,
    *,
    unknown_scenario: str = REFUSE,
    on_bad_row: str = "stop",
    progress: Callable[[int], None] = lambda rows: None,
) -> Totals:
    """Scores rows and writes a CSV or Parquet file of them, in the order read.

    Columns: those carried along, `scenario`, and the probabilities of `table.probabilities`.

    Args:
      models: of the scenarios.
      wanted: what is read of a row.
      inputs: the files.
      output: the file to write; must not exist.
      unknown_scenario: `refuse` a row of a scenario without a model, or take the `mean` of what all
        models say of it.
      on_bad_row: `stop` at the first row that cannot be read, `skip` such rows, or put them in
        `quarantine`, a file beside the output (`quarantine.place`).
      progress: is told how many rows were scored, some at a time.

    Raises:
      PfrecError: where a file or a row cannot be read, a scenario is unknown, or an earlier
        `quarantine` would stand beside the output of `stop` or `skip`; no file is left.
    """
    table.require_new(output)
    raw_rows.require_columns(inputs, wanted)
    loaded = _Loaded(models, unknown_scenario)
    totals = Totals()
    workers = os.cpu_count() or 1
    pending: collections.deque[futures.Future[_Scored]] = collections.deque()
    with contextlib.ExitStack() as stack:
        add = stack.enter_context(table.writing(output))
        bad = bad_rows.BadRows(
            on_bad_row, stack.enter_context(quarantine.writing(output, on_bad_row))
        )
        pool = stack.enter_context(futures.ThreadPoolExecutor(workers))

        def finish() -> None:
            done = pending.popleft().result()
            bad.add(done.faults)
            add(done.table)
            for scenario, (count, sums) in done.totals.items():
                totals.rows[scenario] += count
                totals.sums.setdefault(scenario, collections.Counter()).update(sums)
            for feature, words in done.strange.items():
                totals.strange.setdefault(feature, set()).update(words)
            totals.rounded.update(done.rounded)
            progress(done.table.num_rows)

        try:
            for chunk in ahead.ahead(raw_rows.chunks(inputs, wanted)):
                pending.append(pool.submit(_score, loaded, wanted, chunk))
                while len(pending) > workers:
                    finish()
            while pending:
                finish()
        finally:
            for waiting in pending:
                waiting.cancel()
    totals.bad, totals.examples = dict(bad.counts), bad.examples
    return totals


class _Loaded:
    """Models that are loaded when a row first needs them; threads may share it."""

    def __init__(self, models: models_lib.Models, unknown_scenario: str) -> None:
        self.schema = models.schema
        self._models, self._unknown = models, unknown_scenario
        self._lock = threading.Lock()
        self._made: dict[str, models_lib.Predict] = {}

    def predict(
        self, scenario: str, request: requests.Request, place: Callable[[], str]
    ) -> "dict[str, np.ndarray]":
        """Probabilities by task; `place` says where the first of the rows was read."""
        if scenario in self._models.scenarios:
            return self._get(scenario)(request)
        if self._unknown == REFUSE:
            raise errors.PfrecError(
                f"{place()}: no model of scenario {scenario!r}; there are models of "
                f"{', '.join(self._models.scenarios)}; mend the row, or pass "
                "--unknown_scenario=mean to take the mean of what all models say"
            )
        return models_lib.mean([self._get(name)(request) for name in self._models.scenarios])

    def _get(self, scenario: str) -> models_lib.Predict:
        with self._lock:
            if scenario not in self._made:
                self._made[scenario] = self._models.load(scenario)
            return self._made[scenario]


@dataclasses.dataclass(frozen=True)
class _Scored:
    """What became of a chunk."""

    table: Any
    faults: "tuple[bad_rows.Faults, ...]"
    totals: "dict[str, tuple[int, dict[str, float]]]"
    strange: "dict[str, tuple[str, ...]]"
    rounded: "dict[str, int]"


def _score(loaded: _Loaded, wanted: raw_rows.Wanted, chunk: source.RawChunk) -> _Scored:
    import pyarrow as pa

    chunk = raw_rows.good(chunk, wanted)
    request = raw_rows.request(chunk, wanted)
    names: Any = chunk.scenario
    encoded = names.dictionary_encode()
    places = encoded.indices.to_numpy(zero_copy_only=False)
    # NaN remains where a scenario does not serve a task; the file holds nothing there.
    predicted = {task.name: np.full(len(chunk), np.nan, np.float32) for task in loaded.schema.tasks}
    lacking = np.zeros(len(chunk), bool)
    counted: dict[str, np.ndarray] = {}
    for number, scenario in enumerate(encoded.dictionary.to_pylist()):
        rows = counted[scenario] = np.flatnonzero(places == number)
        for start in range(0, len(rows), BATCH_ROWS):
            part: Any = rows[start : start + BATCH_ROWS]
            if len(rows) == len(chunk):
                part = slice(start, start + BATCH_ROWS)  # of one scenario: nothing is copied

            def place(first: int = int(rows[start])) -> str:
                return chunk.origin(int(chunk.rows[first])).place(wanted.scenario_column)

            own = requests.take(request, part)
            said = loaded.predict(scenario, own, place)
            lacking[part] = len(said) < len(predicted)
            for task, values in said.items():
                predicted[task][part] = values
    found = table.probabilities(loaded.schema, predicted)
    columns = {name: chunk.columns[name] for name in wanted.carried}
    columns["scenario"] = names
    empty = {name: lacking & np.isnan(values) for name, values in found.items()}
    columns.update({name: pa.array(found[name], mask=empty[name]) for name in found})
    totals = {
        scenario: (
            len(rows),
            {
                name: float(np.sum(values[rows], dtype=np.float64))
                for name, values in found.items()
                if not empty[name][rows].any()
            },
        )
        for scenario, rows in counted.items()
    }
    told = raw_rows.strange(chunk, wanted), raw_rows.rounded(chunk, wanted)
    return _Scored(pa.table(columns), chunk.faults, totals, *told)
