"""Clients finish what they serve: after the last round, on their own, and for whoever reads the
run.
"""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest

from pfrec import checkpoint, errors, evaluation, groups, metrics, run_directory, run_model
from tests.small_model import SHAPE
from tff_process import plan as plan_lib
from tff_process.runtime import cache, clients, options
from tff_process.training import loop, runtimes

BASE = plan_lib.Plan("ditto", rounds=2, aggregations=1, batch_size=50, model=SHAPE)
PLAN = dataclasses.replace(BASE, home_epochs=3.0)


@pytest.fixture(scope="module")
def two(dataset):
    return dataclasses.replace(dataset, scenarios=("nl", "es"))


@pytest.fixture(scope="module")
def runs(two, tmp_path_factory):
    """Without and with finishing."""
    path = tmp_path_factory.mktemp("runs")
    plans = {"plain": BASE, "finished": PLAN}
    return [loop.train(plan, two, path / name).run for name, plan in plans.items()]


def values(run, scenario, **how):
    network = run_model.load(run, scenario, **how)
    return {item.name: item.variable.numpy() for item in groups.tag(network)}


def differing(one, other):
    assert set(one) == set(other)
    return [name for name in one if not np.array_equal(one[name], other[name])]


def test_what_is_finished_never_reaches_the_server_nor_the_next_round(runs):
    plain, finished = runs
    best = finished.summary["best_round"]
    assert best == plain.summary["best_round"]
    assert plain.rounds() == finished.rounds()
    for number in plain.rounds():
        one, other = (run.load(number) for run in runs)
        assert not differing(one.server, other.server)
        for scenario in plain.scenarios:
            assert not differing(one.clients[scenario], other.clients[scenario])
            for how in ({"round_number": number}, {"round_number": number, "received": True}):
                assert not differing(*(values(run, scenario, **how) for run in runs))
    rows = [
        [row for row in (run.path / "metrics.csv").read_text().splitlines() if ",test," not in row]
        for run in runs
    ]
    assert rows[0] == rows[1]


def test_the_finished_model_is_what_is_evaluated_and_loaded(runs):
    plain, finished = runs
    assert run_directory.FINISHED not in plain.summary
    assert set(finished.summary[run_directory.FINISHED]) == {"nl", "es"}
    assert any(differing(values(plain, name), values(finished, name)) for name in ("nl", "es"))
    assert finished.summary["test"] != plain.summary["test"]
    for scenario, tasks in evaluation.evaluate(finished.path).items():
        for task, cell in tasks.items():
            told = finished.summary["test"][scenario][task]
            assert cell["auc"] == pytest.approx(told["auc"], abs=1e-3)


def test_a_run_that_was_killed_finishes_to_the_same_bits(runs, two, tmp_path):
    run, again = runs[1], tmp_path / "run"
    shutil.copytree(run.path, again)
    (again / "summary.json").unlink()
    name = f"finished_{run.summary['best_round']:05d}"
    shutil.rmtree(again / "clients" / "nl" / name)
    stale = again / "clients" / "es" / "finished_00009"
    shutil.copytree(run.client_path("es") / name, stale)
    resumed = loop.train(PLAN, two, again, resume=True)
    assert not stale.exists()
    assert resumed.summary["test"] == run.summary["test"]
    for scenario in run.scenarios:
        assert not differing(values(run, scenario), values(resumed.run, scenario))


def test_a_model_that_another_run_finished_is_refused(runs, tmp_path):
    run, moved = runs[1], tmp_path / "run"
    shutil.copytree(run.path, moved)
    name = f"finished_{run.summary['best_round']:05d}"
    place = moved / "clients" / "nl" / name
    checkpoint.save(place, {"x": np.zeros(1, np.float32)}, checkpoint.owner("nl", name))
    with pytest.raises(errors.PfrecError, match="put the run's own back"):
        run_model.load(run_directory.open_run(moved), "nl")
    shutil.rmtree(place)
    with pytest.raises(errors.PfrecError, match=r"summary.json, and .*--resume finishes it anew"):
        run_model.load(run_directory.open_run(moved), "nl")


def test_what_a_skipped_client_left_half_written_is_not_served(runs, two, tmp_path, monkeypatch):
    plain, run = runs
    again, name = tmp_path / "run", f"finished_{run.summary['best_round']:05d}"
    shutil.copytree(run.path, again)
    (again / "summary.json").unlink()
    cells = np.zeros((len(two.schema.tasks), len(metrics.METRICS)))

    def finish(calls, client, incoming, work, functions, path, tells):
        place = pathlib.Path(path)
        checkpoint.save(place, dict(values(run, "nl")), checkpoint.owner("nl", name))
        if client.handle.scenario == "es":
            (place / checkpoint.META).write_text("")
            raise errors.PfrecError("no space left")
        return cells

    monkeypatch.setattr(clients.ClientCalls, "finish", finish)
    monkeypatch.setattr(cache, "at_the_end", lambda traced, record, names: {})
    how = options.Options(on_client_failure="skip")
    resumed = loop.train(PLAN, two, again, resume=True, options=how)

    assert set(resumed.summary[run_directory.FINISHED]) == {"nl"}
    assert {cell["rows"] for cell in resumed.summary["test"]["es"].values()} == {None}
    opened = run_directory.open_run(again)
    assert not differing(values(opened, "es"), values(plain, "es"))
    assert not differing(values(opened, "nl"), values(run, "nl"))


@pytest.mark.parametrize(
    ("how", "named"),
    [
        (options.Options(runtime="reference"), "--runtime=reference"),
        (options.Options(workers={"nl": "localhost:1"}), "--workers"),
    ],
)
def test_where_nobody_finishes_it_is_refused(how, named):
    with pytest.raises(errors.PfrecError, match=f"--home_epochs and {named}"):
        runtimes.require_together(PLAN, how)
