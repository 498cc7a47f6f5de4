"""Runs an iterator, or a function of its items, in threads a little ahead of who reads it: one
parses, another encodes, and a third writes.
"""

import collections
import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent import futures
from typing import Any, Optional, TypeVar

T = TypeVar("T")
S = TypeVar("S")

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


def mapped(
    function: "Callable[[S], T]", items: "Iterator[S]", workers: int = 2
) -> Generator[T, None, None]:
    """Yields `function` of each item, in their order; `workers` threads compute some ahead.

    What `items` or the function raise is raised here, after the results before it.
    """
    pending: collections.deque[futures.Future[T]] = collections.deque()
    failed: Optional[BaseException] = None
    with futures.ThreadPoolExecutor(workers, "encoding") as pool:
        while True:
            try:
                pending.append(pool.submit(function, next(items)))
            except StopIteration:
                break
            except BaseException as error:
                failed = error
                break
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    if failed is not None:
        raise failed
