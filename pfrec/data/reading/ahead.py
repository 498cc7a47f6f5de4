"""Runs an iterator in a thread, a little ahead of who reads it:
one parses while the other encodes and writes.
"""

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

T = TypeVar("T")

ITEMS_AHEAD = 2
_SECONDS_BETWEEN_LOOKS = 0.1


def ahead(items: Iterator[T]) -> Iterator[T]:
    """Yields `items` in order. What they raise is raised here, after the items before it.

    The thread ends when the last item is read, or soon after the reader stops reading.
    """
    made: queue.Queue[tuple[str, Any]] = queue.Queue(ITEMS_AHEAD)
    stopped = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stopped.is_set():
            try:
                made.put((kind, value), timeout=_SECONDS_BETWEEN_LOOKS)
                return True
            except queue.Full:
                continue
        return False

    def run() -> None:
        try:
            for item in items:
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=run, name="reading ahead", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = made.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stopped.set()
        thread.join()
