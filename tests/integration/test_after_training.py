"""What follows a first run, as a user types it: other rows, a worse model, and a way back."""

import json
import pathlib
import signal

import pytest

from export.commands import export
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import writer
from tests.conftest import random_rows
from tests.integration import commands
from tests.small_model import SHAPE
from tff_process import plan as plan_lib
from tff_process.training import loop


@pytest.fixture(scope="module")
def later(
    schema: schema_lib.Schema, tmp_path_factory: pytest.TempPathFactory
) -> dataset_lib.Dataset:
    """Other rows of one scenario, encoded as the run's; enough of them to tell models apart."""
    path = tmp_path_factory.mktemp("later") / "data"
    with writer.DatasetWriter(path, schema, source_format="test", split_seed=0) as target:
        for offset, (split, rows) in enumerate((("train", 150), ("valid", 80), ("test", 600))):
            target.add("nl", split, random_rows(schema, rows, 500 + offset))
    return dataset_lib.Dataset.open(path)


def test_a_run_is_evaluated_on_other_rows(run: pathlib.Path, later: dataset_lib.Dataset) -> None:
    own = (run / "summary.json").read_bytes()
    out = commands.succeed("pfrec-evaluate", f"--run={run}", f"--data={later.path}")
    assert f"on {later.path}, which holds other rows of nl than the run's own" in out
    assert "es " not in out
    found = json.loads((run / "evaluation.json").read_text())
    assert found["metrics"]["nl"]["ctr"]["rows"] == 600
    assert 0.6 < found["metrics"]["nl"]["ctr"]["auc"] < 1.0
    assert (run / "summary.json").read_bytes() == own


def test_rows_of_a_scenario_without_a_model_are_named(
    run: pathlib.Path, schema: schema_lib.Schema, tmp_path: pathlib.Path
) -> None:
    with writer.DatasetWriter(
        tmp_path / "data", schema, source_format="test", split_seed=0
    ) as target:
        for place, scenario in enumerate(("nl", "unknown")):
            for split in ("train", "valid", "test"):
                target.add(scenario, split, random_rows(schema, 40, 700 + place))
    out = commands.succeed("pfrec-evaluate", f"--run={run}", f"--data={tmp_path / 'data'}")
    assert "left out, as there is no model of them: unknown\n" in out


def test_a_worse_model_is_refused_forced_and_taken_back(
    run: pathlib.Path, later: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    serving, worse = tmp_path / "serving", tmp_path / "worse"
    export.export(run, serving)
    plan = plan_lib.Plan("local", rounds=1, learning_rate=1e-6, batch_size=50, model=SHAPE)
    loop.train(plan, later, worse)
    again = ("pfrec-export", f"--run={worse}", f"--output={serving}")
    done = commands.run(*again)
    assert done.returncode == 1
    assert "champion" in done.stdout
    assert "the new model ranks worse than what is served in nl ctr" in done.stderr
    assert "nothing was exported" in done.stderr
    assert not (serving / "nl" / "2").exists()
    out = commands.succeed(*again, "--force")
    assert f"wrote {serving / 'nl' / '2'}" in out
    commands.succeed("pfrec-evaluate", f"--serving={serving}", f"--data={later.path}")
    evaluated = json.loads((serving / "evaluation.json").read_text())["metrics"]
    cells = json.loads((serving / "export_report.json").read_text())["champion"]["cells"]
    (cell,) = [cell for cell in cells if cell["task"] == "ctr"]
    assert cell["worse"]
    assert cell["interval"][1] < 0.0
    assert cell["champion_auc"] > 0.6 > cell["challenger_auc"]
    assert evaluated["nl"]["ctr"]["auc"] == pytest.approx(cell["challenger_auc"], abs=1e-4)
    served = serving / "models.config"
    assert "nl: pinned to version 1" in commands.succeed(
        "pfrec-export", f"--output={serving}", "--rollback", "--scenario=nl"
    )
    assert served.read_text().count("specific") == 1, "no other scenario is pinned"
    assert "nl: highest version is served, 2" in commands.succeed(
        "pfrec-export", f"--output={serving}", "--roll_forward", "--scenario=nl"
    )
    assert "specific" not in served.read_text()


def test_an_interrupted_training_says_how_to_go_on(
    dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    output = tmp_path / "run"
    arguments = (f"--data={dataset.path}", f"--output={output}", "--rounds=90", *commands.SMALL)
    process = commands.start("pfrec-train", *arguments)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("round 1/90: valid AUC"):
        assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    last = err.splitlines()[-1]
    assert last.startswith("interrupted; go on with: python -m tff_process.commands.train ")
    assert last.endswith("--batch_size=50 --resume")
    assert not commands.workers(str(output))
    assert "of 90 is complete since" in commands.succeed("pfrec-status", f"--run={output}")
