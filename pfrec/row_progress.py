"""How many rows a command has gone through, for whoever waits for it."""

import sys
import time
from typing import Optional

_SECONDS_BETWEEN_LINES = 10.0


class RowProgress:
    """Rows so far: a bar on a terminal, a line now and then where standard error is piped.

    Args:
      doing: what is done with them, as text.
    """

    def __init__(self, doing: str) -> None:
        self._doing = doing

    def __enter__(self) -> "RowProgress":
        import tqdm

        self._rows = 0
        self._next_line: Optional[float] = None
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm.tqdm(
            unit=" rows", unit_scale=True, desc=self._doing, disable=not self._terminal
        )
        return self

    def add(self, rows: int) -> None:
        """Counts some more."""
        self._rows += rows
        self._bar.update(rows)
        if self._next_line is None:
            # Counted from the first rows on: imports and opening the files take their time too.
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES
        if not self._terminal and time.monotonic() >= self._next_line:
            print(f"{self._doing}: {self._rows:,} rows", file=sys.stderr, flush=True)
            self._next_line = time.monotonic() + _SECONDS_BETWEEN_LINES

    def __exit__(self, *raised: object) -> None:
        self._bar.close()
