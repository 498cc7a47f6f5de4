"""Tells a silo's owner, where its worker was started, of what nobody else can mend.

What a failed computation says may quote rows and stays in the silo's log; of that a few causes are
recognised, and told in words that hold none of it.
"""

import re
import time
from collections.abc import Callable

_AGAIN_SECONDS = 60.0
_REMEDIES = (
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        "no space is left on the silo's disk, and the training waits or stops: free some, then the "
        "driver goes on with --resume",
    ),
    (
        re.compile(r"\bdata/\S+; (Permission denied|No such file or directory)"),
        "data was changed since this worker started: end it, and start it again on the rows that "
        "the training is to read",
    ),
)


def telling(
    log: "Callable[[str], None]",
    tell: "Callable[[str], None]",
    clock: "Callable[[], float]" = time.monotonic,
) -> "Callable[[str], None]":
    """A log that also tells the owner what to do, where a line has a cause that is known.

    Args:
      log: takes every line.
      tell: takes what the owner is told, the same at most once a minute, as a driver repeats what
        failed.
      clock: the time in seconds.
    """
    told: dict[str, float] = {}

    def say(line: str) -> None:
        log(line)
        for cause, remedy in _REMEDIES:
            now = clock()
            if cause.search(line) and now >= told.get(remedy, now):
                told[remedy] = now + _AGAIN_SECONDS
                tell(f"WARNING: {remedy}")

    return say
