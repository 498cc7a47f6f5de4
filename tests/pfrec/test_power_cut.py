"""What a commit names is on the disk before it: whenever the power goes, a run is as it was after
its last complete round.
"""

import itertools
import shutil

import numpy as np

from pfrec import checkpoint, files, run_directory
from tests import power_cut, run_records


def test_a_disk_forgets_what_was_not_synced(tmp_path, monkeypatch):
    """The check itself: without a sync a file is gone, without its own it is empty."""
    root = tmp_path / "disk"
    root.mkdir()
    (root / "before").write_text("before")
    with power_cut.recording(root, monkeypatch) as disk:
        (root / "kept").write_text("kept")
        files.sync(root / "kept")
        files.sync(root)
        (root / "late").write_text("late")
        (root / "before").rename(root / "after")
        disk.left(tmp_path / "left")
    assert sorted(path.name for path in (tmp_path / "left").iterdir()) == ["before", "kept"]
    assert (tmp_path / "left" / "kept").read_text() == "kept"


def test_what_is_written_whole_is_on_the_disk_with_the_directories_above(tmp_path, monkeypatch):
    root = tmp_path / "disk"
    root.mkdir()
    with power_cut.recording(root, monkeypatch) as disk:
        files.write_json(root / "a" / "b" / "c.json", {"x": 1})
        with files.whole_directory(root / "d" / "e") as directory:
            (directory / "f").write_text("f")
        disk.left(tmp_path / "left")
    assert (tmp_path / "left" / "a" / "b" / "c.json").read_text() == '{\n  "x": 1\n}\n'
    assert (tmp_path / "left" / "d" / "e" / "f").read_text() == "f"


def _begun(path):
    run_records.write(path)
    return run_directory.RunDirectory.read(path)


def _state(run, number, scenario):
    """A client's state as its own computation writes it: nothing of it is synced."""
    made = run.path.parent / f"made_{number}"
    checkpoint.save(
        made,
        {"w": np.full(3, number, np.float32)},
        checkpoint.owner(scenario, f"version_{number:05d}"),
    )
    shutil.copytree(made, run.client_path(scenario) / f"version_{number:05d}")


def test_whenever_the_power_goes_the_last_complete_round_is_whole(tmp_path, monkeypatch):
    root = tmp_path / "disk"
    run = _begun(root / "run")
    found, numbers = [], itertools.count()

    def look(disk):
        left = tmp_path / f"left_{next(numbers)}"
        disk.left(left)
        again = run_directory.RunDirectory.read(left / "run")
        rounds = again.rounds()
        for number in rounds:
            saved = again.load(number)
            assert saved.server["common/a"] == number
            np.testing.assert_array_equal(saved.clients["nl"]["w"], [number] * 3)
        found.append(rounds)
        shutil.rmtree(left)

    with power_cut.recording(root, monkeypatch, look):
        for number in (1, 2):
            _state(run, number, "nl")
            state = run_directory.RoundState({"common/a": np.float32(number)}, {}, {})
            run.commit(number, state)
            assert found[-1] == list(range(1, number + 1))
    # It was looked at before, between and after the commits.
    assert [rounds for rounds, _ in itertools.groupby(found)] == [[], [1], [1, 2]]
