"""A finished run means what it says: of its own rows, of its own clients, and never nothing."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from export.exporting import build, trained
from pfrec import errors, evaluation, groups, run_directory, run_model
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import writer
from pfrec.models import networks
from tests.conftest import random_rows
from tests.small_model import SHAPE
from tff_process import plan
from tff_process.process import asked_plan
from tff_process.runtime import options
from tff_process.training import loop

PLAN = plan.Plan("pf_msmtrec", rounds=2, aggregations=1, batch_size=50, model=SHAPE)


def write(path, schema, seed=0, shift=None):
    """A dataset; with `shift`, its clients normalise prices, each by a mean of its own."""
    clients = {}
    if shift is not None:
        price, age = schema.numerical
        agreed = dataclasses.replace(price, default=None, normalise="standard")
        schema = dataclasses.replace(schema, numerical=(agreed, age))
        for number, scenario in enumerate(("es", "fr", "nl")):
            known = dataclasses.replace(agreed, default=0.0, shift=shift + number, scale=2.0)
            clients[scenario] = dataclasses.replace(schema, numerical=(known, age))
    with writer.DatasetWriter(path, schema, source_format="test", split_seed=0) as target:
        for number, scenario in enumerate(("es", "fr", "nl")):
            for offset, split in enumerate(("train", "valid", "test")):
                rows = random_rows(schema, 60, seed + 10 * number + offset)
                target.add(scenario, split, rows)
        target.describe_clients(clients)
    return dataset_lib.Dataset.open(path)


def test_an_export_means_what_was_trained_whatever_was_converted_since(schema, tmp_path):
    loop.train(PLAN, write(tmp_path / "data", schema, shift=3.0), tmp_path / "run")
    before = trained.Run(tmp_path / "run").trained("nl", 8)
    assert before.schema.numerical[0].shift == 5.0
    assert not before.stand_in
    shutil.rmtree(tmp_path / "data")
    tomorrow = write(tmp_path / "data", schema, seed=7, shift=30.0)
    after = trained.Run(tmp_path / "run").trained("nl", 8)
    assert after.schema == before.schema
    assert after.stand_in  # not the new rows, of whose ids the model knows nothing
    for task, values in before.predict(before.requests()).items():
        np.testing.assert_array_equal(after.predict(before.requests())[task], values)
    with pytest.raises(errors.PfrecError, match="ids and numbers of es, fr, nl mean something"):
        trained.Run(tmp_path / "run", tmp_path / "data")
    with pytest.raises(errors.PfrecError, match="begun on other rows of es, fr, nl than"):
        loop.train(PLAN, tomorrow, tmp_path / "run", resume=True)


def test_a_run_may_be_moved_and_goes_on(schema, tmp_path):
    """With letters that are not ASCII in both places."""
    data = write(tmp_path / "één" / "dätä", schema)
    whole = loop.train(PLAN, data, tmp_path / "whole").summary
    one_round = dataclasses.replace(PLAN, rounds=2)

    class KilledError(Exception):
        pass

    def kill(number, score):
        raise KilledError

    with pytest.raises(KilledError):
        loop.train(one_round, data, tmp_path / "één" / "rün", progress=kill)
    (tmp_path / "één").rename(tmp_path / "zwölf")
    moved = dataset_lib.Dataset.open(tmp_path / "zwölf" / "dätä")
    done = loop.train(PLAN, moved, tmp_path / "zwölf" / "rün", resume=True).summary
    assert done["test"] == whole["test"]
    config = json.loads((tmp_path / "zwölf" / "rün" / "config.json").read_text())
    assert config["data"] == str((tmp_path / "zwölf" / "dätä").resolve())


def test_a_client_that_had_not_trained_by_the_best_round_has_a_model(dataset, tmp_path):
    settings = dataclasses.replace(PLAN, participation=0.34, rounds=1)
    made = loop.train(settings, dataset, tmp_path / "run")
    run = run_directory.open_run(tmp_path / "run")
    assert sorted(run.meta(1)["versions"].values()) == [0, 0, 1]
    for scenario in run.scenarios:
        assert trained.Run(tmp_path / "run").trained(scenario, 4).predict
    assert made.summary["fault"] == ""


def test_a_run_that_was_begun_by_a_rule_of_no_group_goes_on(dataset, tmp_path, monkeypatch):
    asked = dataclasses.replace(PLAN, sharing=(("embeding/*", "private"),), rounds=1)
    with pytest.raises(errors.PfrecError, match="there is no such group"):
        loop.train(asked, dataset, tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()
    with monkeypatch.context() as unchecked:  # As runs were begun once.
        unchecked.setattr(asked_plan, "check", lambda plan, schema: None)
        loop.train(asked, dataset, tmp_path / "run")
    longer = dataclasses.replace(asked, rounds=2)
    assert loop.train(longer, dataset, tmp_path / "run", resume=True).summary["rounds"] == 2


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    """A run that tests make their copies of."""
    return loop.train(PLAN, dataset, tmp_path_factory.mktemp("finished") / "run").run


def test_the_state_of_another_client_is_not_taken(finished, tmp_path):
    shutil.copytree(finished.path, tmp_path / "run")
    clients = tmp_path / "run" / "clients"
    shutil.rmtree(clients / "nl" / "version_00002")
    shutil.copytree(clients / "es" / "version_00002", clients / "nl" / "version_00002")
    run = run_directory.open_run(tmp_path / "run")
    run_model.load(run, "es", 2)
    with pytest.raises(errors.PfrecError, match="is not the state that belongs to this"):
        run_model.load(run, "nl", 2)


def test_a_resumed_run_goes_back_behind_the_state_of_another_client(
    finished, dataset, tmp_path, caplog
):
    shutil.copytree(finished.path, tmp_path / "run")
    whole = (tmp_path / "run" / "metrics.csv").read_bytes()
    clients = tmp_path / "run" / "clients"
    shutil.rmtree(clients / "nl" / "version_00002")
    shutil.copytree(clients / "nl" / "version_00001", clients / "nl" / "version_00002")
    loop.train(PLAN, dataset, tmp_path / "run", resume=True)
    assert "round 2 cannot be used" in caplog.text
    assert "nl/version_00002: is not the state that belongs to this run's round" in caplog.text
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == whole


def test_a_run_whose_server_never_changed_says_why_and_is_not_exported(dataset, tmp_path):
    made = loop.train(PLAN, dataset, tmp_path / "run", options=options.Options(min_clients=9))
    assert "nothing was trained" in made.summary["fault"]
    assert "--min_clients" in made.summary["fault"]
    with pytest.raises(errors.PfrecError, match="nothing was trained"):
        trained.Run(tmp_path / "run")


def test_a_run_whose_every_update_was_refused_says_so(dataset, tmp_path):
    made = loop.train(dataclasses.replace(PLAN, learning_rate=1e30), dataset, tmp_path / "run")
    assert "nothing was trained" in made.summary["fault"]
    assert "the update of nl was refused" in made.summary["fault"]
    assert "not finite" in made.summary["fault"]


@pytest.mark.parametrize("algorithm", ["pf_msmtrec", "fedavg"])
def test_a_scenario_without_a_task_has_no_part_in_it(schema, tmp_path, algorithm):
    with writer.DatasetWriter(
        tmp_path / "data", schema, source_format="test", split_seed=0
    ) as target:
        for number, scenario in enumerate(("es", "fr", "nl")):
            for offset, split in enumerate(("train", "valid", "test")):
                rows = random_rows(schema, 60, 10 * number + offset)
                if scenario == "fr":
                    rows.labels[:, 1] = 255
                target.add(scenario, split, rows)
    data = dataset_lib.Dataset.open(tmp_path / "data")
    settings = dataclasses.replace(PLAN, algorithm=algorithm, settings=None, rounds=1)
    summary = loop.train(settings, data, tmp_path / "run").summary
    assert summary["test"]["fr"]["cvr"] == {
        **dict.fromkeys(("auc", "gauc", "logloss", "ece")),
        **{"rows": 0, "positives": 0, "served": False},
    }
    assert summary["test"]["nl"]["cvr"]["rows"] > 0
    told = (tmp_path / "run" / "metrics.csv").read_text()
    assert ",fr,test,cvr," not in told
    assert ",fr,test,ctr," in told
    assert ",nl,test,cvr," in told
    exported = trained.Run(tmp_path / "run")
    model = exported.trained("fr", 8)
    assert model.served.tasks() == ["ctr"]
    assert list(model.predict(model.requests())) == ["ctr"]
    assert model.rows.labels.shape == (8, 1)
    with pytest.raises(errors.PfrecError, match="nl and fr serve different tasks"):
        trained.RoutedModels((exported.trained("nl", 8), model))
    build.build(model, "fr", tmp_path / "served")
    assert evaluation.evaluate(tmp_path / "run")["fr"]["cvr"]["served"] is False
    run = run_directory.open_run(tmp_path / "run")
    server = run.load(1).server
    where = "personal" if algorithm == "pf_msmtrec" else "common"
    towers = [name for name in server if name.startswith(f"{where}/tower/cvr")]
    assert towers
    if algorithm == "pf_msmtrec":
        first = {item.name: item.variable.numpy() for item in groups.tag(_network(run))}
        for name in towers:
            np.testing.assert_array_equal(server[name][1], first[name.partition("/")[2]])
            assert not np.array_equal(server[name][0], server[name][1])


def _network(run):
    return networks.build("pf_msmtrec", run.schema, SHAPE, run.config["seed"], 3)


def test_the_state_of_another_run_of_the_same_scenario_and_version_is_not_taken(
    finished, dataset, tmp_path
):
    shutil.copytree(finished.path, tmp_path / "run")
    loop.train(dataclasses.replace(PLAN, seed=1), dataset, tmp_path / "other")
    run = run_directory.open_run(tmp_path / "run")
    best = run.summary["best_round"]
    place = pathlib.PurePath("clients", "nl", f"version_{best:05d}")
    shutil.rmtree(tmp_path / "run" / place)
    shutil.copytree(tmp_path / "other" / place, tmp_path / "run" / place)
    told = f"nl/version_{best:05d}: is not the state that belongs"
    with pytest.raises(errors.PfrecError, match=told):
        run_model.load(run, "nl")
    with pytest.raises(errors.PfrecError, match=told):
        run.load(best)
    assert run_model.load(run, "fr") is not None
