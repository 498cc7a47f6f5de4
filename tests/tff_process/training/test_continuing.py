"""A run goes on on later data: what is carried over means the same as before."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pfrec import errors, files, run_directory
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block, writer
from pfrec.models.config import ModelConfig
from tests.conftest import random_rows
from tff_process import plan as plan_lib
from tff_process.commands import train
from tff_process.runtime import options
from tff_process.training import continuing, loop

SHAPE = ModelConfig(embedding_dim=3, numeric_dim=2, experts=2, expert_units=(4,), tower_units=(3,))
PLAN = plan_lib.Plan("pf_msmtrec", rounds=2, aggregations=2, batch_size=50, model=SHAPE)
WORDS = tuple(f"user {number}" for number in range(12))
FILMS = tuple(f"film {number}" for number in range(9))
# By scenario, what its prices are normalised by: mean and deviation.
OLD = {"nl": (0.0, 1.0), "es": (0.5, 2.0)}
NEW = {"nl": (1.0, 3.0), "es": (0.5, 2.0)}


def agreed(users, films):
    return schema_lib.Schema(
        categorical=(
            schema_lib.Categorical("user", users, "private", "local_vocabulary"),
            schema_lib.Categorical("item", len(films), "shared", "vocabulary", films),
        ),
        numerical=(
            schema_lib.Numerical("price", None, "standard"),
            schema_lib.Numerical("age"),
        ),
        tasks=(schema_lib.Task("ctr", "click"), schema_lib.Task("cvr", "conversion", given="ctr")),
        group="session",
    )


def encoded(rows, users, films, statistics):
    """Rows whose ids are places in WORDS and FILMS, by other vocabularies and statistics."""
    users, films = list(users), list(films)
    ids = np.stack(
        [
            [users.index(WORDS[i]) if WORDS[i] in users else -2 for i in rows.categorical[:, 0]],
            [films.index(FILMS[i]) for i in rows.categorical[:, 1]],
        ],
        axis=1,
    )
    mean, deviation = statistics
    price = (rows.numerical[:, 0] - mean) / deviation
    numbers = np.stack([price, rows.numerical[:, 1]], axis=1).astype(np.float32)
    return row_block.Rows(ids.astype(np.int32), numbers, rows.labels, rows.group)


def write(path, scenarios, users, films, cardinality, seed):
    """A dataset of the raw rows of some scenarios, each with its users and statistics."""
    plain = schema_lib.Schema(
        (schema_lib.Categorical("user", 12), schema_lib.Categorical("item", 9)),
        (schema_lib.Numerical("price"), schema_lib.Numerical("age")),
        (schema_lib.Task("ctr", "click"), schema_lib.Task("cvr", "conversion", given="ctr")),
        "session",
    )
    shared, clients = agreed(cardinality, films), {}
    with writer.DatasetWriter(path, shared, source_format="test", split_seed=0) as target:
        for number, (scenario, statistics) in enumerate(scenarios.items()):
            own = dataclasses.replace(shared.categorical[0], vocabulary=users)
            mean, deviation = statistics
            price = dataclasses.replace(
                shared.numerical[0], default=mean, shift=mean, scale=deviation
            )
            clients[scenario] = dataclasses.replace(
                shared,
                categorical=(own, shared.categorical[1]),
                numerical=(price, shared.numerical[1]),
            )
            for offset, split in enumerate(("train", "valid", "test")):
                rows = random_rows(plain, 120, seed + 10 * number + offset)
                known = [WORDS[i] in users for i in rows.categorical[:, 0]]
                target.add(
                    scenario, split, encoded(rows.take(np.array(known)), users, films, statistics)
                )
        target.describe_clients(clients)
    return dataset_lib.Dataset.open(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two scenarios, ten users, all films."""
    path = tmp_path_factory.mktemp("first")
    data = write(path / "data", OLD, WORDS[:10], FILMS, 12, seed=0)
    loop.train(PLAN, data, path / "run")
    return run_directory.open_run(path / "run")


def going_on(finished, **changes):
    return dataclasses.replace(
        PLAN, rounds=1, init_from=str(finished.path), continues=True, **changes
    )


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """The same scenarios a week later: users in another order, two new and two gone, a new film
    first, more places for users, other statistics.
    """
    path = tmp_path_factory.mktemp("later")
    films = ("film new", *reversed(FILMS))
    return write(path / "data", NEW, (*reversed(WORDS[2:10]), *WORDS[10:]), films, 14, seed=50)


