"""What a run's diagnostics say, and that they are drawn."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pfrec import errors, run_directory, run_model
from pfrec.data.dataset import pipeline
from pfrec.report import signals
from tests.pfrec.report import pages
from tff_process.algorithms import base
from tff_process.client import variables
from tff_process.commands import diagnose
from tff_process.comparison import pictures


def test_distances_from_the_consensus_by_hand():
    """Over both variables of the group: sqrt(3^2 + 4^2) and 0."""
    specs = tuple(
        variables.VariableSpec(
            name, "expert", "expert/0/shared", "0", (1,), True, variables.PERSONAL
        )
        for name in ("a", "b")
    )
    state = base.ServerState(
        0,
        {},
        {"a": tf.constant([[4.0], [1.0]]), "b": tf.constant([[6.0], [2.0]])},
        {"a": tf.constant([1.0]), "b": tf.constant([2.0])},
        {},
    )
    found = base.consensus_distances(variables.ModelVariables(specs), state)
    np.testing.assert_allclose(found["consensus_distance/expert/0/shared"], [5.0, 0.0])


@pytest.fixture(scope="module")
def run(two_scenarios_run, tmp_path_factory):
    """A copy: drawing writes into it."""
    path = tmp_path_factory.mktemp("drawn") / "run"
    shutil.copytree(two_scenarios_run, path)
    return run_directory.open_run(path)


def test_every_round_has_its_figures_and_all_is_drawn(run, dataset):
    found = signals.rounds(run.path)
    assert sorted(found) == [1, 2]
    groups = {
        "expert/0/shared",
        "expert/1/shared",
        "tower/ctr",
        "tower/cvr",
        "gate/ctr",
        "gate/cvr",
        "numeric",
    }
    for value in found.values():
        for kind, expected in (
            ("conflict_share", groups),
            ("attention", groups),
            ("gram", groups),
            ("own_weight", groups | {"embedding/item"}),
            ("consensus_distance", groups | {"embedding/item"}),
        ):
            assert {
                name.partition("/")[2] for name in value if name.startswith(f"{kind}/")
            } == expected
    names = {path.name for path in diagnose.draw(run)}
    assert {
        "conflict_share.svg",
        "conflict_pairs.svg",
        "calibration.json",
        "report.html",
        "consensus_distance.svg",
        "gate_use.svg",
        "effective_experts.svg",
        "gate_use.json",
    } <= names
    assert {f"attention_{group.replace('/', '_')}.svg" for group in groups} <= names
    # Drawing again finds the same rounds.
    assert signals.rounds(run.path) == found


def test_of_a_run_over_silos_all_but_the_gates_is_drawn(two_scenarios_run, tmp_path):
    """Its directory has neither data nor clients."""
    shutil.copytree(
        two_scenarios_run,
        tmp_path / "run",
        ignore=shutil.ignore_patterns("clients", "*.svg", "gate_use.json"),
    )
    config = tmp_path / "run" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "data": None}))
    names = {
        path.name
        for path in diagnose.draw(run_directory.open_run(tmp_path / "run", with_models=False))
    }
    assert "conflict_share.svg" in names
    assert "gate_use.svg" not in names
    with pytest.raises(errors.PfrecError, match="trained over silos"):
        run_directory.open_run(tmp_path / "run")


def test_gate_use_is_the_mean_over_valid_rows(run, dataset):
    by_round = (
        json.loads((run.path / "diagnostics" / "gate_use.json").read_text())
        if diagnose.draw(run)
        else {}
    )
    assert set(by_round) == {"1", "2"}
    assert by_round["1"] != by_round["2"]
    gates, model = by_round["1"], run_model.load(run, "nl", 1)
    (batch,) = pipeline.evaluation_batches(
        tf.constant(dataset.shards("nl", "valid")), dataset.schema
    )
    logits = model.features(batch) @ model.gates["ctr"].dense.kernel + model.gates["ctr"].dense.bias
    weights = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(gates["nl"]["ctr"], weights.mean(0), rtol=1e-5)
    assert sum(gates["es"]["cvr"]) == pytest.approx(1.0)


def test_effective_experts_by_hand():
    assert pictures.effective_experts([1.0, 0.0]) == 1.0
    assert pictures.effective_experts([0.25] * 4) == pytest.approx(4.0)
    assert pictures.effective_experts([0.5, 0.5, 0.0]) == pytest.approx(2.0)


def test_importance_and_calibration_are_of_the_scenarios_own_rows(run, dataset):
    """The click follows the item and the price; nothing follows the age."""
    asked = diagnose.Importance(rows=80, repeats=5, seed=1)
    written = diagnose.draw(run, asked)
    importance, calibration = (
        json.loads((run.path / "diagnostics" / f"{name}.json").read_text())
        for name in ("importance", "calibration")
    )
    assert importance["features"] == ["user", "item", "price", "age"]
    assert set(importance["scenarios"]) == set(calibration["scenarios"]) == {"nl", "es"}
    for task in ("ctr", "cvr"):
        assert set(importance["scenarios"]["nl"][task]) == set(importance["features"])
    # All rows of test, in ten parts, with their positives.
    for scenario in ("nl", "es"):
        parts = calibration["scenarios"][scenario]["ctr"]
        assert [part["rows"] for part in parts] == [8] * 10
        assert sum(part["positives"] for part in parts) == dataset.positives(
            scenario, "test", "ctr"
        )
    before = [path.read_bytes() for path in written if path.suffix == ".json"]
    again = diagnose.draw(run, asked)
    assert [path.read_bytes() for path in again if path.suffix == ".json"] == before
    page = pages.check_alone((run.path / "report.html").read_text(encoding="utf-8"))
    assert "AUC lost where the feature is shuffled" in page.text
    assert "in ten parts of equal size" in page.text


def test_the_features_that_matter_most_are_said():
    values = {"a": {"mean": 0.1}, "b": {"mean": 0.2}, "c": None}
    told = diagnose._told({"scenarios": {"nl": {"ctr": values, "cvr": {"a": None}}}})
    assert told[1:] == ["  nl ctr: b 0.2000, a 0.1000", "  nl cvr: rows of one class"]
