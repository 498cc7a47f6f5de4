"""The programs and the notebook in examples/: each in a process of its own, as a reader would run
it, but for the import of the libraries, which takes several processor seconds.
"""

import ast
import csv
import json
import os
import pathlib

import pytest

from tests.integration import commands, preloaded

_EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"


def _run(program: pathlib.Path, directory: pathlib.Path) -> str:
    started = preloaded.server().start(
        program.stem,
        [str(directory)],
        directory=program.parent,
        environment={
            **os.environ,
            **{"PYTHONPATH": str(_EXAMPLES.parent), "MPLBACKEND": "agg", "TMPDIR": str(directory)},
        },
    )
    done = commands.finish(started)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_examples_are_short() -> None:
    programs = sorted(_EXAMPLES.glob("*.py"))
    assert programs
    for program in programs:
        assert len(program.read_text(encoding="utf-8").splitlines()) < 60, program.name


@pytest.mark.slow
def test_train_and_export(tmp_path: pathlib.Path) -> None:
    said = _run(_EXAMPLES / "train_and_export.py", tmp_path)
    assert said.splitlines()[-3:] == ["de passed", "fr passed", "nl passed"]
    assert "mean test AUC 0." in said


@pytest.mark.slow
def test_federated_process(tmp_path: pathlib.Path) -> None:
    said = _run(_EXAMPLES / "federated_process.py", tmp_path).splitlines()
    losses = [[float(loss) for loss in line.split("loss ")[1].split(", ")] for line in said[-3:]]
    assert all(last < first for first, last in zip(losses[0], losses[-1]))


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: pathlib.Path) -> None:
    """As a program of its cells, which `ast` takes only without a notebook's magic; what a cell
    ends with is printed, as a notebook would show it.
    """
    notebook = json.loads((_EXAMPLES / "who_learns_from_whom.ipynb").read_text(encoding="utf-8"))
    program = tmp_path / "notebook.py"
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    program.write_text("\n".join(map(_shown, cells)), encoding="utf-8")
    shown = _run(program, tmp_path)
    auc = [line for line in shown.splitlines() if line.startswith(("local", "pf_msmtrec"))]
    assert len(auc) == 2
    assert all(0.0 < float(value) < 1.0 for line in auc for value in line.split()[1:])


def _shown(cell: str) -> str:
    """The cell with its last expression printed."""
    tree = ast.parse(cell)
    if isinstance(tree.body[-1], ast.Expr):
        printed = ast.parse("print(x)").body[0]
        printed.value.args = [tree.body[-1].value]  # type: ignore[attr-defined]
        tree.body[-1] = printed
    return ast.unparse(tree)


@pytest.mark.slow
def test_server_momentum_is_compared_from_its_file(tmp_path: pathlib.Path) -> None:
    """No edit elsewhere; without momentum it is FedAvg, with some it is not."""
    entries = ["fedavg", *(f"server_momentum:server_momentum:momentum_decay={d}" for d in (0, 0.5))]
    arguments = ["--data=synthetic", "--synthetic_scenarios=2", "--synthetic_rows=600", "--seeds=1"]
    shape = ["--rounds=2", "--experts=2", "--expert_units=4", "--tower_units=3"]
    algorithms = f"--algorithms={','.join(entries)}"
    output = f"--output={tmp_path / 'out'}"
    done = commands.finish(
        commands.start_in(_EXAMPLES, "pfrec-compare", *arguments, *shape, algorithms, output)
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
