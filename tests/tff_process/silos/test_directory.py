"""A silo's directory: what a driver is told of it, and what is removed from it."""

import dataclasses
import itertools
import json
import os
import shutil

import pytest

from pfrec import errors, files
from tests import power_cut
from tests.integration import silo_machines
from tff_process.silos import directory as silo_directory
from tff_process.silos import joint_dataset


def facts_of(dataset, tmp_path, scenario):
    return silo_directory.prepare(silo_machines.directories(dataset, tmp_path)[scenario])


def test_facts_hold_the_least_and_come_back(dataset, tmp_path):
    facts = facts_of(dataset, tmp_path, "es")
    written = json.loads((tmp_path / "silo_es" / "silo.json").read_text())
    assert set(written) == {
        "data",
        "format_version",
        "pfrec",
        "scenario",
        "schema",
        "shards",
        "tasks",
        "train_rows",
    }
    assert (facts.scenario, facts.train_rows, facts.tasks) == ("es", 200, ("ctr", "cvr"))
    assert facts.shards["train"] == ("data/es/train-00000-of-00001.tfrecord",)
    assert silo_directory.Facts.from_json(written, place="x") == facts


def test_the_order_of_rows_follows_from_the_secret_and_the_rows(dataset, tmp_path):
    directories = silo_machines.directories(dataset, tmp_path)
    silo = directories["es"]

    def made():
        silo_directory.prepare(silo)
        return (silo / silo_directory.ROWS_SECRET).read_bytes()

    first = made()
    assert made() == first
    assert len(first) == silo_directory.SECRET_BYTES
    assert (silo / silo_directory.ROWS_SECRET).stat().st_mode & 0o777 == 0o600
    told = json.loads((silo / "silo.json").read_text())["data"]
    secret = (silo / silo_directory.SECRET).read_bytes()
    assert first not in (bytes.fromhex(told)[: len(first)], secret)
    shutil.rmtree(silo / "data")
    shutil.copytree(directories["nl"] / "data", silo / "data")
    other = made()
    assert other != first
    (silo / silo_directory.SECRET).write_bytes(secret[::-1])
    third = made()
    assert third not in (first, other)
    # Batches of another size would cut the same order elsewhere.
    silo_directory.prepare(silo, {"batch_size": 64})
    sixties = (silo / silo_directory.ROWS_SECRET).read_bytes()
    silo_directory.prepare(silo, {"batch_size": 63})
    assert len({third, sixties, (silo / silo_directory.ROWS_SECRET).read_bytes()}) == 3


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"format_version": 2},
        {"format_version": 1},
        {"format_version": 1, "scenario": "a"},
    ],
)
def test_what_are_no_facts_is_refused(value):
    with pytest.raises(errors.PfrecError, match=r"^here: "):
        silo_directory.Facts.from_json(value, place="here")


@pytest.mark.parametrize("name", ["pfrec", "format_version"])
def test_what_a_silo_says_of_its_version_is_no_codes_for_a_terminal(dataset, tmp_path, name):
    told = {**facts_of(dataset, tmp_path, "es").to_json(), name: "1.0\x1b[2J"}
    with pytest.raises(errors.PfrecError, match=r"^here: .*'1\.0\\x1b\[2J'"):
        silo_directory.Facts.from_json(told, place="here")


def test_agreed_facts_are_a_dataset_that_plans_as_the_whole_one_does(dataset, tmp_path):
    directories = silo_machines.directories(dataset, tmp_path)
    together = joint_dataset.agreed(
        [silo_directory.prepare(directories[scenario]) for scenario in dataset.scenarios]
    )
    assert together.scenarios == dataset.scenarios
    assert together.schema == dataset.schema
    for scenario in dataset.scenarios:
        assert together.rows(scenario, "train") == dataset.rows(scenario, "train")
        for split in ("train", "valid", "test"):
            assert [
                str(directories[scenario] / path) for path in together.shards(scenario, split)
            ] == [
                str(directories[scenario] / "data" / name[len(str(dataset.path)) + 1 :])
                for name in dataset.shards(scenario, split)
            ]
        for task in dataset.schema.tasks:
            assert (together.observed(scenario, "train", task.name) > 0) == (
                dataset.observed(scenario, "train", task.name) > 0
            )


