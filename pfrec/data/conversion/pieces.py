"""One chunk of raw rows, encoded scenario by scenario."""

import collections
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.conversion import appending, encoding, watch
from pfrec.data.conversion import options as options_lib
from pfrec.data.dataset import row_block
from pfrec.data.reading import bad_rows, source


@dataclasses.dataclass(frozen=True)
class Part:
    """Encoded rows of a scenario.

    Attributes:
      scenario: its name.
      split: of all rows, where the source names it.
      rows: the rows.
      places: the split of each, int8 [rows].
      schema: that they were encoded by.
      prints: `watch.fingerprints`, where rows are watched.
    """

    scenario: str
    split: Optional[str]
    rows: row_block.Rows
    places: np.ndarray
    schema: schema_lib.Schema
    prints: Optional[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Piece:
    """What became of a chunk.

    Attributes:
      rows: how many it had.
      resume: where to go on after it, where one can.
      faults: its bad rows.
      imputed: how many values were imputed, by numerical column.
      empty: how many unknown values are empty ones, by vocabulary feature.
      rounded: in how many rows an id is a float that is not told from its neighbours, by feature.
      contrary: in how many rows a conditional task is 1 against its condition, by task.
      parts: its good rows.
    """

    rows: int
    resume: Optional[Any]
    faults: "tuple[bad_rows.Faults, ...]"
    imputed: "collections.Counter[str]"
    empty: "collections.Counter[str]"
    rounded: "collections.Counter[str]"
    contrary: "collections.Counter[str]"
    parts: "tuple[Part, ...]"


@dataclasses.dataclass(frozen=True)
class Encoder:
    """Encodes chunks, each by itself alone, so that threads may do it in any order.

    Attributes:
      raw: what is converted.
      clients: the schema of each client, where its preprocessing is its own.
      options: how rows are treated.
      before: the dataset whose further rows these are.
    """

    raw: source.Source
    clients: Mapping[str, schema_lib.Schema]
    options: options_lib.Options
    before: Optional[appending.Before]

    def __call__(self, chunk: source.Chunk) -> Piece:
        """Encodes a chunk.

        Raises:
          PfrecError: where a column is missing or of a type that cannot hold what the schema wants.
        """
        scenario, split, rows = chunk
        imputed: collections.Counter[str] = collections.Counter()
        empty: collections.Counter[str] = collections.Counter()
        rounded: collections.Counter[str] = collections.Counter()
        contrary: collections.Counter[str] = collections.Counter()
        if not len(rows):
            return Piece(0, rows.resume, rows.faults, imputed, empty, rounded, contrary, ())
        if scenario is None and (self.clients or self.before is not None):
            parts: list[tuple[Optional[str], source.RawChunk]] = list(by_scenario(rows))
        else:
            parts = [(scenario, rows)]
        faults, done = list(rows.faults), []
        for name, part in parts:
            schema = self.raw.schema if name is None else self.clients.get(name, self.raw.schema)
            encoded = encoding.encode_good(
                part,
                schema,
                missing_numerical=self.options.missing_numerical,
                beyond="bad" if self.before is None else "unknown",
            )
            faults += encoded.faults
            imputed.update(encoded.imputed)
            empty.update(encoded.empty)
            rounded.update(encoded.rounded)
            contrary.update(encoded.contrary)
            places = self._places(split, part, encoded.good)
            for found, index in [(name, None)] if name is not None else _codes(part, encoded.good):
                assert found is not None
                own = encoded.rows if index is None else encoded.rows.take(index)
                where = places if index is None else places[index]
                prints = watch.fingerprints(found, own) if self.raw.survey else None
                done.append(Part(found, split, own, where, schema, prints))
        counts = (imputed, empty, rounded, contrary)
        return Piece(len(rows), rows.resume, tuple(faults), *counts, tuple(done))

    def _places(self, split: Optional[str], part: source.RawChunk, good: np.ndarray) -> np.ndarray:
        """The split of each good row, int8 [good rows]."""
        if split is not None:
            return np.full(int(good.sum()), splits.SPLITS.index(split), np.int8)
        if part.places is not None:
            return part.places[good]
        numbers = part.rows if good.all() else part.rows[good]
        return splits.split_of(numbers, self.options.split_seed, self.raw.fractions)


def by_scenario(chunk: source.RawChunk) -> "Iterator[tuple[str, source.RawChunk]]":
    """The rows of each scenario in a chunk, in their order."""
    for name, index in _codes(chunk, np.ones(len(chunk), bool)):
        yield name, chunk if index is None else chunk.take(index)


def _codes(
    chunk: source.RawChunk, good: np.ndarray
) -> "Iterator[tuple[str, Optional[np.ndarray]]]":
    """Per scenario of a chunk, the positions of its rows among the good ones."""
    assert chunk.scenario is not None
    encoded = chunk.scenario.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)[good]
    for code, name in enumerate(encoded.dictionary.to_pylist()):
        index = np.flatnonzero(codes == code)
        if len(index):
            yield name, None if len(index) == len(codes) else index
