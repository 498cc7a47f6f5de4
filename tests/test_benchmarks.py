"""That the scripts of benchmarks/ start by the lines that the documents give."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

_SCRIPTS = sorted((pathlib.Path(__file__).parents[1] / "benchmarks").glob("*.py"))
_FOUND_BY = "sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))\n"


def _started(name: str, directory: pathlib.Path) -> "tuple[int, str, str]":
    script = next(path for path in _SCRIPTS if path.name == name)
    done = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=directory, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("script", _SCRIPTS, ids=lambda path: path.stem)
def test_a_script_finds_its_neighbours_from_any_directory(script: pathlib.Path):
    """Another package of the name `benchmarks` may be installed, as one of the lock is."""
    text = script.read_text()
    neighbour = re.search("^from benchmarks", text, re.MULTILINE)
    if neighbour and "__main__" in text:
        assert _FOUND_BY in text[: neighbour.start()]


def test_kills_of_silos_explain_themselves(tmp_path: pathlib.Path):
    status, said, _ = _started("random_kills_silos.py", tmp_path)
    assert status == 0
    assert "--instants" in said


@pytest.mark.parametrize("name", ["mtreclib_step.py", "peers_torch.py"])
def test_without_pytorch_a_part_says_who_starts_it_with_it(name: str, tmp_path: pathlib.Path):
    if importlib.util.find_spec("torch"):
        pytest.skip("PyTorch is installed")
    status, _, said = _started(name, tmp_path)
    assert (status, said.count("\n")) == (1, 1)
    assert "a Python that has PyTorch" in said
    assert "--torch_python" in said
