"""Counts, while rows are written, what a user should be warned of: raw numbers of a size that
spoils training, values that a vocabulary does not know, rows that stand in two splits.
"""

import collections
import zlib
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.conversion.columns import truth_words
from pfrec.data.dataset import row_block
from pfrec.data.reading import column_text

# A raw number beyond this, or whose mean is so many deviations from zero, drowns other features.
_LARGE, _FAR = 100.0, 10.0
# From this part of unknown values on, and so many of them, a vocabulary is doubted.
_UNKNOWN, _FEWEST = 0.2, 50
# Rows whose fingerprints are kept; of more rows, a sample by fingerprint.
_KEPT = 200_000


class Watch:
    """What was seen of a conversion's rows.

    Attributes:
      empty: of the values that have the unknown id of a vocabulary, how many are empty, by feature:
        who leaves a field open has no wrong vocabulary.
      rounded: rows whose id is a float that is not told from its neighbours, by feature.
    """

    def __init__(self, schema: schema_lib.Schema, state: Optional[Mapping[str, Any]]) -> None:
        """Starts, or goes on from what `state` returned."""
        self._schema = schema
        state = state or {}
        zeros = [0.0] * schema.number_columns
        self._count = int(state.get("count", 0))
        self._sum = np.array(state.get("sum", zeros))
        self._squares = np.array(state.get("squares", zeros))
        self._largest = np.array(state.get("largest", zeros))
        nothing = [0] * len(schema.categorical)
        self._values = np.array(state.get("values", nothing), np.int64)
        self._unknown = np.array(state.get("unknown", nothing), np.int64)
        self.empty: collections.Counter[str] = collections.Counter(state.get("empty", {}))
        self.rounded: collections.Counter[str] = collections.Counter(state.get("rounded", {}))
        self._shift = int(state.get("shift", 0))
        kept = state.get("prints", ["", "", ""])
        self._prints = [np.frombuffer(bytes.fromhex(text), np.uint64) for text in kept]

    def add(self, rows: row_block.Rows, places: np.ndarray, prints: np.ndarray) -> None:
        """Takes in rows of a scenario; `places` says the split of each, `prints` are their
        `fingerprints`.
        """
        numbers = rows.numerical.astype(np.float64)
        self._count += len(rows)
        self._sum += numbers.sum(axis=0)
        self._squares += (numbers**2).sum(axis=0)
        self._largest = np.maximum(self._largest, np.abs(numbers).max(axis=0, initial=0))
        for i, (feature, place) in enumerate(zip(self._schema.categorical, self._schema.id_places)):
            if feature.encoding == "vocabulary":
                ids = rows.categorical[:, place]
                self._values[i] += int((ids != schema_lib.NO_VALUE).sum())
                self._unknown[i] += int((ids == feature.cardinality).sum())
        for split in range(len(splits.SPLITS)):
            own = sampled(prints[places == split], self._shift)
            self._prints[split] = np.concatenate([self._prints[split], own])
        while sum(map(len, self._prints)) > _KEPT:
            self._shift += 1
            self._prints = [sampled(prints, self._shift) for prints in self._prints]

    def state(self) -> dict[str, Any]:
        """A JSON value to go on from."""
        return {
            "count": self._count,
            "sum": self._sum.tolist(),
            "squares": self._squares.tolist(),
            "largest": self._largest.tolist(),
            "values": self._values.tolist(),
            "unknown": self._unknown.tolist(),
            "empty": dict(self.empty),
            "rounded": dict(self.rounded),
            "shift": self._shift,
            "prints": [p.tobytes().hex() for p in self._prints],
        }

    def warnings(self) -> "list[str]":
        """A line for each feature that training should not read as it is."""
        found = []
        for column, place in zip(self._schema.numerical, self._schema.number_places):
            # The many numbers of a vector are alike, and the model normalises each.
            if column.normalise != "none" or not self._count or column.values > 1:
                continue
            i = place.start
            mean = self._sum[i] / self._count
            deviation = np.sqrt(max(self._squares[i] / self._count - mean**2, 0.0))
            if self._largest[i] > _LARGE or 0 < _FAR * deviation < abs(mean):
                found.append(
                    f"{column.raw!r} enters the model as raw numbers of large size or offset, "
                    'which spoils training; say normalise = "standard" in its [[numerical]], or '
                    "make it the time of [split] or a [[categorical]]"
                )
        for feature in self._schema.categorical:
            if rows := self.rounded[feature.name]:
                found.append(column_text.rounded_note(feature.raw, rows))
        for i, feature in enumerate(self._schema.categorical):
            empty = self.empty[feature.name]
            unknown, values = int(self._unknown[i]) - empty, int(self._values[i]) - empty
            if unknown >= max(_FEWEST, _UNKNOWN * values):
                found.append(
                    f"{feature.raw!r}: {unknown / values:.0%} of its values are not in its "
                    "vocabulary; check the vocabulary, and the separator of a list"
                    + _truths(feature)
                )
        return found

    @property
    def sample(self) -> "tuple[np.ndarray, int]":
        """Fingerprints of rows of all splits, and the `shift` that they were `sampled` by."""
        return np.concatenate(self._prints), self._shift

    def leakage(self) -> dict[str, Any]:
        """How many valid and test rows also stand in train, equal in every feature and label.

        `sampled` is the part of rows that was looked at.
        """
        train = np.unique(self._prints[0])
        return {
            "sampled": 2.0**-self._shift,
            **{
                name: {
                    "rows": len(self._prints[place]),
                    "also_in_train": int(np.isin(self._prints[place], train).sum()),
                }
                for place, name in enumerate(splits.SPLITS)
                if place
            },
        }


def _truths(feature: schema_lib.Categorical) -> str:
    """A reminder, where a vocabulary holds truth values, that they have a spelling."""
    known = truth_words.known(feature)
    return f"; of truth values it holds {', '.join(known)}, spelled so" if known else ""


def sampled(prints: np.ndarray, shift: int) -> np.ndarray:
    """One in 2**shift of the fingerprints: equal rows are all taken or all left."""
    return prints[prints >> np.uint64(64 - shift) == 0] if shift else prints


def fingerprints(scenario: str, rows: row_block.Rows) -> np.ndarray:
    """uint64 [rows], equal for equal rows of a scenario."""
    found = np.full(len(rows), zlib.crc32(scenario.encode()), np.uint64)
    columns = [*rows.categorical.T, *np.ascontiguousarray(rows.numerical).view(np.int32).T]
    columns += [*rows.labels.T, *([] if rows.group is None else [rows.group])]
    if rows.weight is not None:
        columns.append(np.ascontiguousarray(rows.weight).view(np.int32))
    for column in columns:
        found = splits.splitmix64(found ^ column.astype(np.int64).view(np.uint64))
    return found
