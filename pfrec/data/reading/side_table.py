"""A table to join rows with, by key: its values on disk,
its keys alone in memory (16 bytes a row and more for long keys).

Values are read through a memory map whose pages are given back after each look-up, so that resident
memory does not grow with the table; where both sides come in the same order, as they mostly do,
what is read lies together.
"""

import mmap
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import files


class SideTable:
    """Numbers and texts by key. Texts are kept as places in a list of distinct ones.

    Attributes:
      names: its columns.
      rows: how many rows it has, after `freeze`.
      repeated: positions (in the order added) of rows whose key an earlier row has; they are never
        found. int64 [repeated].
    """

    def __init__(self, path: pathlib.Path, numbers: Sequence[str], texts: Sequence[str]) -> None:
        """Starts an empty table.

        Args:
          path: file for the values; replaced.
          numbers: columns kept as float32.
          texts: columns kept as text; few distinct values are assumed.
        """
        self._path = path
        self._dtype = np.dtype(
            [(name, "<f4") for name in numbers] + [(name, "<i4") for name in texts]
        )
        self._numbers, self._texts = tuple(numbers), tuple(texts)
        self.names = (*self._numbers, *self._texts)
        self._words: dict[str, dict[Optional[str], int]] = {name: {None: 0} for name in texts}
        self._key_parts: list[np.ndarray] = []
        self._stream = path.open("wb")
        self.rows = 0
        self.repeated = np.zeros(0, np.int64)

    def add(self, keys: np.ndarray, columns: Mapping[str, Any]) -> None:
        """Appends rows.

        Args:
          keys: int64 or fixed-length bytes [rows].
          columns: float64 [rows] for numbers, Arrow string arrays [rows] for texts.
        """
        values = np.empty(len(keys), self._dtype)
        for name in self._numbers:
            with np.errstate(over="ignore"):
                values[name] = columns[name].astype(np.float32)
        for name in self._texts:
            encoded = columns[name].dictionary_encode()
            words = self._words[name]
            places = np.array(
                [words.setdefault(word, len(words)) for word in encoded.dictionary.to_pylist()],
                np.int32,
            )
            codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            values[name] = np.where(codes >= 0, places[codes], 0) if len(places) else 0
        with files.readable_errors(self._path):
            self._stream.write(values.tobytes())
        self._key_parts.append(np.asarray(keys))

    def freeze(self) -> None:
        """Ends adding and prepares look-ups."""
        import pyarrow as pa

        self._stream.close()
        keys = np.concatenate(self._key_parts) if self._key_parts else np.zeros(0, np.int64)
        self._key_parts = []
        self.rows = len(keys)
        self._order = np.argsort(keys, kind="stable")  # the first of equal keys is found
        self._keys = keys[self._order]
        same = np.flatnonzero(self._keys[1:] == self._keys[:-1]) + 1
        self.repeated = np.sort(self._order[same])
        self._map: Optional[mmap.mmap] = None
        if self.rows:
            with self._path.open("rb") as stream:
                self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self._lists = {
            name: pa.array(list(words), pa.string()) for name, words in self._words.items()
        }

    def find(self, keys: np.ndarray) -> np.ndarray:
        """The position of each key's row, int64 [keys]; -1 where there is none."""
        if not self.rows:
            return np.full(len(keys), -1, np.int64)
        places = np.minimum(np.searchsorted(self._keys, keys), self.rows - 1)
        return np.where(self._keys[places] == keys, self._order[places], -1)

    def columns(self, positions: np.ndarray) -> dict[str, Any]:
        """All columns of the rows at `positions`: float32 [rows] for numbers,
        Arrow string arrays [rows] for texts.
        """
        import pyarrow as pa

        if self._map is None:
            values = np.zeros(0, self._dtype)
        else:
            # Rows of one key follow each other: each is fetched once.
            distinct, inverse = np.unique(positions, return_inverse=True)
            values = np.frombuffer(self._map, self._dtype)[distinct][inverse]
            self._map.madvise(mmap.MADV_DONTNEED)
        found: dict[str, Any] = {name: np.ascontiguousarray(values[name]) for name in self._numbers}
        found.update((name, self._lists[name].take(pa.array(values[name]))) for name in self._texts)
        return found

    def distinct(self, name: str) -> list[str]:
        """The distinct texts of a column, in the order of their first row."""
        return [word for word in self._words[name] if word is not None]
