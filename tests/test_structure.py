"""What `benchmarks.structure` says of a layout, and of this one."""

import pathlib

import pytest

from benchmarks import structure
from tests import conftest

_ROOT = pathlib.Path(__file__).resolve().parents[1]


def _package(root: pathlib.Path, imports: "dict[str, str]") -> None:
    (root / "house").mkdir()
    (root / "house" / "__init__.py").touch()
    for room, others in imports.items():
        lines = [f"from house import {other}" for other in others.split()]
        (root / "house" / f"{room}.py").write_text("\n".join(lines) + "\n")


def test_floors_and_imports_that_run_up(tmp_path: pathlib.Path) -> None:
    """c imports a again: they share a floor with b, and one import must go."""
    _package(tmp_path, {"roof": "a", "a": "b", "b": "c", "c": "a ground", "ground": ""})
    found = structure.rooms(tmp_path, "house")
    assert found["c"] == {"a", "ground"}
    assert (structure.floors(found), structure.upward(found)) == (3, 1)


def test_a_tower_has_a_floor_for_each_room(tmp_path: pathlib.Path) -> None:
    _package(tmp_path, {"a": "b c", "b": "c", "c": ""})
    (tmp_path / "house" / "d").mkdir()
    (tmp_path / "house" / "d" / "inside.py").write_text("import house.a\n")
    found = structure.rooms(tmp_path, "house")
    assert found["d"] == {"a"}
    assert (structure.floors(found), structure.upward(found)) == (4, 0)


@pytest.mark.parametrize("package", structure.PACKAGES)
def test_no_import_of_ours_runs_up(package: str) -> None:
    assert structure.upward(structure.rooms(_ROOT, package)) == 0


@pytest.mark.parametrize("name", [*conftest._SLOW, *conftest._LONGEST])
def test_what_is_named_as_slow_is_there(name: str) -> None:
    assert (_ROOT / "tests" / name).exists()
