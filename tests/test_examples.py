"""The programs in examples/: each in a process of its own, as a reader would run it."""

import csv
import os
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


@pytest.mark.slow
def test_server_momentum_is_compared_from_its_file(tmp_path: pathlib.Path) -> None:
    """No edit elsewhere; without momentum it is FedAvg, with some it is not."""
    entries = ["fedavg", *(f"server_momentum:server_momentum:momentum_decay={d}" for d in (0, 0.5))]
    arguments = ["--data=synthetic", "--synthetic_scenarios=2", "--synthetic_rows=600", "--seeds=1"]
    shape = ["--rounds=2", "--experts=2", "--expert_units=4", "--tower_units=3"]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tff_process.commands.compare", *arguments, *shape),
            *(f"--algorithms={','.join(entries)}", f"--output={tmp_path / 'out'}"),
        ],
        cwd=_EXAMPLES,
        env={**os.environ, "PYTHONPATH": str(_EXAMPLES.parent)},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "out" / "results.csv").open(newline="") as stream:
        found = {
            row["algorithm"]: row["value"]
            for row in csv.DictReader(stream)
            if row["metric"] == "mean_auc"
        }
    assert list(found) == entries
    assert found[entries[0]] == found[entries[1]] != found[entries[2]]