@pytest.fixture(scope="module")
def gone_on(finished, later, tmp_path_factory):
    path = tmp_path_factory.mktemp("second") / "run"
    loop.train(going_on(finished), later, path)
    return run_directory.open_run(path)


def predictions(model, rows):
    answers = model(
        {
            "categorical": tf.constant(rows.categorical),
            "numerical": tf.constant(rows.numerical),
        },
        training=False,
    )
    return {task: value.numpy() for task, value in answers.items()}


@pytest.mark.parametrize("scenario", ["nl", "es"])
def test_round_0_answers_as_the_run_did(finished, gone_on, later, scenario):
    """To raw rows of users and films that both know, by every id and number in its new meaning."""
    schema = later.client_schema(scenario)
    plain = dataclasses.replace(
        schema,
        categorical=(schema_lib.Categorical("u", 8), schema_lib.Categorical("i", 9)),
        numerical=(schema_lib.Numerical("price"), schema_lib.Numerical("age")),
    )
    raw = random_rows(plain, 60, seed=99)
    raw.categorical[:, 0] += 2  # users that both know
    old = encoded(raw, WORDS[:10], FILMS, OLD[scenario])
    new = encoded(
        raw, schema.categorical[0].vocabulary, schema.categorical[1].vocabulary, NEW[scenario]
    )
    assert (old.categorical != new.categorical).any()
    before = predictions(finished.load_model(scenario), old)
    after = predictions(gone_on.load_model(scenario, 0), new)
    for task, values in before.items():
        np.testing.assert_allclose(after[task], values, atol=2e-5, err_msg=task)


def test_moments_go_with_their_rows_and_averages_begin_anew(finished, gone_on):
    best = finished.load(finished.summary["best_round"])
    old, new = best.clients["nl"], gone_on.load(0).clients["nl"]
    # All variables are small: one pair of moments, the tables' first; by width 3.
    moments = {"old": old["optimizer/0001"], "new": new["optimizer/0001"]}
    users = {"old": (13, list(WORDS[:10])), "new": (15, [*reversed(WORDS[2:10]), *WORDS[10:]])}
    tables = {k: moments[k][: 3 * rows].reshape(rows, 3) for k, (rows, _) in users.items()}
    for word in WORDS[2:10]:
        own = [tables[k][users[k][1].index(word)] for k in ("old", "new")]
        np.testing.assert_array_equal(*own, err_msg=word)
    assert not tables["new"][8:14].any()
    assert tables["new"][:8].any()
    assert new["optimizer/0002"] == old["optimizer/0002"] > 0
    assert (old["averaged"], new["averaged"]) == (4.0, 0.0)
    assert gone_on.load(0).server["round"] == 0


def test_the_run_trains_on_in_both_runtimes_alike(finished, later, gone_on, tmp_path):
    assert gone_on.summary["changed_rounds"] == 1
    assert gone_on.rounds() == [0, 1]
    pure = options.Options(runtime="reference")
    made = loop.train(going_on(finished), later, tmp_path / "pure", options=pure).summary
    for scenario, tasks in made["test"].items():
        for task, cell in tasks.items():
            other = gone_on.summary["test"][scenario][task]
            assert cell["auc"] == pytest.approx(other["auc"], abs=1e-4)


def test_a_run_that_was_killed_goes_on_from_its_own_round_0(finished, later, gone_on, tmp_path):
    """The finished run may be gone by then."""
    moved = tmp_path / "before"

    shutil.copytree(finished.path, moved)
    plan = dataclasses.replace(going_on(finished), init_from=str(moved))

    class KilledError(Exception):
        pass

    def kill(**told):
        raise KilledError

    hook = type("Hook", (), {"before_training": staticmethod(kill)})()
    with pytest.raises(KilledError):
        loop.train(plan, later, tmp_path / "run", callbacks=[hook])
    shutil.rmtree(moved)
    made = loop.train(plan, later, tmp_path / "run", resume=True).summary
    assert made["test"] == gone_on.summary["test"]


