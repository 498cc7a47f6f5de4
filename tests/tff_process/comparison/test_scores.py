"""Runs of a search are extended, not repeated, and count by the rounds that are asked for."""

import contextlib

import pytest

from pfrec import errors, files, run_directory
from tests import run_records
from tff_process import plan as plan_lib
from tff_process.comparison import compare, entries, runs
from tff_process.training import beginning, checks, loop

VALID = (0.6, 0.5, 0.8, 0.7)


@pytest.fixture
def trained(monkeypatch):
    """Stands for trainings that come to the scores of VALID; what was asked for."""
    asked = []

    def train(plan, dataset, run, *, resume, **others):
        assert resume
        asked.append(plan.rounds)
        for told in others["callbacks"]:
            told.append((run, plan.rounds))
        config = {"plan": plan.to_json(), "algorithm": plan.name}
        rows = [
            (number, "nl", "valid", "ctr", metric, value)
            for number, auc in enumerate(VALID[: plan.rounds], 1)
            for metric, value in (("auc", auc), ("rows", 100), ("positives", 50), ("logloss", 0.5))
        ]
        files.write_csv(run / "metrics.csv", run_directory.METRICS_HEADER, rows)
        summary = {"algorithm": plan.name, "rounds": plan.rounds, "fault": ""}
        run_records.write(run, config, summary)

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(beginning, "check_same", lambda run, plan, dataset: None)
    return asked


def scores(path, rounds):
    entry = entries.Entry.parse("local")
    plan = plan_lib.Plan("local", rounds=rounds)
    (found,) = runs.Runner(None, path, _silent).scores([(entry, plan)])
    return found


def _silent(entry, plan):
    return contextlib.nullcontext(lambda number, score: None)


def test_a_run_is_extended_and_counts_by_its_first_rounds(trained, tmp_path):
    assert scores(tmp_path, 2) == pytest.approx(0.6)
    assert scores(tmp_path, 4) == pytest.approx(0.8)
    # The search is begun again: nothing is trained, and the first rung decides as it did.
    assert scores(tmp_path, 2) == pytest.approx(0.6)
    assert scores(tmp_path, 4) == pytest.approx(0.8)
    assert trained == [2, 4]


def test_a_run_that_was_killed_while_it_was_extended_counts_by_what_it_has(trained, tmp_path):
    scores(tmp_path, 4)
    run = runs.run_path(tmp_path, entries.Entry.parse("local"), 0)
    (run / "summary.json").unlink()
    assert scores(tmp_path, 2) == pytest.approx(0.6)
    assert trained == [4]
    assert scores(tmp_path, 4) == pytest.approx(0.8)
    assert trained == [4, 4]


def test_a_training_of_no_use_is_the_last(trained, tmp_path):
    scores(tmp_path, 2)
    run = runs.run_path(tmp_path, entries.Entry.parse("local"), 0)
    told = files.read_json(run / "summary.json", remedy="")
    files.write_json(run / "summary.json", {**told, "fault": "every prediction is NaN"})
    assert scores(tmp_path, 2) == -1.0


@pytest.mark.parametrize("rounds", [2, 1])
def test_a_finished_run_of_another_plan_does_not_count(trained, tmp_path, monkeypatch, rounds):
    """As one from before a default changed, which would be held against trainings of today."""
    scores(tmp_path, 2)

    def check(run, plan, dataset):
        assert plan.rounds == 2
        raise errors.PfrecError("begun with another plan")

    monkeypatch.setattr(beginning, "check_same", check)
    with pytest.raises(errors.PfrecError, match="begun with another plan"):
        scores(tmp_path, rounds)


def test_a_comparison_extends_its_finished_runs_of_fewer_rounds(trained, tmp_path, monkeypatch):
    """As `pfrec-compare` with more --rounds into the same directory; one of as many is read."""
    monkeypatch.setattr(
        beginning, "check_same", lambda run, *_: run_directory.RunDirectory.read(run)
    )
    monkeypatch.setattr(runs, "read", lambda run, *_: run)
    entry, runner = entries.Entry.parse("local"), runs.Runner(_OneScenario, tmp_path, _silent)
    for rounds in (2, 4, 4):
        runner.compare([(entry, plan_lib.Plan("local", rounds=rounds))])
    assert trained == [2, 4]


class _OneScenario:
    """Stands for a dataset."""

    scenarios = ("nl",)


def test_who_watches_a_run_is_told_of_its_training_alone(trained, tmp_path):
    """Each run has its own, and one that is finished needs none."""
    entry, plan = entries.Entry.parse("local"), plan_lib.Plan("local", rounds=2)
    made, told = [], []

    def watchers(entry, plan, run):
        made.append(entry.name)
        return [told]

    for _ in range(2):
        runs.Runner(None, tmp_path, _silent, callbacks=watchers).scores([(entry, plan)])
    assert told == [(runs.run_path(tmp_path, entry, 0), 2)]
    assert made == ["local"]


def test_what_cannot_be_trained_is_told_before_anything_is(dataset, tmp_path):
    """Of the last entry too, and not of one whose run was begun: that keeps what it has."""
    good, bad = (entries.Entry.parse(f"fedavg:{rule}=private") for rule in ("gate/*", "gat/*"))
    planned = [(entry, plan_lib.Plan("fedavg", sharing=entry.sharing)) for entry in (good, bad)]
    runner = runs.Runner(dataset, tmp_path, _silent)
    told = r"^fedavg:gat/\*=private: sharing gat/\*=private: there is no such group"
    with pytest.raises(errors.PfrecError, match=told):
        runner.check(planned)
    run_records.write(runs.run_path(tmp_path, bad, 0), {"plan": planned[1][1].to_json()}, None)
    runner.check(planned)


def test_each_plan_is_asked_once_for_all_its_seeds(dataset, tmp_path, monkeypatch):
    """An entry whose first seed was begun is still asked for the others."""
    fedavg, local = entries.Entry.parse("fedavg"), entries.Entry.parse("local")
    planned = [
        (entry, plan_lib.Plan(entry.algorithm, seed=seed))
        for entry in (fedavg, local)
        for seed in range(3)
    ]
    run_records.write(runs.run_path(tmp_path, local, 0), {"plan": planned[3][1].to_json()}, None)
    asked = []
    monkeypatch.setattr(checks, "check", lambda plan, *others: asked.append(plan.name))
    runs.Runner(dataset, tmp_path, _silent).check(planned)
    assert asked == ["fedavg", "local"]


def test_a_comparison_trains_nothing_where_one_cannot_be_trained(trained, dataset, tmp_path):
    plans = [plan_lib.Plan("local"), plan_lib.Plan("fedavg", task_weights="cltr=2")]
    with pytest.raises(errors.PfrecError, match=r"^fedavg: .*cltr"):
        compare.compare(plans, dataset, tmp_path / "out")
    assert trained == []
