import threading
import time

import pytest

from pfrec.data.reading import ahead


def _threads():
    return [thread for thread in threading.enumerate() if thread.name == "reading ahead"]


def test_items_come_in_order_and_the_thread_ends():
    assert list(ahead.ahead(iter(range(1000)))) == list(range(1000))
    assert not _threads()


def test_an_error_comes_after_the_items_before_it():
    def items():
        yield 1
        yield 2
        raise ValueError("three")

    seen = []
    with pytest.raises(ValueError, match="three"):
        seen.extend(item for item in _collecting(items(), seen))
    assert seen == [1, 2]
    assert not _threads()


def _collecting(items, seen):
    for item in ahead.ahead(items):
        seen.append(item)
    return []


def test_a_reader_that_stops_ends_the_thread_and_little_is_read_ahead():
    read = []

    def items():
        for i in range(10**9):
            read.append(i)
            yield i

    chunks = ahead.ahead(items())
    assert next(chunks) == 0
    deadline = time.monotonic() + 10
    while len(read) < ahead.ITEMS_AHEAD + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(read) == ahead.ITEMS_AHEAD + 2  # the one given, those waiting, and one in hand
    chunks.close()
    assert not _threads()


def test_reading_really_runs_beside_the_reader():
    # Each side waits for the other: in one thread this would never end.
    given, taken = threading.Event(), threading.Event()

    def items():
        yield 1
        given.set()
        assert taken.wait(20)
        yield 2

    chunks = ahead.ahead(items())
    assert next(chunks) == 1
    assert given.wait(20)
    taken.set()
    assert list(chunks) == [2]


def test_mapped_keeps_the_order_whatever_takes_how_long():
    def slow(number):
        time.sleep(0.02 * (number % 3 == 0))
        return number * number

    assert list(ahead.mapped(slow, iter(range(20)))) == [n * n for n in range(20)]


def test_what_a_mapped_item_raises_comes_after_the_results_before_it():
    def fails(number):
        if number == 5:
            raise ValueError("five")
        return number

    def items():
        yield from range(3)
        raise KeyError("three")

    found = []
    with pytest.raises(ValueError, match="five"):
        found.extend(n for n in _collecting(ahead.mapped(fails, iter(range(9))), found))
    assert found == [0, 1, 2, 3, 4]
    found.clear()
    with pytest.raises(KeyError, match="three"):
        found.extend(n for n in _collecting(ahead.mapped(fails, items()), found))
    assert found == [0, 1, 2]
