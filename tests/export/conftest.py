"""One verified version of the tiny model, shared by the tests of this directory."""

import pathlib
import shutil
from typing import Callable

import pytest

from tests.export import tiny


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A version directory; do not change it."""
    directory = tmp_path_factory.mktemp("serving") / "NL" / "1"
    tiny.write_version(directory)
    return directory


@pytest.fixture(scope="session")
def routed(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A version directory of a router; do not change it."""
    directory = tmp_path_factory.mktemp("serving") / "router" / "1"
    tiny.write_version(directory, tiny.routed(), "router")
    return directory


@pytest.fixture
def copy(exported: pathlib.Path, tmp_path: pathlib.Path) -> Callable[[str], pathlib.Path]:
    """Makes a copy of the version at a path below the test's own directory."""

    def make(name: str = "NL/1") -> pathlib.Path:
        return pathlib.Path(shutil.copytree(exported, tmp_path / name))

    return make
