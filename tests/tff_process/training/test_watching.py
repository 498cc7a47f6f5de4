"""What TensorBoard and MLflow are told."""

import sys
import types

import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

from pfrec import errors, metrics
from tff_process import plan as plan_lib
from tff_process.process import round_report
from tff_process.training import watching

PLAN = plan_lib.Plan("pf_msmtrec", rounds=2, seed=5)


def rounds(watcher, dataset):
    """Two rounds and an end: AUC of the first scenario and task is 0.5 and as many tenths as
    rounds.
    """
    watcher.before_training(done=0, best_round=0, rounds=1)
    for number in (1, 2):
        values = np.full([3, 2, len(metrics.METRICS)], np.nan)
        values[0, 0, metrics.METRICS.index("auc")] = 0.5 + number / 10
        watcher.after_round(
            number=number,
            best_round=number,
            score=0.6,
            values=values,
            report=round_report.RoundReport({"nl": 1.0 / number}, {}),
        )
    cell = {"auc": 0.75, "gauc": None, "logloss": 0.25, "ece": 0.125, "rows": 9, "positives": 1}
    summary = {"best_round": 2, "mean_auc": None, "test": {"nl": {"ctr": cell}}}
    watcher.after_training(summary=summary)


def test_event_files_hold_scalars_by_scenario_and_task_and_the_plan(dataset, tmp_path):
    rounds(watching.TensorBoard(PLAN, dataset, tmp_path), dataset)
    found = event_accumulator.EventAccumulator(str(tmp_path)).Reload()
    tags = found.Tags()["tensors"]
    assert {"valid/auc/es/ctr", "loss/nl", "valid/score", "test/logloss/nl/ctr"} <= set(tags)
    # What is not defined is no number.
    assert "valid/auc/nl/ctr" not in tags
    assert "test/gauc/nl/ctr" not in tags

    def values(tag):
        events = found.Tensors(tag)
        return [(e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in events]

    assert values("valid/auc/es/ctr") == [(1, pytest.approx(0.6)), (2, pytest.approx(0.7))]
    assert values("loss/nl") == [(1, 1.0), (2, 0.5)]
    assert values("test/auc/nl/ctr") == [(2, 0.75)]
    start = found.SummaryMetadata("_hparams_/session_start_info")
    assert start.plugin_data.plugin_name == "hparams"


def test_hyperparameters_are_the_whole_plan():
    found = watching.hyperparameters(PLAN)
    assert (found["seed"], found["rounds"], found["algorithm"]) == (5, 2, "pf_msmtrec")
    assert found["settings.mu"] == 0.25
    assert found["model.expert_units"] == "64,32"
    assert all(isinstance(value, (bool, int, float, str)) for value in found.values())


def test_mlflow_is_told_the_same(dataset, monkeypatch):
    said = []
    stand_in = types.ModuleType("mlflow")
    for name in ("set_experiment", "start_run", "log_params", "log_metrics", "end_run"):
        setattr(
            stand_in,
            name,
            lambda *args, _name=name, **kwargs: said.append((_name, args, kwargs)),
        )
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    rounds(watching.MLflow(PLAN, dataset, "shop", "run 1"), dataset)
    assert [name for name, *_ in said] == [
        "set_experiment",
        "start_run",
        "log_params",
        "log_metrics",
        "log_metrics",
        "log_metrics",
        "end_run",
    ]
    assert said[1][2] == {"run_name": "run 1"}
    assert said[2][1][0]["seed"] == 5
    assert said[3][1][0] == {"loss/nl": 1.0, "valid/auc/es/ctr": 0.6, "valid/score": 0.6}
    assert said[3][2] == {"step": 1}
    assert said[5][1][0]["test/auc/nl/ctr"] == 0.75


def test_without_mlflow_it_says_what_to_install(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(errors.PfrecError, match="pip install 'mlflow-skinny<3'"):
        watching.MLflow(PLAN, dataset, "shop", "run 1")
