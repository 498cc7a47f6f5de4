"""Modules that are put off."""

import concurrent.futures
import importlib
import inspect
import pathlib
import subprocess
import sys
import types

import pytest

from pfrec import postponed


@pytest.fixture
def put_off(tmp_path, monkeypatch):
    """A package `shelf` of which `shelf.book` is put off; returns what was executed so far."""
    (tmp_path / "shelf").mkdir()
    (tmp_path / "shelf" / "__init__.py").write_text("from shelf import book, list_of\n")
    (tmp_path / "shelf" / "book.py").write_text("import shelf.read\npages = 7\n")
    (tmp_path / "shelf" / "list_of.py").write_text("")
    (tmp_path / "shelf" / "read.py").write_text("times = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(postponed, "MODULES", frozenset({"shelf.book"}))
    monkeypatch.setattr(sys, "meta_path", [postponed._Finder(), *sys.meta_path])
    importlib.invalidate_caches()
    yield lambda: {name for name in ("shelf.list_of", "shelf.read") if name in sys.modules}
    for name in [name for name in sys.modules if name.partition(".")[0] == "shelf"]:
        del sys.modules[name]


def test_a_module_is_executed_when_it_is_first_asked_for_something(put_off):
    shelf = importlib.import_module("shelf")

    assert put_off() == {"shelf.list_of"}
    assert shelf.book.pages == 7
    assert put_off() == {"shelf.list_of", "shelf.read"}
    assert shelf.book is sys.modules["shelf.book"]


def test_what_is_imported_from_it_is_there(put_off):
    namespace = {}
    exec("from shelf.book import pages", namespace)

    assert namespace["pages"] == 7


def test_who_looks_through_all_modules_for_a_file_executes_none(put_off):
    """As `inspect` does, and AutoGraph before each function that it converts."""
    shelf = importlib.import_module("shelf")
    book = sys.modules["shelf.book"]

    assert pathlib.Path(book.__file__).name == "book.py"
    assert book.__name__ == "shelf.book"
    assert inspect.getmodule(test_one_finder_is_enough) is sys.modules[__name__]
    assert put_off() == {"shelf.list_of"}
    assert not hasattr(shelf.book, "cover")
    assert put_off() == {"shelf.list_of", "shelf.read"}
    assert type(book) is types.ModuleType


def test_threads_that_ask_while_it_is_executed_wait_for_all_of_it(put_off, tmp_path):
    """Arrow asks pandas for its version in whichever thread first converts something."""
    (tmp_path / "shelf" / "book.py").write_text("import time\ntime.sleep(0.2)\npages = 7\n")
    shelf = importlib.import_module("shelf")

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(getattr, shelf.book, "pages") for _ in range(4)]

        assert [one.result() for one in asked] == [7] * 4


def test_a_module_that_fails_is_executed_anew_when_it_is_asked_again(put_off, tmp_path):
    (tmp_path / "shelf" / "book.py").write_text("import shelf.read\nassert shelf.read.times > 1\n")
    shelf = importlib.import_module("shelf")

    with pytest.raises(AssertionError):
        shelf.book.pages  # noqa: B018
    sys.modules["shelf.read"].times = 2
    assert not hasattr(shelf.book, "cover")
    assert type(shelf.book) is types.ModuleType


def test_one_finder_is_enough():
    postponed.postpone()
    postponed.postpone()

    assert sum(isinstance(finder, postponed._Finder) for finder in sys.meta_path) == 1


_TRAINING = """
import sys
import textwrap
from pfrec import postponed
import tff_process
import tensorflow as tf
import tensorflow_federated as tff
from tff_process.training import loop

tf.autograph.to_graph(textwrap.shorten)
executed = [
    name
    for name in sorted(postponed.MODULES)
    if name in sys.modules and type(sys.modules[name]) is not postponed._Unread
]
assert not executed, executed
missing = [n for n in sorted(postponed.MODULES) if n not in sys.modules]
assert not missing, missing
assert "jax" not in sys.modules
print(tff.learning.algorithms.build_weighted_fed_avg.__name__)
"""


def test_a_training_imports_none_of_them_and_they_are_all_there():
    done = subprocess.run(
        [sys.executable, "-c", _TRAINING], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "build_weighted_fed_avg"
    assert "Exception ignored" not in done.stderr