def test_schemas_that_differ_are_refused(dataset, tmp_path):
    import dataclasses

    one = facts_of(dataset, tmp_path, "es")
    other = dataclasses.replace(
        one, scenario="fr", schema=dataclasses.replace(one.schema, group=None)
    )
    with pytest.raises(errors.PfrecError, match="the silos of 'es' and 'fr' differ: group"):
        joint_dataset.agreed([one, other])


def test_only_rounds_before_the_last_needed_one_are_removed(tmp_path):
    run = tmp_path / "runs" / "abc"
    for number in (1, 2, 3, 4, 5, 6):
        (run / f"version_{number:05d}").mkdir(parents=True)
    (run / "shared").mkdir()
    (run / "keep.json").write_text(silo_directory.kept([5, 2, 5]))
    silo_directory.remove_old(tmp_path)
    # 6 may be under way.
    assert sorted(path.name for path in run.iterdir()) == [
        "keep.json",
        "shared",
        "version_00002",
        "version_00005",
        "version_00006",
    ]


@pytest.mark.parametrize("torn", ["", '{"keep": [1', '{"keep": 3}', "[]", '{"keep": []}'])
def test_a_torn_list_removes_nothing(tmp_path, torn):
    run = tmp_path / "runs" / "abc"
    (run / "version_00001").mkdir(parents=True)
    (run / "keep.json").write_text(torn)
    silo_directory.remove_old(tmp_path)
    assert (run / "version_00001").is_dir()


def test_other_rows_under_the_same_agreement_are_told_once(dataset, tmp_path):
    directories = silo_machines.directories(dataset, tmp_path)
    directory = directories["nl"]
    agreed, warned = {"algorithm": "fedavg"}, []
    for _ in range(2):
        before = silo_directory.prepare(directory, agreed, warned.append)
    assert warned == []
    changed = dataclasses.replace(before, data="0" * 64, train_rows=9)
    told = silo_directory.other_rows(directory, changed)
    assert "other rows than at the last start, under this agreed plan, 9 training rows" in told
    assert f"where there were {before.train_rows:,};" in told
    files.write_json(directory / silo_directory.FACTS, changed.to_json())
    for _ in range(2):
        silo_directory.prepare(directory, agreed, warned.append)
    assert len(warned) == 1
    # Rows that no agreement was made for, or another one, are the first of theirs.
    files.write_json(directory / silo_directory.FACTS, changed.to_json())
    silo_directory.prepare(directory, {"algorithm": "local"}, warned.append)
    assert len(warned) == 1


def test_one_worker_at_a_time(tmp_path):
    lock = silo_directory.Lock(tmp_path)
    with pytest.raises(errors.PfrecError, match="another pfrec-worker serves it"):
        silo_directory.Lock(tmp_path)
    lock.release()
    silo_directory.Lock(tmp_path).release()


def test_trainings_keep_the_schema_that_they_began_with(tmp_path):
    """What lies there tomorrow is not what today's model learned."""
    own = tmp_path / "data" / "nl" / "client_schema.json"
    for path in (own.parent, tmp_path / "runs" / "older"):
        path.mkdir(parents=True)
    own.write_text("today's")
    schemas = silo_directory.KeptSchemas(tmp_path)
    (tmp_path / "runs" / "new").mkdir()
    own.write_text("tomorrow's")
    schemas.keep()
    silo_directory.KeptSchemas(tmp_path).keep()  # of a worker that is started again
    assert (tmp_path / "runs" / "new" / "client_schema.json").read_text() == "today's"
    # Nobody knows on which data it began.
    assert not (tmp_path / "runs" / "older" / "client_schema.json").exists()


