"""A note of a driver starts the process that carries a silo's state over, once."""

import sys
import time

import pytest

from pfrec import files
from tff_process.silos import continuing

ID = "0123456789abcdef"
MAKES = (
    "import pathlib, sys; (pathlib.Path(sys.argv[1], 'runs', sys.argv[2], 'version_00000')).mkdir()"
)
FAILS = "raise SystemExit('client.json is damaged')"


@pytest.fixture
def note(tmp_path):
    path = tmp_path / "runs" / ID / "continue.json"
    path.parent.mkdir(parents=True)
    return path


def watch(place, code, note, until):
    """What is said until a condition holds."""
    said = []
    watching = continuing.Watch(place, said.append, [sys.executable, "-S", "-c", code])
    watching.look()
    assert not watching._running
    files.write_bytes(note, b"{}")
    deadline = time.monotonic() + 30
    while not (until(said) and not watching._running):
        watching.look()
        time.sleep(0.02)
        assert time.monotonic() < deadline
    watching.look()
    assert not watching._running, "it is not started again"
    watching.stop()
    return said


def test_a_note_starts_a_process_once(tmp_path, note):
    version = note.parent / "version_00000"
    assert watch(tmp_path, MAKES, note, lambda said: version.exists()) == []


def test_why_it_failed_is_told_to_the_silos_owner(tmp_path, note):
    said = watch(tmp_path, FAILS, note, bool)
    assert said == [f"training {ID} cannot go on from a finished one: client.json is damaged"]


def test_what_runs_ends_with_the_worker(tmp_path, note):
    watching = continuing.Watch(
        tmp_path, print, [sys.executable, "-S", "-c", "import time; time.sleep(60)"]
    )
    files.write_bytes(note, b"{}")
    watching.look()
    (process,) = watching._running.values()
    watching.stop()
    assert process.returncode


def test_a_note_has_no_path_of_the_driver():
    made = files.parse_json(continuing.note(ID, {"init_from": "/home/me/run", "continues": True}))
    assert made == {"from": ID, "plan": {"init_from": "", "continues": True}}
