"""Who may read what is written, whatever the umask, and who may write."""

import os
import signal
import subprocess
import sys

import pytest

from pfrec import errors, files


@pytest.fixture(params=[0o022, 0o000, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.usefixtures("umask")
def test_what_is_written_is_its_owners_alone(tmp_path):
    files.write_json(tmp_path / "a.json", {})
    assert mode(tmp_path / "a.json") == 0o600
    with files.whole_directory(tmp_path / "d") as directory:
        (directory / "inner").mkdir()
        (directory / "inner" / "shard").write_bytes(b"row")
    assert [mode(tmp_path / name) for name in ("d", "d/inner", "d/inner/shard")] == [
        0o700,
        0o700,
        0o600,
    ]


@pytest.mark.usefixtures("umask")
def test_what_a_server_reads_is_public(tmp_path):
    files.write_json(tmp_path / "a.json", {}, public=True)
    assert mode(tmp_path / "a.json") == 0o644


@pytest.mark.usefixtures("umask")
def test_directories_that_are_missing_are_made_for_their_owner(tmp_path):
    files.write_json(tmp_path / "a" / "b" / "c.json", {})
    assert mode(tmp_path / "a" / "b") == 0o700
    # What is above may hold an export beside it, which a server reads; others write nowhere.
    assert mode(tmp_path / "a") in (0o700, 0o755)
    with files.Lock(tmp_path / "held"):
        assert mode(tmp_path / "held") == 0o700
    with open(tmp_path / "log", "a", opener=files.owners_alone):
        assert mode(tmp_path / "log") == 0o600


@pytest.mark.usefixtures("umask")
def test_a_public_directory_is_reached_through_all_that_was_made_for_it(tmp_path):
    (tmp_path / "own").mkdir(mode=0o700)
    with files.Lock(tmp_path / "own" / "a" / "b", public=True):
        assert [mode(tmp_path / "own" / name) for name in ("a", "a/b")] == [0o755, 0o755]
    assert mode(tmp_path / "own") == 0o700  # What was there stays as it is.


_HOLD = (
    "import pathlib, sys, time; from pfrec import files; "
    "held = files.Lock(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(600)"
)


def test_a_second_process_is_refused_and_a_lock_outlived_by_its_process_is_taken(tmp_path):
    """Killed outright, as by the kernel for want of memory: no clean-up of its own."""
    place = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(place)], stdout=-1) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(errors.PfrecError, match="run: another process is writing it"):
            files.Lock(place)
        other.send_signal(signal.SIGKILL)
    with files.Lock(place):
        assert list(place.iterdir()) == []
        with pytest.raises(errors.PfrecError, match="another process"):
            files.Lock(place)
    files.Lock(place).release()


def test_what_a_kill_left_half_written_does_not_make_a_run_s_directory_full(tmp_path):
    (tmp_path / ".tmp-x").mkdir()
    files.require_empty(tmp_path, besides=["data"])
    with pytest.raises(errors.PfrecError, match="not an empty directory"):
        files.require_empty(tmp_path)


@pytest.mark.parametrize("cut", range(len("2,大阪\n".encode())))
def test_a_last_line_of_a_table_is_left_out_wherever_it_is_cut_short(cut, tmp_path):
    path = tmp_path / "table.csv"
    files.write_csv(path, ("round", "scenario"), [(1, "名,古屋")])
    with path.open("ab") as stream:
        stream.write("2,大阪\n".encode()[:cut])
    assert files.read_csv(path) == [{"round": "1", "scenario": "名,古屋"}]
