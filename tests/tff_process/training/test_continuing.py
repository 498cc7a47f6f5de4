"""A run goes on on later data: what is carried over means the same as before."""

import dataclasses
import json
import shutil
import types

import numpy as np
import pytest
import tensorflow as tf

from pfrec import checkpoint, client_directory, errors, files, run_directory, run_model
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models import networks
from tests.conftest import random_rows
from tests.integration import silo_machines
from tests.tff_process.training import weeks
from tff_process.commands import train
from tff_process.runtime import options
from tff_process.silos import continuing as silo_continuing
from tff_process.training import callbacks as callbacks_lib
from tff_process.training import continuing, loop


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two scenarios, ten users, all films."""
    path = tmp_path_factory.mktemp("first")
    data = weeks.write(path / "data", weeks.OLD, weeks.WORDS[:10], weeks.FILMS, 12, seed=0)
    loop.train(weeks.PLAN, data, path / "run")
    return run_directory.open_run(path / "run")


NEW_TRAINING = "fedcba9876543210"


def going_on(finished, **changes):
    return dataclasses.replace(
        weeks.PLAN, rounds=1, init_from=str(finished.path), continues=True, **changes
    )


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """The same scenarios a week later: users in another order, two new and two gone, a new film
    first, more places for users, other statistics.
    """
    path = tmp_path_factory.mktemp("later")
    films = ("film new", *reversed(weeks.FILMS))
    return weeks.write(
        path / "data",
        weeks.NEW,
        (*reversed(weeks.WORDS[2:10]), *weeks.WORDS[10:]),
        films,
        14,
        seed=50,
    )


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
    old = weeks.encoded(raw, weeks.WORDS[:10], weeks.FILMS, weeks.OLD[scenario])
    new = weeks.encoded(
        raw, schema.categorical[0].vocabulary, schema.categorical[1].vocabulary, weeks.NEW[scenario]
    )
    assert (old.categorical != new.categorical).any()
    before = predictions(run_model.load(finished, scenario), old)
    after = predictions(run_model.load(gone_on, scenario, 0), new)
    for task, values in before.items():
        np.testing.assert_allclose(after[task], values, atol=2e-5, err_msg=task)


def test_moments_go_with_their_rows_and_averages_begin_anew(finished, gone_on):
    best = finished.load(finished.summary["best_round"])
    old, new = best.clients["nl"], gone_on.load(0).clients["nl"]
    # All variables are small: one pair of moments, the tables' first; by width 3.
    moments = {"old": old["optimizer/0001"], "new": new["optimizer/0001"]}
    users = {
        "old": (13, list(weeks.WORDS[:10])),
        "new": (15, [*reversed(weeks.WORDS[2:10]), *weeks.WORDS[10:]]),
    }
    tables = {k: moments[k][: 3 * rows].reshape(rows, 3) for k, (rows, _) in users.items()}
    for word in weeks.WORDS[2:10]:
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

    class Kill(callbacks_lib.Callback):
        def before_training(self, **told):
            raise KilledError

    # What they are made by may be asked once alone.
    with pytest.raises(KilledError):
        loop.train(plan, later, tmp_path / "run", callbacks=(hook() for hook in (Kill,)))
    shutil.rmtree(moved)
    made = loop.train(plan, later, tmp_path / "run", resume=True).summary
    assert made["test"] == gone_on.summary["test"]


def test_who_goes_on_with_the_very_rows_of_before_is_warned(
    finished, tmp_path, capsys, monkeypatch
):
    data = dataset_lib.Dataset.open(finished.config["data"])
    train._tell_of_same_rows(finished.path, data, "data")
    assert capsys.readouterr().err == (
        f"WARNING: data: the rows of es, nl are those that {finished.path} was trained on; name "
        f"later ones, or train it for more rounds with --data={data.path.resolve()} "
        f"--output={finished.path} --resume --rounds=N\n"
    )
    over_silos = tmp_path / "over_silos"
    shutil.copytree(finished.path, over_silos)
    files.write_json(over_silos / "config.json", {**finished.config, "data": None})
    given = types.SimpleNamespace(workers=["es=a:1", "nl=b:2"])
    monkeypatch.setattr(train.flags, "FLAGS", given)
    train._tell_of_same_rows(over_silos, data, "--workers")
    assert "with --workers=es=a:1,nl=b:2 --output=" in capsys.readouterr().err
    later = weeks.write(tmp_path / "later", weeks.OLD, weeks.WORDS[:10], weeks.FILMS, 12, seed=80)
    train._tell_of_same_rows(finished.path, later, "data")
    assert capsys.readouterr().err == ""


def test_scenarios_that_are_gone_are_left_and_new_ones_start_from_the_consensus(
    finished, tmp_path, capsys
):
    data = weeks.write(
        tmp_path / "data",
        {"de": (0.0, 1.0), "nl": weeks.OLD["nl"]},
        weeks.WORDS[:10],
        weeks.FILMS,
        12,
        seed=80,
    )
    assert continuing.changed_scenarios(finished, data) == (["es"], ["de"])
    with pytest.raises(errors.PfrecError, match="has no rows of es and new scenarios de"):
        train._check_scenarios(finished.path, data, "refuse", str(data.path))
    train._check_scenarios(finished.path, data, "follow", str(data.path))
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
    assert made.config["new_scenarios"] == ["de"]
    assert not after.clients["de"]["optimizer/0000"].any()
    assert after.clients["nl"]["optimizer/0000"].any()


def test_updates_of_new_scenarios_are_scaled_down_and_not_refused(finished, tmp_path):
    """They are larger than those of who has learned already: all were refused, and none learned.
    Others' are refused as ever, by a bound that whoever is not the smallest is beyond.
    """
    data = weeks.write(
        tmp_path / "data",
        {"de": (0.0, 1.0), **weeks.OLD},
        weeks.WORDS[:10],
        weeks.FILMS,
        12,
        seed=80,
    )
    strict = options.Options(max_update_norm=0.5)
    for resume in (False, True):
        plan = dataclasses.replace(going_on(finished), rounds=2 if resume else 1)
        loop.train(plan, data, tmp_path / "run", options=strict, resume=resume)
        place = tmp_path / f"run/diagnostics/round_{plan.rounds:05d}.json"
        told = json.loads(place.read_text())
        assert set(told["clipped"]) == {"de"}
        assert set(told["refused"]) <= {"es", "nl"}
        assert told["refused"]


@pytest.fixture
def silo(finished, later, tmp_path):
    """The directory of nl's silo: its last training is finished, its rows are the week's, and a
    driver has noted that a training goes on.
    """
    (place,) = silo_machines.directories(later.only(["nl"]), tmp_path).values()
    best = finished.summary["best_round"]
    version = finished.meta(best)["versions"]["nl"]
    old = place / "runs" / finished.identity
    private = finished.private_state("nl", {"nl": version})
    target = old / client_directory.version_name(version)
    checkpoint.save(target, private, checkpoint.owner(finished.identity, target.name))
    files.write_json(old / "client_schema.json", finished.client_schema("nl").to_json())
    record = client_directory.ClientRecord(
        "nl", finished.schema, weeks.SHAPE, 0, finished.identity, best, version, {}
    )
    files.write_json(place / "client.json", record.to_json())
    new = place / "runs" / NEW_TRAINING
    text = silo_continuing.note(finished.identity, going_on(finished).to_json())
    files.write_bytes(new / "continue.json", text.encode())
    return place


def test_a_silo_carries_its_own_state_over_as_a_simulation_does(silo, gone_on):
    silo_continuing.carry_over(silo, NEW_TRAINING)
    place = silo / "runs" / NEW_TRAINING
    values, owner = checkpoint.load(place / "version_00000")
    assert owner == {"of": f"{NEW_TRAINING}/version_00000"}
    expected = gone_on.load(0).clients["nl"]
    assert set(values) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)
    kept = schema_lib.Schema.read(place / "client_schema.json")
    assert kept == gone_on.client_schema("nl")


def test_a_silo_goes_on_from_its_last_finished_training_alone(silo, finished):
    note = silo / "runs" / NEW_TRAINING / "continue.json"
    plan = going_on(finished).to_json()
    files.write_bytes(note, silo_continuing.note("0" * 16, plan).encode())
    with pytest.raises(errors.PfrecError, match=f"finished here is {finished.identity}"):
        silo_continuing.carry_over(silo, NEW_TRAINING)
    wide = going_on(finished, model=dataclasses.replace(weeks.SHAPE, experts=3)).to_json()
    files.write_bytes(note, silo_continuing.note(finished.identity, wide).encode())
    with pytest.raises(errors.PfrecError, match="another model than"):
        silo_continuing.carry_over(silo, NEW_TRAINING)
    files.write_bytes(note, b'{"from": 1}')
    with pytest.raises(errors.PfrecError, match="from is 1, not text"):
        silo_continuing.carry_over(silo, NEW_TRAINING)
    assert not (note.parent / "version_00000").exists()


def test_what_cannot_go_on_is_named(finished, later, dataset, tmp_path):
    def refused(match, plan, data=later):
        with pytest.raises(errors.PfrecError, match=match):
            loop.train(plan, data, tmp_path / "run")

    wide = dataclasses.replace(weeks.SHAPE, experts=3)
    refused("model.experts is 2 against 3", going_on(finished, model=wide))
    refused(
        "'pf_msmtrec' against 'pooled_mmoe'",
        going_on(finished, algorithm="pooled_mmoe", settings=None),
    )
    with pytest.raises(errors.PfrecError, match="in one place, and it goes on there alone"):
        continuing.check(going_on(finished), later, over_silos=True)
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


@pytest.fixture(scope="module")
def pooled(finished, tmp_path_factory):
    """A finished pooled run of the same rows."""
    path = tmp_path_factory.mktemp("pooled") / "run"
    plan = dataclasses.replace(weeks.PLAN, algorithm="pooled_mmoe", settings=None)
    loop.train(plan, finished.dataset, path)
    return run_directory.open_run(path)


def test_a_pooled_run_goes_on_by_what_ids_stand_for(pooled, later, tmp_path):
    plan = dataclasses.replace(going_on(pooled), algorithm="pooled_mmoe", settings=None)
    made = loop.train(plan, later, tmp_path / "run").run
    before, after = pooled.load(pooled.summary["best_round"]).server, made.load(0).server
    films = list(later.schema.categorical[1].vocabulary)
    rows = [*(films.index(film) for film in weeks.FILMS), len(films)]
    tables = [name for name in before if "embedding/item/" in name]
    assert len(tables) == 2  # what is served and what is trained on
    for name in tables:
        np.testing.assert_array_equal(after[name][rows], before[name], err_msg=name)
        assert not np.array_equal(after[name][0], before[name][0])
    moments = [n for n in before if n.startswith("optimizer/") and before[n].shape == (10, 3)]
    assert len(moments) == 2
    for name in moments:
        np.testing.assert_array_equal(after[name][rows], before[name], err_msg=name)
        assert not after[name][0].any(), "a new film has no moments"
    for name, value in before.items():
        if value.shape == after[name].shape and "embedding" not in name:
            np.testing.assert_array_equal(after[name], value, err_msg=name)
    assert made.load(0).meta["averaged"] == 0
    assert made.rounds() == [0, 1]


def test_parts_for_each_scenario_go_on_with_the_same_scenarios_alone(pooled, later):
    def star(run, **changes):
        return dataclasses.replace(going_on(run), algorithm="pooled_star", settings=None, **changes)

    config = {**pooled.config, "algorithm": "pooled_star"}
    files.write_json(pooled.path / "config.json", config)
    try:
        continuing.check(star(pooled), later)
        fewer = later.only(["nl"])
        with pytest.raises(errors.PfrecError, match="pooled_star has parts for each"):
            continuing.check(star(pooled), fewer)
    finally:
        files.write_json(pooled.path / "config.json", pooled.config)


@pytest.mark.parametrize("algorithm", sorted(networks.POOLED))
def test_a_network_says_whether_it_has_parts_for_each_scenario(algorithm, dataset):
    shapes = [
        [variable.shape for variable in network.variables]
        for network in (
            networks.build(algorithm, dataset.schema, weeks.SHAPE, 0, n) for n in (2, 3)
        )
    ]
    assert networks.has_own_parts(algorithm) == (shapes[0] != shapes[1])


def test_a_record_from_before_tower_batch_norm_goes_on_as_what_it_was(finished, later, tmp_path):
    run = tmp_path / "old"
    shutil.copytree(finished.path, run)
    config = json.loads((run / "config.json").read_text())
    del config["model"]["tower_batch_norm"]
    files.write_json(run / "config.json", config)
    old = dataclasses.replace(weeks.SHAPE, tower_batch_norm=True)
    again = run_directory.open_run(run)
    continuing.check(going_on(again, model=old), later)
    with pytest.raises(errors.PfrecError, match=r"model\.tower_batch_norm is True"):
        continuing.check(going_on(again), later)


def test_a_finished_run_is_extended_as_if_it_had_been_as_long_at_once(dataset, tmp_path):
    three = dataclasses.replace(weeks.PLAN, rounds=3)
    whole = loop.train(three, dataset, tmp_path / "whole").summary
    loop.train(weeks.PLAN, dataset, tmp_path / "run")
    made = loop.train(three, dataset, tmp_path / "run", resume=True).summary
    assert {**made, "wall_seconds": 0} == {**whole, "wall_seconds": 0}
    for name in ("metrics.csv", "diagnostics/round_00003.json"):
        one, other = (tmp_path / run / name for run in ("whole", "run"))
        assert one.read_bytes() == other.read_bytes()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["plan"]["rounds"] == 3
    with pytest.raises(errors.PfrecError, match="rounds was 3 and is 2"):
        loop.train(weeks.PLAN, dataset, tmp_path / "run", resume=True)
