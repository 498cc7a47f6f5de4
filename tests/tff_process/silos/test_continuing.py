"""A note of a driver starts the process that carries a silo's state over, once."""

import sys
import time
import types

import pytest

from pfrec import files
from tff_process import plan
from tff_process.runtime import remote
from tff_process.silos import continuing, training

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


def test_a_training_that_goes_on_already_is_left_alone_after_a_restart(tmp_path, note):
    """Version 0 is removed once the training needs it no more."""
    files.write_bytes(note, b"{}")
    (note.parent / "version_00012").mkdir()
    said = []
    watching = continuing.Watch(tmp_path, said.append, [sys.executable, "-S", "-c", FAILS])
    watching.look()
    assert not watching._running
    watching.stop()
    assert said == []


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


class Calls:
    """Stands for the calls on silos: version 0 can be read after some tries."""

    def __init__(self, fails):
        self.fails, self.notes, self.begun = fails, [], []

    def note(self, client, path, content):
        self.notes.append((path, files.parse_json(content)["from"]))

    def begin(self, client, values):
        self.begun.append((client.handle.scenario, values))

    def load(self, client, version):
        assert (client.given, version) == (True, 0)
        self.fails -= 1
        if self.fails >= 0:
            raise remote.WorkError("no such file", lost=False)


def carried_over(monkeypatch, fails):
    """The calls of a training of two silos, of which fr is new."""
    monkeypatch.setattr(training, "_CARRY_SECONDS", 0.2)
    monkeypatch.setattr(training, "_PAUSE_SECONDS", 0.01)
    made = object.__new__(training.SiloTraining)
    made.clients = [
        types.SimpleNamespace(
            handle=types.SimpleNamespace(scenario=name), directory=f"runs/{ID}", given=False
        )
        for name in ("fr", "nl")
    ]
    made.plan = plan.Plan("local")
    made._calls = Calls(fails)
    made._each = lambda numbers, task, what: ([task(made.clients[i]) for i in numbers], {})
    made.carry_over("0" * 16, {"fr": {"a": 1}})
    return made._calls


def test_a_driver_waits_until_version_0_can_be_read(monkeypatch):
    calls = carried_over(monkeypatch, fails=3)
    assert calls.notes == [(f"runs/{ID}/continue.json", "0" * 16)]
    assert calls.begun == [("fr", {"a": 1})]


def test_a_silo_that_does_not_carry_over_is_told(monkeypatch):
    told = "did not carry over its state of training 0000"
    with pytest.raises(remote.WorkError, match=told) as caught:
        carried_over(monkeypatch, fails=10**6)
    # An executor tries no refused call again: the driver waits once.
    assert caught.value.refused
    assert not caught.value.lost
