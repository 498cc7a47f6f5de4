"""Modules that are put off."""

import importlib
import importlib.util
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


def test_python_finds_a_module_of_its_own_class_when_it_executes_it(put_off, monkeypatch):
    """Python 3.11.9 and later take one of another class for executed, and ask it again for ever."""
    of_python, kinds = importlib.util._LazyModule, []
    execute = of_python.__getattribute__

    def told(module, name):
        kinds.append(type(module))
        return execute(module, name)

    monkeypatch.setattr(of_python, "__getattribute__", told)

    assert importlib.import_module("shelf").book.pages == 7
    assert kinds == [of_python]


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
