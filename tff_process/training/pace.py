"""How long rounds take, and how long the rest will take."""

import statistics
import time
from typing import Callable, Optional


class Pace:
    """Measures rounds as they end.

    In the first round of a process computations are traced, which may take longer than all rounds
    after it: it is no measure of them. Nor is one in which a silo or a worker was lost, which was
    waited for: hence the median of the others, of two the shorter one.

    Args:
      clock: seconds since some moment.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._last = clock()
        self._first: Optional[int] = None
        self._steady: list[float] = []

    def begin(self) -> None:
        """Called where the first round begins."""
        self._began = self._last = self._clock()

    def ended(self, number: int) -> float:
        """Called where round `number` is complete; returns the seconds that it took."""
        now = self._clock()
        seconds, self._last = now - self._last, now
        if self._first is None:
            self._first = number
        else:
            self._steady.append(seconds)
        return seconds

    def traced(self, number: int) -> bool:
        """Whether computations were traced in round `number`."""
        return number == self._first

    @property
    def elapsed(self) -> float:
        """Seconds since the first round began."""
        return self._last - self._began

    @property
    def typical(self) -> Optional[float]:
        """Seconds of a round; None where there was none yet but the traced one."""
        return statistics.median_low(self._steady) if self._steady else None


def duration(seconds: float) -> str:
    """Seconds in the unit that fits."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
