"""A run begins, or goes on as what it was begun as."""

import dataclasses
import json

import pytest

from pfrec import errors, files, run_directory
from tests import run_records
from tff_process import plan
from tff_process.algorithms import pf_msmtrec
from tff_process.training import beginning


def test_a_run_begun_with_another_plan_is_told_what_differs(dataset, tmp_path):
    begun = plan.Plan("pf_msmtrec", rounds=3)
    run_directory.RunDirectory.create(
        tmp_path / "run", {**beginning.config(begun, dataset), "data": None}
    )
    assert beginning.check_same(tmp_path / "run", begun, dataset).config["seed"] == 0
    for changed, message in (
        ({"learning_rate": 0.1}, "another plan: learning_rate was 0.02 and is 0.1; resume with"),
        ({"seed": 2}, "another plan: seed was 0 and is 2; "),
        ({"settings": pf_msmtrec.Settings(mu=0.5)}, "plan: settings.mu was 0.25 and is 0.5; "),
    ):
        other = dataclasses.replace(begun, **changed)
        with pytest.raises(errors.PfrecError, match=message):
            beginning.check_same(tmp_path / "run", other, dataset)
    fewer = dataclasses.replace(dataset, scenarios=dataset.scenarios[:2])
    with pytest.raises(errors.PfrecError, match="begun with another scenarios; resume"):
        beginning.check_same(tmp_path / "run", begun, fewer)


def test_a_training_whose_step_sizes_follow_its_rounds_is_not_extended(dataset, tmp_path):
    begun = plan.Plan("fedavg", rounds=2, schedule="cosine")
    run_records.write(tmp_path, {"plan": begun.to_json()})
    with pytest.raises(errors.PfrecError, match="begun with 2 rounds, over which its step sizes"):
        beginning.check_same(tmp_path, dataclasses.replace(begun, rounds=3), dataset)


def test_a_run_that_is_being_extended_is_not_finished(tmp_path):
    files.write_json(tmp_path / "summary.json", {})
    run = run_directory.RunDirectory(tmp_path, {"scenarios": [], "plan": {"rounds": 2}})
    run.extended_to({"rounds": 5})
    assert not (tmp_path / "summary.json").exists()
    assert json.loads((tmp_path / "config.json").read_text())["plan"] == {"rounds": 5}
