"""Who is told of a training, as the flags ask."""

import pathlib
import types

import pytest

from pfrec import errors
from tff_process import plan as plan_lib
from tff_process.commands import watchers
from tff_process.training import watching


@pytest.fixture
def asked(monkeypatch) -> types.SimpleNamespace:
    """Stands for the flags."""
    values = types.SimpleNamespace(tensorboard=None, mlflow=None)
    monkeypatch.setattr(watchers.flags, "FLAGS", values)
    return values


def test_mlflow_that_cannot_be_told_is_said_at_once(asked, monkeypatch) -> None:
    monkeypatch.setattr(watchers.importlib.util, "find_spec", lambda name: None)
    watchers.require(simulated=True)  # nobody asks for it
    asked.mlflow = "shop"
    with pytest.raises(errors.PfrecError, match="pip install 'mlflow-skinny<3'"):
        watchers.require(simulated=True)
    monkeypatch.setattr(watchers.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    with pytest.raises(errors.PfrecError, match="out of reach"):
        watchers.require(simulated=True)
    watchers.require(simulated=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mlruns")
    watchers.require(simulated=True)


def test_a_run_has_the_watchers_that_were_asked_for(asked, dataset, monkeypatch) -> None:
    plan, run = plan_lib.Plan("local"), pathlib.Path("runs/local/seed_0")
    assert watchers.of_run(plan, dataset, run, "local seed 0") == []
    asked.tensorboard, asked.mlflow = True, "shop"
    monkeypatch.setattr(watching.importlib, "import_module", lambda name: types.ModuleType(name))
    board, flow = watchers.of_run(plan, dataset, run, "local seed 0")
    assert isinstance(board, watching.TensorBoard)
    assert board._directory == run / "tensorboard"
    assert isinstance(flow, watching.MLflow)
    assert (flow._experiment, flow._name) == ("shop", "local seed 0")


def test_a_run_that_has_event_files_goes_on_with_them(asked, dataset, tmp_path) -> None:
    def watched() -> int:
        return len(watchers.of_run(plan_lib.Plan("local"), dataset, tmp_path, "local"))

    assert watched() == 0
    (tmp_path / "tensorboard").mkdir()
    assert watched() == 1
    asked.tensorboard = False
    assert watched() == 0
