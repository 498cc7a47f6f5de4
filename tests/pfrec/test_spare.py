"""The tensors of a removed checkpoint stay for the next one's pages of memory, and for nothing
else.
"""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from pfrec import checkpoint, files, run_directory
from tests import run_records
from tff_process.runtime import state_files

VALUES = {"a": np.arange(5, dtype=np.float32)}


def spare(directory):
    return directory / checkpoint.SPARE


def test_a_removed_checkpoint_leaves_its_tensors_until_the_next_one_is_written(tmp_path):
    first, second = tmp_path / "round_00001", tmp_path / "round_00002"
    checkpoint.save(first, VALUES)
    tensors = (first / "state.data-00000-of-00001").stat()
    checkpoint.remove(first)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.SPARE]
    assert (spare(tmp_path).stat().st_ino, spare(tmp_path).stat().st_mode) == (
        tensors.st_ino,
        tensors.st_mode,
    )
    checkpoint.save(second, VALUES, {"b": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["round_00002"]
    np.testing.assert_array_equal(checkpoint.load(second)[0]["a"], VALUES["a"])


def test_of_several_removed_checkpoints_one_stays(tmp_path):
    for number in range(3):
        checkpoint.save(tmp_path / f"round_{number}", VALUES)
    for number in range(3):
        checkpoint.remove(tmp_path / f"round_{number}")
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.SPARE]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_tensors_that_somebody_else_has_too_are_left_to_him(tmp_path, link):
    """A copy by hard links, or a run whose tensors were moved to another disk."""
    made, kept = tmp_path / "made", tmp_path / "kept"
    checkpoint.save(made / "round_1", VALUES)
    kept.mkdir()
    name = "state.data-00000-of-00001"
    if link is os.link:
        os.link(made / "round_1" / name, kept / name)
    else:
        (made / "round_1" / name).rename(kept / name)
        os.symlink(kept / name, made / "round_1" / name)
    content = (kept / name).read_bytes()
    checkpoint.remove(made / "round_1")
    assert not list(made.iterdir())
    assert (kept / name).read_bytes() == content


def test_what_is_half_removed_is_removed(tmp_path):
    """As a kill leaves it, which took the tensors or wrote none."""
    checkpoint.save(tmp_path / "round_1", VALUES)
    (tmp_path / "round_1" / "state.data-00000-of-00001").unlink()
    checkpoint.remove(tmp_path / "round_1")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a[1]", "a?", "a*", "a\\b", "ä b"])
def test_a_directory_is_no_pattern(tmp_path, name):
    """Beside it lies one that it would be a pattern of."""
    for place in (tmp_path / name, tmp_path / "a1", tmp_path / "ab"):
        place.mkdir(exist_ok=True)
        (place / checkpoint.SPARE).write_bytes(b"tensors")
    assert state_files._empty_spare(tf.constant(f"{tmp_path / name}/version_00001")) == 1
    full = {p.parent.name for p in tmp_path.glob(f"*/{checkpoint.SPARE}") if p.stat().st_size}
    assert full == {"a1", "ab"}


def test_the_leftovers_of_a_run_are_its_spares_too(tmp_path):
    run_records.write(tmp_path)
    run = run_directory.RunDirectory.read(tmp_path)
    for number in (1, 2):
        run.commit(number, run_directory.RoundState({}, {"nl": VALUES}, {}))
    run.keep_only([2])
    found = sorted(path.parent.relative_to(tmp_path) for path in tmp_path.rglob(checkpoint.SPARE))
    assert list(map(str, found)) == ["clients/nl", "server"]
    assert run.rounds() == [2]
    # At a training's end nothing else goes that a name of the kind has: another command writes it.
    (tmp_path / f"{files.TEMPORARY_PREFIX}report").write_text("of another command")
    run.remove_spares()
    assert not list(tmp_path.rglob(checkpoint.SPARE))
    assert len(list(tmp_path.glob(f"{files.TEMPORARY_PREFIX}*"))) == 1
    run.keep_only([])
    assert list(tmp_path.rglob(checkpoint.SPARE))
    run.remove_leftovers()
    assert not list(tmp_path.rglob(f"{files.TEMPORARY_PREFIX}*"))
    run.commit(2, run_directory.RoundState({}, {"nl": VALUES}, {}))
    shutil.rmtree(run.client_path("nl") / "version_00002")
    (run.client_path("nl") / "version_00002").write_text("of somebody else")
    run.keep_only([])
    assert not list(run.client_path("nl").iterdir())
