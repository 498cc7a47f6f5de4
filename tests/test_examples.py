"""The programs in examples/: each in a process of its own, as a reader would run it."""

import pathlib
import subprocess
import sys

import pytest

_EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"


def _run(name: str, directory: pathlib.Path) -> str:
    done = subprocess.run(
        [sys.executable, str(_EXAMPLES / name), str(directory)],
        cwd=_EXAMPLES.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_examples_are_short() -> None:
    programs = sorted(_EXAMPLES.glob("*.py"))
    assert programs
    for program in programs:
        assert len(program.read_text(encoding="utf-8").splitlines()) < 60, program.name


@pytest.mark.slow
def test_train_and_export(tmp_path: pathlib.Path) -> None:
    said = _run("train_and_export.py", tmp_path)
    assert said.splitlines()[-3:] == ["de passed", "fr passed", "nl passed"]
    assert "mean test AUC 0." in said


@pytest.mark.slow
def test_federated_process(tmp_path: pathlib.Path) -> None:
    said = _run("federated_process.py", tmp_path).splitlines()
    losses = [[float(loss) for loss in line.split("loss ")[1].split(", ")] for line in said[-3:]]
    assert all(last < first for first, last in zip(losses[0], losses[-1]))
