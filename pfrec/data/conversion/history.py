"""Lists of what came before, made from the log itself: of each row, the last values of a column in
earlier rows of the same user and scenario.

Only rows of a strictly earlier time count, so that a row never sees itself nor what came after it,
whatever the order of the files; rows of other scenarios never do. In memory are 20 bytes a row and
the distinct values.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data.conversion.columns import as_labels, as_text
from pfrec.data.reading import column_text, source, times

_USERS = 2**63 - 1  # buckets


@dataclasses.dataclass(frozen=True)
class Rule:
    """How a column of lists is made.

    Attributes:
      column: the column that is made.
      items: the column whose values are listed.
      user: the column that tells whose rows belong together.
      time: the column that tells what was earlier.
      where: the task whose label must be 1 for a row to be listed; empty for all rows.
      values: how many values are listed: the last ones.
    """

    column: str
    items: str
    user: str
    time: str
    where: str = ""
    values: int = 1


class History:
    """The rows of a log by user and time.

    Args:
      rule: what to make of them.
      tasks: of the schema.
    """

    def __init__(self, rule: Rule, tasks: Sequence[schema_lib.Task]) -> None:
        self._rule = rule
        self._task = next((task for task in tasks if task.name == rule.where), None)
        self._places: dict[str, int] = {}
        self._seen: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def columns(self) -> "list[str]":
        """What is read of a row."""
        where = [] if self._task is None else [self._task.column]
        return [self._rule.items, self._rule.user, self._rule.time, *where]

    def see(self, chunk: source.RawChunk, scenario: Optional[str]) -> None:
        """Takes in rows; `scenario` is None where the chunk names each row's."""
        rule = self._rule
        users, when = self._keys(chunk, scenario)
        wanted = np.isfinite(when)
        if self._task is not None:
            wanted &= as_labels.codes(chunk.columns[self._task.column], self._task) == 1
        encoded = as_text.read(chunk, rule.items).dictionary_encode()
        words = encoded.dictionary.to_pylist()
        codes = np.array([self._places.setdefault(w, len(self._places)) for w in words], np.int32)
        items = codes[encoded.indices.to_numpy(zero_copy_only=False)] if words else codes
        if words and "" in self._places:
            wanted &= items != self._places[""]
        self._seen.append((users[wanted], when[wanted], items[wanted]))

    def close(self) -> None:
        """Makes ready for `attached`, when all rows were seen."""
        import pyarrow as pa

        parts = list(zip(*self._seen)) or [(np.zeros(0, np.int64),)] * 3
        users, when, items = (np.concatenate(part) for part in parts)
        self._seen = []
        order = np.lexsort((when, users))
        self._users, self._starts = np.unique(users[order], return_index=True)
        self._times = np.unique(when)
        self._keys_in_order = self._key(users[order], when[order])
        self._items = items[order].astype(np.int64)
        self._words = pa.array(list(self._places), pa.string())

    def attached(self, chunk: source.RawChunk, scenario: Optional[str]) -> source.RawChunk:
        """The chunk with the column of lists, oldest value first."""
        import pyarrow as pa

        if not len(chunk):
            return chunk
        users, when = self._keys(chunk, scenario)
        place = np.searchsorted(self._users, users)
        known = place < len(self._users)
        known[known] = self._users[place[known]] == users[known]
        known &= np.isfinite(when)
        end = np.zeros(len(chunk), np.int64)
        end[known] = np.searchsorted(self._keys_in_order, self._key(users[known], when[known]))
        begin = np.zeros(len(chunk), np.int64)
        begin[known] = np.maximum(self._starts[place[known]], end[known] - self._rule.values)
        sizes = end - begin
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1] - begin, sizes)
        listed = pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), self._words.take(pa.array(self._items[inside]))
        )
        columns = {**chunk.columns, self._rule.column: listed}
        return dataclasses.replace(chunk, columns=columns)

    def _keys(
        self, chunk: source.RawChunk, scenario: Optional[str]
    ) -> "tuple[np.ndarray, np.ndarray]":
        """Hashes of scenario and user, int64 [rows], and times in seconds, float64 [rows]."""
        from pyarrow import compute

        where: Any = chunk.scenario if scenario is None else scenario
        users = as_text.read(chunk, self._rule.user)
        text = compute.binary_join_element_wise(where, users, "\0")
        found = times.seconds(chunk.columns[self._rule.time]).astype(np.float64)
        # Without a user there is no history.
        empty = compute.equal(users, "").to_numpy(zero_copy_only=False)
        return column_text.hash_bucket(text, _USERS), np.where(empty, np.nan, found)

    def _key(self, users: np.ndarray, when: np.ndarray) -> np.ndarray:
        """Integers in the order of (user, time); of a time between others that of the later one."""
        ranks = np.searchsorted(self._times, when)
        return np.searchsorted(self._users, users) * (len(self._times) + 1) + ranks
