"""Collects the bad rows of a chunk while its columns are read."""

from collections.abc import Callable

import numpy as np

from pfrec.data.reading import bad_rows, source


class Checks:
    """Collects the bad rows of a chunk, each once."""

    def __init__(self, chunk: source.RawChunk) -> None:
        self._chunk = chunk
        self.bad = np.zeros(len(chunk), bool)
        self.faults: list[bad_rows.Faults] = []

    def require(
        self, good: np.ndarray, column: str, reason: str, describe: Callable[[int], str]
    ) -> None:
        """Marks the rows that are not `good`; `describe` takes a position in the chunk."""
        if good.all():
            return
        positions = np.flatnonzero(~good & ~self.bad)
        self.bad |= ~good
        if len(positions):
            self.faults.append(
                bad_rows.Faults(
                    reason,
                    column,
                    self._chunk.rows[positions],
                    lambda i: describe(int(positions[i])),
                    self._chunk.origin,
                )
            )


class ElementChecks:
    """The checks of a chunk, for the values of its lists: a row is bad where one of its values is,
    and its first bad one is told.
    """

    def __init__(self, checks: Checks, rows: np.ndarray, count: int) -> None:
        self._checks, self._rows, self._count = checks, rows, count

    def require(
        self, good: np.ndarray, column: str, reason: str, describe: Callable[[int], str]
    ) -> None:
        """See `Checks`, by the values of all rows one after the other."""
        bad = np.flatnonzero(~good)
        rows, first = np.unique(self._rows[bad], return_index=True)
        fine = np.ones(self._count, bool)
        fine[rows] = False
        told = dict(zip(rows.tolist(), bad[first].tolist()))
        self._checks.require(fine, column, reason, lambda i: describe(told[i]))
