"""Which split a row goes to, where the schema says more than parts of all rows."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import splits
from pfrec.data.conversion.columns import as_text
from pfrec.data.reading import column_text, source, times

TIME, COLUMN, GROUP, FILES = "time", "column", "by", "files"
WORDS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("valid", "validation", "val", "dev"), 1),
    **dict.fromkeys(("test", "eval", "holdout"), 2),
}
_DAY = 86_400.0
# Beyond this many times every second one is left out: where a part of them ends hardly moves.
_MOST_TIMES = 4_000_000
_GROUP_BUCKETS = 2**63 - 1
_FORMS = "seconds since 1970, 20231114 or 2023-11-14T22:26:20Z"


@dataclasses.dataclass(frozen=True)
class Rule:
    """What the schema says.

    Attributes:
      kind: `TIME`, `COLUMN`, `GROUP` or `FILES`.
      column: that tells; empty for `FILES`.
      starts: the times from which rows are of valid and of test, in seconds.
      days: how many of the last days are of valid and of test.
    """

    kind: str
    column: str = ""
    starts: Optional[tuple[float, float]] = None
    days: Optional[tuple[int, int]] = None


class Splitter:
    """Places the rows of chunks by a rule."""

    def __init__(self, rule: Rule, seed: int, fractions: Sequence[float]) -> None:
        self._rule, self._seed, self._fractions = rule, seed, fractions
        self._starts = rule.starts
        self._times: list[np.ndarray] = []
        self._stride = 1
        self._other = ""  # A value that is no time, as messages show it.

    @property
    def open(self) -> bool:
        """Whether all times must be seen before a row can be placed."""
        return self._rule.kind == TIME and self._starts is None

    def see(self, chunk: source.RawChunk) -> None:
        """Takes in the times of a chunk."""
        values = chunk.columns[self._rule.column]
        found = times.seconds(values)
        good = np.isfinite(found)
        if not (self._other or good.all()):
            self._other = column_text.shown(values[int(np.argmin(good))])
        self._times.append(found[good][:: self._stride])
        if sum(map(len, self._times)) > _MOST_TIMES:
            self._times = [np.concatenate(self._times)[::2]]
            self._stride *= 2

    def close(self) -> None:
        """Sets where valid and test start, by the times seen."""
        seen = np.sort(np.concatenate(self._times)) if self._times else np.zeros(0)
        if not len(seen):
            found = f" (but {self._other})" if self._other else ""
            raise errors.PfrecError(
                f"[split]: column {self._rule.column!r} holds no time{found}; write times as "
                f"{_FORMS}, or name another column"
            )
        if self._rule.days is not None:
            valid_days, test_days = self._rule.days
            test = np.floor(seen[-1] / _DAY) * _DAY - (test_days - 1) * _DAY
            self._starts = (float(test - valid_days * _DAY), float(test))
        else:
            train, middle, _ = self._fractions
            places = (round(train * len(seen)), round((train + middle) * len(seen)))
            valid, test = (float(seen[min(place, len(seen) - 1)]) for place in places)
            if valid >= test:
                # Times as coarse as days: the one before is of valid.
                before = seen[seen < test]
                valid = float(before[-1]) if len(before) else test
            self._starts = (valid, test)
        self._times = []

    def state(self) -> Any:
        """A JSON value for `restore`."""
        return None if self._starts is None else list(self._starts)

    def restore(self, state: Any) -> None:
        """Goes on from what `state` returned."""
        self._starts = None if state is None else (float(state[0]), float(state[1]))

    def record(self) -> "Mapping[str, Any]":
        """What `dataset.json` says of the split."""
        told: dict[str, Any] = {"kind": self._rule.kind, "column": self._rule.column}
        if self._starts is not None:
            told.update(zip(("valid_from", "test_from"), map(times.shown, self._starts)))
        return told

    def place(self, chunk: source.RawChunk) -> source.RawChunk:
        """The chunk with the split of each row; rows that have none become faults."""
        if not len(chunk):
            return chunk
        kind, column = self._rule.kind, self._rule.column
        values = chunk.columns[column]
        if kind == TIME:
            assert self._starts is not None
            found = times.seconds(values)
            places = (found >= self._starts[0]).astype(np.int8) + (found >= self._starts[1])
            bad = np.isnan(found)
            reason, what = "time", f"is no time; write {_FORMS}"
        elif kind == COLUMN:
            encoded = column_text.of(values).dictionary_encode()
            known = [WORDS.get(w.strip().lower(), -1) for w in encoded.dictionary.to_pylist()]
            places = np.array(known, np.int8)[encoded.indices.to_numpy(zero_copy_only=False)]
            bad = places < 0
            reason, what = "split", "is not train, valid or test; mend the value"
        else:
            text = as_text.read(chunk, column)
            keys = column_text.hash_bucket(text, _GROUP_BUCKETS)
            places = splits.split_of(keys, self._seed, self._fractions)
            bad = np.zeros(len(chunk), bool)
            reason = what = ""
        chunk = dataclasses.replace(chunk, places=places.astype(np.int8))
        return chunk.without(
            bad, reason, column, lambda i: f"{column_text.shown(values[i])} {what}"
        )
