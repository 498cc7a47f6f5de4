"""Logs that programs of others write to: their owner's alone, since a message may quote a row, and
of bounded size.
"""

import os
import pathlib
from typing import BinaryIO

MOST_BYTES, KEPT_BYTES = 4_000_000, 200_000


def open_to_append(path: pathlib.Path) -> BinaryIO:
    """A log whose end a program may be handed."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")


def shorten(path: pathlib.Path) -> None:
    """Cuts a log that grew too long down to its end; who has it open to append goes on after it."""
    if not path.exists() or path.stat().st_size <= MOST_BYTES:
        return
    with path.open("rb") as stream:
        stream.seek(-KEPT_BYTES, os.SEEK_END)
        end = stream.read().split(b"\n", 1)[-1]
    with path.open("r+b") as stream:
        stream.truncate()
    with open_to_append(path) as stream:
        stream.write(end)