def test_scenarios_that_are_gone_are_left_and_new_ones_start_from_the_consensus(
    finished, tmp_path, capsys
):
    data = write(
        tmp_path / "data", {"de": (0.0, 1.0), "nl": OLD["nl"]}, WORDS[:10], FILMS, 12, seed=80
    )
    assert continuing.changed_scenarios(finished, data) == (["es"], ["de"])
    with pytest.raises(errors.PfrecError, match="has no rows of es and has new scenarios de"):
        train._check_scenarios(finished.path, data, "refuse")
    train._check_scenarios(finished.path, data, "follow")
    assert "WARNING" in capsys.readouterr().err
    loop.train(going_on(finished), data, tmp_path / "run")
    made = run_directory.open_run(tmp_path / "run")
    assert list(made.summary["test"]) == ["de", "nl"]
    before, after = finished.load(finished.summary["best_round"]), made.load(0)
    old, new = finished.scenarios.index("nl"), made.scenarios.index("nl")
    for name, value in before.server.items():
        part, _, variable = name.partition("/")
        if part == "personal":
            np.testing.assert_array_equal(after.server[name][new], value[old], err_msg=name)
            consensus = before.server[f"consensus/{variable}"]
            np.testing.assert_array_equal(after.server[name][1 - new], consensus, err_msg=name)
    assert not after.clients["de"]["optimizer/0000"].any()
    assert after.clients["nl"]["optimizer/0000"].any()


def test_what_cannot_go_on_is_named(finished, later, dataset, tmp_path):
    def refused(match, plan, data=later):
        with pytest.raises(errors.PfrecError, match=match):
            loop.train(plan, data, tmp_path / "run")

    wide = dataclasses.replace(SHAPE, experts=3)
    refused("model.experts is 2 against 3", going_on(finished, model=wide))
    refused("is pooled", going_on(finished, algorithm="pooled_mmoe", settings=None))
    refused(
        "algorithm is 'pf_msmtrec' against 'fedavg'",
        going_on(finished, algorithm="fedavg", settings=None),
    )
    refused("sharing has 0 entries against 1", going_on(finished, sharing=(("gate/*", "private"),)))
    refused("not the columns and tasks", going_on(finished), dataset)
    unknown = dataclasses.replace(later, scenarios=("xx",))
    with pytest.raises(errors.PfrecError, match="none of the scenarios"):
        continuing.check(going_on(finished), unknown)
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_record_from_before_tower_batch_norm_goes_on_as_what_it_was(finished, later, tmp_path):
    run = tmp_path / "old"
    shutil.copytree(finished.path, run)
    config = json.loads((run / "config.json").read_text())
    del config["model"]["tower_batch_norm"]
    files.write_json(run / "config.json", config)
    old = dataclasses.replace(SHAPE, tower_batch_norm=True)
    again = run_directory.open_run(run)
    continuing.check(going_on(again, model=old), later)
    with pytest.raises(errors.PfrecError, match=r"model\.tower_batch_norm is True"):
        continuing.check(going_on(again), later)


def test_a_finished_run_is_extended_as_if_it_had_been_as_long_at_once(dataset, tmp_path):
    three = dataclasses.replace(PLAN, rounds=3)
    whole = loop.train(three, dataset, tmp_path / "whole").summary
    loop.train(PLAN, dataset, tmp_path / "run")
    made = loop.train(three, dataset, tmp_path / "run", resume=True).summary
    assert {**made, "wall_seconds": 0} == {**whole, "wall_seconds": 0}
    for name in ("metrics.csv", "diagnostics/round_00003.json"):
        one, other = (tmp_path / run / name for run in ("whole", "run"))
        assert one.read_bytes() == other.read_bytes()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["plan"]["rounds"] == 3
    with pytest.raises(errors.PfrecError, match="rounds was 3 and is 2"):
        loop.train(PLAN, dataset, tmp_path / "run", resume=True)


def test_a_run_that_is_being_extended_is_not_finished(tmp_path):
    files.write_json(tmp_path / "summary.json", {})
    run = run_directory.RunDirectory(tmp_path, {"plan": {"rounds": 2}})
    run.extended_to({"rounds": 5})
    assert not (tmp_path / "summary.json").exists()
    assert json.loads((tmp_path / "config.json").read_text())["plan"] == {"rounds": 5}
