"""A run begins, or goes on as what it was begun as."""

import dataclasses
import json
import logging
import sys

import pytest

from pfrec import errors, files, run_directory
from tests import run_records
from tff_process import plan
from tff_process.algorithms import pf_msmtrec
from tff_process.runtime import options
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


OWN = """
from tff_process.algorithms import fedavg

def mine(schema):
    return fedavg.fedavg(schema)  # {0}
"""


def test_a_file_of_an_algorithm_that_was_edited_since_is_named_once(
    dataset, tmp_path, monkeypatch, caplog
):
    code, run = tmp_path / "an_own_algorithm.py", tmp_path / "run"
    code.write_text(OWN.format("first"))
    monkeypatch.syspath_prepend(tmp_path)
    begun = plan.Plan("an_own_algorithm:mine")
    try:
        beginning.open_run(run, begun, dataset, False, options.Options())
        beginning.check_same(run, begun, dataset)
        assert not caplog.records
        code.write_text(OWN.format("second"))
        for _ in range(2):
            with caplog.at_level(logging.WARNING):
                beginning.check_same(run, begun, dataset)
    finally:
        sys.modules.pop("an_own_algorithm", None)
    (warned,) = caplog.messages
    assert warned == (
        f"{run}: {code} was edited since this run was begun; where its algorithm is another now, "
        "remove the run to train it anew, or choose another --output"
    )


def test_of_an_algorithm_of_this_package_no_file_is_noted(dataset, tmp_path):
    run = beginning.open_run(
        tmp_path / "run", plan.Plan("fedavg"), dataset, False, options.Options()
    )
    assert "algorithm_code" not in run.config
