"""A new scenario starts from what the others have in common, and changes nothing of theirs."""

import dataclasses
import hashlib
import shutil

import numpy as np
import pytest

from pfrec import errors, run_directory, run_model
from tests.small_model import SHAPE
from tff_process import plan
from tff_process.algorithms import pf_msmtrec
from tff_process.process import federation, joining
from tff_process.training import loop


@pytest.fixture
def run(two_scenarios_run):
    return two_scenarios_run


def of_newcomer(asked, run):
    return asked.of_newcomer(str(run.resolve()), SHAPE)


def digest(path):
    return {
        str(p): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(path.rglob("*"))
        if p.is_file()
    }


@pytest.fixture
def run_of_one_table(dataset, tmp_path):
    """The same with the one table for all that `table_prior` 0 keeps."""
    two = dataclasses.replace(dataset, scenarios=("nl", "es"))
    settings = pf_msmtrec.Settings(table_prior=0.0)
    return loop.train(
        plan.Plan("pf_msmtrec", rounds=1, batch_size=50, model=SHAPE, settings=settings),
        two,
        tmp_path / "run",
    ).run.path


@pytest.mark.parametrize(("which", "table"), [("run", "consensus"), ("run_of_one_table", "common")])
def test_a_newcomer_starts_from_the_consensus_and_the_common_values(request, which, table, dataset):
    run = request.getfixturevalue(which)
    opened = run_directory.open_run(run)
    server = opened.load(opened.summary["best_round"]).server
    alone = joining.only(dataset, "fr")
    joining.check(run, alone, "fr")
    made = federation.Federation(of_newcomer(plan.Plan("pf_msmtrec"), run), alone)
    fresh = federation.Federation(plan.Plan("local", model=SHAPE), alone)
    assert made.plan.algorithm == "local"
    for spec in made.layout.specs:
        if spec.kind in ("expert", "tower", "gate", "numeric"):
            expected = server[f"consensus/{spec.name}"]
        elif spec.group == "embedding/item":
            expected = server[f"{table}/{spec.name}"]
        else:
            # Batch normalisation and the users' table were never given away.
            expected = fresh._initial[spec.name]
        np.testing.assert_array_equal(made._initial[spec.name], expected, err_msg=spec.name)


def test_whatever_was_asked_for_a_newcomer_trains_by_local_in_the_runs_shape(run):
    made = of_newcomer(plan.Plan("pf_msmtrec", rounds=3, seed=7), run)
    assert made == plan.Plan("local", rounds=3, seed=7, model=SHAPE, init_from=str(run.resolve()))


def test_it_trains_alone_and_the_run_stays_as_it_is(run, dataset, tmp_path):
    before, alone = digest(run), joining.only(dataset, "fr")
    asked = plan.Plan("pf_msmtrec", rounds=1, batch_size=50)
    outcome = loop.train(of_newcomer(asked, run), alone, tmp_path / "joined")
    assert digest(run) == before
    assert list(outcome.summary["test"]) == ["fr"]
    assert run_model.load(run_directory.open_run(tmp_path / "joined"), "fr").config == SHAPE


def test_it_is_resumed_where_the_run_is_gone(run, dataset, tmp_path):
    """By the bits that it comes to with the run there."""
    moved, alone = tmp_path / "moved", joining.only(dataset, "fr")
    shutil.copytree(run, moved)
    asked = plan.Plan("pf_msmtrec", rounds=2, batch_size=50)
    whole = loop.train(of_newcomer(asked, moved), alone, tmp_path / "whole").run
    begun = of_newcomer(dataclasses.replace(asked, rounds=1), moved)
    loop.train(begun, alone, tmp_path / "joined")
    shutil.rmtree(moved)
    more = dataclasses.replace(begun, rounds=2)
    resumed = loop.train(more, alone, tmp_path / "joined", resume=True).run
    assert (resumed.path / "metrics.csv").read_bytes() == (whole.path / "metrics.csv").read_bytes()
    assert resumed.config["plan"] == whole.config["plan"]


def test_what_cannot_join_is_named(run, dataset, tmp_path):
    with pytest.raises(errors.PfrecError, match="has no such scenario; it has es, fr, nl"):
        joining.only(dataset, "uk")
    with pytest.raises(errors.PfrecError, match="was trained with it already"):
        joining.check(run, dataset, "nl")
    other = dataclasses.replace(dataset, schema=dataclasses.replace(dataset.schema, group=None))
    with pytest.raises(
        errors.PfrecError, match=r"not the schema of .*: group is 'session' against None"
    ):
        joining.check(run, other, "fr")
    with pytest.raises(errors.PfrecError, match="has shape"):
        joining.first_values(
            run, {"embedding/item/embedding_item/table": np.zeros([1, 1], np.float32)}
        )
    with pytest.raises(errors.PfrecError, match="share nothing"):
        joining.first_values(run, {"batch_norm/unknown/gamma": np.zeros([1, 1], np.float32)})
