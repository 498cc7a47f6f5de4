"""A run under a budget: what it says, what it serves, what it has spent, and that a kill costs
nothing.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from pfrec import errors, evaluation, groups, run_model
from tests.small_model import SHAPE
from tff_process import plan as plan_lib
from tff_process.privacy import charges
from tff_process.runtime import cache, clients, options
from tff_process.training import loop

PLAN = plan_lib.Plan(
    "pf_msmtrec", rounds=2, aggregations=2, batch_size=50, model=SHAPE, dp_epsilon=4.0
)


@pytest.fixture(scope="module")
def two(dataset):
    return dataclasses.replace(dataset, scenarios=("nl", "es"))


@pytest.fixture(scope="module")
def run(two, tmp_path_factory):
    return loop.train(PLAN, two, tmp_path_factory.mktemp("runs") / "run").run


def no_space(*given):
    raise errors.PfrecError("no space left")


def values(run, scenario):
    return {item.name: item.variable.numpy() for item in groups.tag(run_model.load(run, scenario))}


def require_equal(one, other):
    for scenario in other.scenarios:
        expected = values(other, scenario)
        for name, value in values(one, scenario).items():
            np.testing.assert_array_equal(value, expected[name])


def test_it_says_what_it_has_spent_and_nothing_else(run):
    manifest = json.loads((run.path / "privacy_manifest.json").read_text(encoding="utf-8"))
    told = manifest["differential_privacy"]["scenarios"]
    assert set(told) == {"nl", "es"}
    for scenario in told.values():
        assert 3.8 < scenario["epsilon_spent"] <= scenario["epsilon"] == 4.0
        assert scenario["steps_spent"] == scenario["steps"]
    assert told["es"]["noise_multiplier"] > told["nl"]["noise_multiplier"]
    assert "metrics" not in {item["what"] for item in manifest["uploads"]}
    assert manifest["uploads_once"] == []
    assert len((run.path / charges.FILE).read_text(encoding="utf-8").splitlines()) == 2 * 2 * 2
    assert run.summary["mean_auc"] is None
    assert run.summary["differential_privacy"]["nl"]["epsilon_spent"] <= 4.0
    assert not (run.path / "metrics.csv").read_text(encoding="utf-8").splitlines()[1:]


def test_it_serves_the_home_model_of_the_last_round(run):
    assert run.summary["best_round"] == 2
    found = evaluation.evaluate(run.path, split="test")
    assert all(0.0 < cell["auc"] < 1.0 for tasks in found.values() for cell in tasks.values())
    for scenario in run.scenarios:
        assert np.any(values(run, scenario)["embedding/user/embedding_user/table"] != 0.0)


def test_a_run_that_was_killed_spends_nothing_twice(run, two, tmp_path):
    killed = tmp_path / "run"
    shutil.copytree(run.path, killed)
    (killed / "summary.json").unlink()
    shutil.rmtree(killed / "server" / "round_00002")
    again = loop.train(PLAN, two, killed, resume=True).run
    assert (killed / charges.FILE).read_bytes() == (run.path / charges.FILE).read_bytes()
    require_equal(again, run)


def test_a_run_that_ended_before_its_training_at_home_goes_on(run, two, tmp_path, monkeypatch):
    """Its last answers are given once more, and its last round is no other."""

    again = tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(clients.ClientCalls, "train_at_home", no_space)
        with pytest.raises(errors.PfrecError, match="no space left"):
            loop.train(PLAN, two, again)
    resumed = loop.train(PLAN, two, again, resume=True).run
    assert (again / charges.FILE).read_bytes() == (run.path / charges.FILE).read_bytes()
    require_equal(resumed, run)


def test_what_was_sent_is_charged_though_the_training_at_home_fails(two, tmp_path, monkeypatch):
    """A silo's ledger has it by then; its client misses the round, and not the charge."""
    monkeypatch.setattr(clients.ClientCalls, "train_at_home", no_space)
    plan = dataclasses.replace(PLAN, rounds=1, aggregations=1)
    skip = options.Options(on_client_failure=options.SKIP)
    ended = loop.train(plan, two, tmp_path / "run", options=skip).run
    for scenario in ended.summary["differential_privacy"].values():
        assert 3.8 < scenario["epsilon_spent"] <= 4.0
    assert len((ended.path / charges.FILE).read_text(encoding="utf-8").splitlines()) == 2


def test_a_charge_that_cannot_be_made_ends_the_run_and_is_no_clients_failure(
    two, tmp_path, monkeypatch
):
    monkeypatch.setattr(charges.Charges, "charge", no_space)
    skip = options.Options(on_client_failure=options.SKIP)
    with pytest.raises(errors.PfrecError, match=r"^no space left$"):
        loop.train(PLAN, two, tmp_path / "run", options=skip)


def test_training_at_home_is_not_traced_where_there_is_none(two, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "at_the_end", None)
    plan = dataclasses.replace(PLAN, rounds=1, home_epochs=0.0)
    served = loop.train(plan, two, tmp_path / "run").run
    for scenario in served.scenarios:
        table = values(served, scenario)["embedding/user/embedding_user/table"]
        np.testing.assert_array_equal(table, 0.0)


def test_the_reference_runtime_is_refused(two, tmp_path):
    with pytest.raises(errors.PfrecError, match="--runtime=resident"):
        loop.train(PLAN, two, tmp_path / "run", options=options.Options(runtime="reference"))


def test_more_rounds_than_noise_was_made_for_are_refused(run, two):
    with pytest.raises(errors.PfrecError, match="more of them would pass"):
        loop.train(dataclasses.replace(PLAN, rounds=3), two, run.path, resume=True)
