"""What a client learns of its own training rows for preprocessing: vocabularies and the scale of
numbers. It never leaves the client.

A feature with `encoding = "local_vocabulary"` gets the values that occur at least `min_count`
times, commonest first and equally common ones in order of text, up to the cardinality. A column
with `normalise` gets its shift and scale. Both from good training rows alone.
"""

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data.conversion import encoding
from pfrec.data.conversion.columns import as_numbers, as_text
from pfrec.data.reading import source

# Sums are taken over windows of this many rows, so that their rounding does not depend on how rows
# came in chunks.
_WINDOW_ROWS = 1 << 16


class Vocabulary:
    """Counts texts."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, texts: Any) -> None:
        """Counts an Arrow string array; empty text does not count."""
        counted = texts.value_counts()
        self._counts.update(dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist())))

    def words(self, cardinality: int, min_count: int, known: Sequence[str] = ()) -> tuple[str, ...]:
        """The values that have a place, in the order of their ids; those that are `known` stay
        before all others.
        """
        self._counts.pop("", None)
        before = set(known)
        common = [
            (-count, word)
            for word, count in self._counts.items()
            if count >= min_count and word not in before
        ]
        places = max(cardinality - len(known), 0)
        return (*known, *(word for _, word in sorted(common)[:places]))


class _Moments:
    """Mean, deviation and range of a column, from finite values."""

    def __init__(self) -> None:
        self._pending: list[np.ndarray] = []
        self._pending_rows = 0
        self._count = 0
        self._mean = self._squares = 0.0
        self._smallest, self._largest = np.inf, -np.inf

    def add(self, values: np.ndarray) -> None:
        """Takes in float64 [rows]."""
        values = values[np.isfinite(values)]
        self._pending.append(values)
        self._pending_rows += len(values)
        if self._pending_rows >= _WINDOW_ROWS:
            joined = np.concatenate(self._pending)
            whole = len(joined) - len(joined) % _WINDOW_ROWS
            for start in range(0, whole, _WINDOW_ROWS):
                self._merge(joined[start : start + _WINDOW_ROWS])
            self._pending = [joined[whole:].copy()]
            self._pending_rows = len(joined) - whole

    def column(self, known: schema_lib.Numerical) -> schema_lib.Numerical:
        """The column with its statistics; of a constant or empty one the scale is 1."""
        if self._pending_rows:
            self._merge(np.concatenate(self._pending))
            self._pending, self._pending_rows = [], 0
        if known.normalise == "standard":
            shift, scale = self._mean, float(np.sqrt(self._squares / max(self._count, 1)))
        else:
            shift, scale = float(self._smallest), float(self._largest - self._smallest)
        if not self._count:
            shift = 0.0
        if not (np.isfinite(scale) and scale > 0):
            scale = 1.0
        return dataclasses.replace(known, default=self._mean, shift=shift, scale=scale)

    def _merge(self, values: np.ndarray) -> None:
        # Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        # variances", 1979.
        count, mean = len(values), float(values.mean())
        delta, total = mean - self._mean, self._count + count
        self._squares += (
            float(((values - mean) ** 2).sum()) + delta**2 * self._count * count / total
        )
        self._mean += delta * count / total
        self._count = total
        self._smallest, self._largest = (
            min(self._smallest, values.min()),
            max(self._largest, values.max()),
        )


def open_schema(schema: schema_lib.Schema) -> schema_lib.Schema:
    """The schema with local features read as any text or number:
    what tells good rows before the statistics are known.
    """
    categorical = [
        dataclasses.replace(f, encoding="hash", cardinality=1)
        if f.encoding == "local_vocabulary"
        else f
        for f in schema.categorical
    ]
    numerical = [
        column
        if column.normalise == "none"
        else schema_lib.Numerical(column.name, column=column.column)
        for column in schema.numerical
    ]
    return dataclasses.replace(schema, categorical=tuple(categorical), numerical=tuple(numerical))


def client_schemas(
    schema: schema_lib.Schema,
    training: "Iterable[tuple[str, source.RawChunk]]",
    missing_numerical: str,
    start: "Optional[Mapping[str, schema_lib.Schema]]" = None,
    grow: bool = True,
    beyond: str = "bad",
) -> "dict[str, schema_lib.Schema]":
    """Per scenario, the schema with the client's own vocabularies and statistics filled in.

    Args:
      schema: the agreed one.
      training: scenario and raw training rows; bad rows among them are left out.
      missing_numerical: see `encoding.encode`.
      start: what clients knew before, by scenario: their words keep their places, and their numbers
        their statistics.
      grow: whether such clients learn new words.
      beyond: see `encoding.encode_good`.
    """
    start = start or {}
    opened = open_schema(schema)
    raw = {column.name: column.raw for column in schema.numerical}
    local = [f for f in schema.categorical if f.encoding == "local_vocabulary" and not f.table]
    scaled = [column for column in schema.numerical if column.normalise != "none"]
    vocabularies: dict[str, dict[str, Vocabulary]] = {}
    moments: dict[str, dict[str, _Moments]] = {}
    for scenario, chunk in training:
        words = vocabularies.setdefault(scenario, {f.name: Vocabulary() for f in local})
        sums = moments.setdefault(scenario, {column.name: _Moments() for column in scaled})
        good = encoding.encode_good(
            chunk, opened, missing_numerical=missing_numerical, beyond=beyond
        ).good
        part = chunk if good.all() else chunk.take(np.flatnonzero(good))
        for feature in local:
            words[feature.name].add(as_text.all_values(part, feature))
        for name, moment in sums.items():
            moment.add(as_numbers.read(part, raw[name]))
    nothing = Vocabulary()

    def feature_of(scenario: str, f: schema_lib.Categorical) -> schema_lib.Categorical:
        if f.encoding != "local_vocabulary":
            return f
        counted = vocabularies.get(scenario, {}).get(f.owner, nothing)
        known: tuple[str, ...] = ()
        if scenario in start:
            known = _called(start[scenario].categorical, f.name).vocabulary
            if not grow:
                counted = nothing
        return dataclasses.replace(
            f, encoding="vocabulary", vocabulary=counted.words(f.cardinality, f.min_count, known)
        )

    def column_of(scenario: str, c: schema_lib.Numerical) -> schema_lib.Numerical:
        if c.normalise == "none":
            return c
        if scenario in start:
            return _called(start[scenario].numerical, c.name)
        return moments[scenario][c.name].column(c)

    return {
        scenario: dataclasses.replace(
            schema,
            categorical=tuple(feature_of(scenario, f) for f in schema.categorical),
            numerical=tuple(column_of(scenario, c) for c in schema.numerical),
        )
        for scenario in dict.fromkeys([*start, *vocabularies])
    }


def _called(entries: Sequence[Any], name: str) -> Any:
    return next(entry for entry in entries if entry.name == name)
