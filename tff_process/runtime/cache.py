"""What was traced and compiled for one run, kept for the next one that needs the same."""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Optional

from tff_process.runtime import clients


@dataclasses.dataclass
class ComputationCache:
    """Keeps the computations of the last run: a comparison goes through the seeds of one algorithm,
    or through algorithms that have nothing in common. Whoever wants them kept hands one in.
    """

    _key: Optional[Hashable] = None
    _compiled: Optional[clients.Compiled] = None

    def get(self, key: Hashable, make: "Callable[[], clients.Compiled]") -> clients.Compiled:
        """What was made for a key.

        Args:
          key: all that the graphs depend on, see `Federation.graph_key`.
          make: called where the last key was another one.
        """
        if self._compiled is None or self._key != key:
            self._key, self._compiled = key, make()
        return self._compiled
