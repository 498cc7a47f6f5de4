"""What pfrec-train tells before it imports TensorFlow."""

import json
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import pytest

from pfrec import errors, run_data
from pfrec import run_records as records
from pfrec.data.dataset import dataset as dataset_lib
from tests import run_records
from tff_process import plan as plan_lib
from tff_process.commands import train


def _finished(output: pathlib.Path, plan: plan_lib.Plan, data: dataset_lib.Dataset) -> None:
    cell = {"rows": 5, "positives": 2, "auc": 0.75, "logloss": 0.5, "ece": 0.1}
    digests = {name: data.digests.get(name) for name in data.scenarios}
    config = {"plan": plan.to_json(), "data": str(data.path.resolve()), run_data.DIGESTS: digests}
    config["scenarios"] = list(data.scenarios)
    summary = {"test": {"nl": {"click": cell}}, "mean_auc": 0.75}
    run_records.write(output, config, summary)


def _is_finished(run: pathlib.Path, *asked: Any) -> bool:
    return train._is_finished(records.read_config(run), run, *asked)


def _newcomer(run: pathlib.Path, named: "str | None") -> "str | None":
    return train._newcomer(records.read_config(run), run, named)


def test_a_finished_run_is_told_where_it_is_of_this_plan_and_data(
    dataset, tmp_path, capsys
) -> None:
    plan = plan_lib.Plan("fedavg", rounds=3)
    run, data = tmp_path / "run", str(dataset.path)
    _finished(run, plan, dataset)
    (run / "summary.json").rename(tmp_path / "kept")
    assert not _is_finished(run, plan, data)
    (tmp_path / "kept").rename(run / "summary.json")
    assert _is_finished(run, plan, data)
    said = capsys.readouterr().out
    assert "mean test AUC 0.7500 at round 2" in said
    assert said.endswith(f"run: {run}, finished: there is nothing to resume\n")
    assert not _is_finished(run, plan_lib.Plan("fedavg", rounds=4), data)
    assert not _is_finished(run, plan, "synthetic")
    assert not _is_finished(run, plan, None)
    assert not _is_finished(run, plan, data, (["fr"], 0))
    assert not _is_finished(run, plan, data, ((), 200))
    shutil.copytree(dataset.path, run / "data")
    _finished(run, plan, dataset_lib.Dataset.open(run / "data"))
    assert _is_finished(run, plan, "synthetic")


def test_the_command_imports_nothing_with_threads() -> None:
    """With NumPy's threads a process could not enter a network of its own any more."""
    program = (
        "import sys; import tff_process.commands.train; import tff_process.commands.compare; "
        "print({'tensorflow', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_synthetic_data_are_of_one_world(tmp_path) -> None:
    """As a run and a comparison open them: made once, and refused where another is asked for."""
    world = {"scenarios": 2, "rows": 600, "shared": 0.5}
    data = train.open_data("synthetic", tmp_path, world, 3)
    assert json.loads((tmp_path / "dataset.json").read_text())["split_seed"] == 3
    assert train.open_data("synthetic", tmp_path, world, 3).digests == data.digests
    told = "synthetic data of seed 3, rows 600, scenarios 2, shared 0.5; give the same flags"
    with pytest.raises(errors.PfrecError, match=told):
        train.open_data("synthetic", tmp_path, world, 4)


def test_who_joined_is_known_to_the_run(tmp_path) -> None:
    joined, other = tmp_path / "joined", tmp_path / "other"
    plan = plan_lib.Plan("local", init_from=str(other))
    run_records.write(joined, {"plan": plan.to_json(), "scenarios": ["fr"]})
    run_records.write(other, {"plan": plan_lib.Plan("local").to_json(), "scenarios": ["fr"]})
    assert [_newcomer(joined, named) for named in (None, "fr")] == ["fr", "fr"]
    with pytest.raises(errors.PfrecError, match=r"--new_scenario=nl: .* with --new_scenario=fr; l"):
        _newcomer(joined, "nl")
    assert _newcomer(other, None) is None
    with pytest.raises(errors.PfrecError, match=r"--new_scenario=fr: .* with no --new_scenario; l"):
        _newcomer(other, "fr")


def test_metrics_of_finished_models_are_called_so() -> None:
    cell = {"rows": 5, "positives": 2, "auc": 0.75, "logloss": 0.5, "ece": 0.1}
    summary = {"test": {"nl": {"click": cell}}, "mean_auc": 0.75, "best_round": 2, "rounds": 4}
    plain, finished = (
        train.table({**summary, **told}) for told in ({}, {"finished": {"nl": "0f"}})
    )
    assert plain.splitlines()[-1] == "mean test AUC 0.7500 at round 2 (the best on valid) of 4"
    assert finished == f"{plain}, finished at home"


def test_a_training_that_ended_before_its_rounds_says_so() -> None:
    cell = {"rows": 5, "positives": 2, "auc": 0.75, "logloss": 0.5, "ece": 0.1}
    summary = {"test": {"nl": {"click": cell}}, "mean_auc": 0.75, "best_round": 2, "rounds": 4}
    told = "mean test AUC 0.7500 at round 2 (the best on valid) of 4"
    assert train.table({**summary, "planned_rounds": 4}).splitlines()[-1] == told
    early = train.table({**summary, "planned_rounds": 9}).splitlines()[-1]
    assert early == f"{told}, ended after 4 of 9 rounds"


def test_coarse_counts_of_federated_training_are_explained() -> None:
    cell = {"rows": 2350, "positives": 850, "auc": 0.75, "logloss": 0.5, "ece": 0.1}
    summary = {"test": {"nl": {"click": cell}}, "mean_auc": 0.75, "best_round": 2, "rounds": 4}
    table = train.table({**summary, "algorithm": "fedavg"}).splitlines()
    assert table[2] == (
        "note: Rows and positives are those that a scenario says: its positives and its negatives, "
        "each rounded down to two digits."
    )
    assert "note" not in train.table({**summary, "algorithm": "pooled_mmoe"})
    small = {"nl": {"click": {**cell, "rows": 99}}}
    assert "note" not in train.table({**summary, "algorithm": "fedavg", "test": small})


def test_where_metrics_are_withheld_no_round_is_called_the_best() -> None:
    unknown = {"rows": None, "positives": None, "auc": None, "logloss": None, "ece": None}
    told = train.table(
        {
            "test": {"nl": {"click": unknown}},
            "mean_auc": None,
            "best_round": 4,
            "rounds": 4,
            "withheld": ["loss", "metrics"],
            "differential_privacy": {"nl": {"epsilon_spent": 2.0, "delta": 0.001}},
        }
    )

    assert told.splitlines() == [
        "nl: epsilon 2.000 spent at delta 0.001",
        "metrics are withheld: no round was chosen by them, the model is that of round 4, the last "
        "one trained",
    ]