def test_what_is_on_the_disk_already_is_not_written_there_again(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(silo_directory.files, "sync", lambda path: done.append(path.name))
    place = tmp_path / "runs" / "0123456789abcdef"
    (place / "version_00001").mkdir(parents=True)
    (place / "version_00001" / "state.npz").write_bytes(b"1")
    synced = silo_directory.Synced(tmp_path)
    synced.sync(place.name)
    assert sorted(done) == sorted(["version_00001", "state.npz", place.name, "runs", tmp_path.name])
    done.clear()
    synced.sync(place.name)
    assert done == []
    (place / "version_00002").mkdir()
    (place / "version_00002" / "state.npz").write_bytes(b"2")
    (tmp_path / "client.json").write_text("{}")
    synced.sync(place.name)
    assert sorted(done) == sorted(
        ["version_00002", "state.npz", place.name, "client.json", tmp_path.name]
    )


def test_what_is_removed_meanwhile_is_not_missed(tmp_path, monkeypatch):
    """pfrec-worker removes old versions while a gatekeeper syncs."""
    done, scandir = [], os.scandir
    monkeypatch.setattr(silo_directory.files, "sync", lambda path: done.append(path.name))
    place = tmp_path / "runs" / "0123456789abcdef"
    for name in ("version_00001", "version_00002"):
        (place / name).mkdir(parents=True)
        (place / name / "state.index").write_bytes(b"1")

    def removing(path):
        if str(path).endswith("version_00001"):
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", removing)
    silo_directory.Synced(tmp_path).sync(place.name)
    assert {"version_00002", "state.index", place.name} <= set(done)
    assert not (place / "version_00001").exists()


@pytest.mark.parametrize("linked", [False, True], ids=["file", "link of an older pfrec"])
def test_a_note_of_a_finished_training_becomes_the_record_whole_or_not_at_all(
    tmp_path, monkeypatch, linked
):
    root = tmp_path / "disk"
    (root / silo_directory.RUNS).mkdir(parents=True)
    record, noted = root / silo_directory.CLIENT, root / silo_directory.FINISHED
    silo_directory.publish(root)
    assert not record.exists()
    if linked:
        record.symlink_to("runs/client.json")
        (root / "runs" / "client.json").write_text('{"run": "before"}')
    else:
        record.write_text('{"run": "before"}')
    with power_cut.recording(root, monkeypatch) as disk:
        # As far as it is written, or was before a kill.
        noted.write_text('{"run": "af')
        silo_directory.publish(root)
        assert json.loads(record.read_text()) == {"run": "before"}
        noted.write_text('{"run": "after"}')
        silo_directory.publish(root)
        assert not noted.exists()
        disk.left(tmp_path / "left")
    for place in (root, tmp_path / "left"):
        assert (place / silo_directory.CLIENT).read_text() == '{"run": "after"}'


def test_a_silo_without_a_gatekeeper_syncs_what_is_there(tmp_path, monkeypatch):
    root = tmp_path / "disk"
    (root / silo_directory.RUNS).mkdir(parents=True)
    synced, left = silo_directory.Synced(root), itertools.count()

    def write(name):
        path = root / silo_directory.RUNS / "0123456789abcdef" / name
        path.mkdir(parents=True)
        (path / "state.index").write_text(name)

    def versions(disk):
        place = tmp_path / f"left_{next(left)}"
        disk.left(place)
        return sorted(path.read_text() for path in place.rglob("state.index"))

    with power_cut.recording(root, monkeypatch) as disk:
        write("version_00001")
        assert versions(disk) == []
        synced.look()
        assert versions(disk) == ["version_00001"]
        write("version_00002")
        synced.look()
        assert versions(disk) == ["version_00001", "version_00002"]
