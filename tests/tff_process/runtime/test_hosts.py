"""What a host keeps in its worker; and Ctrl-C, after which a notebook goes on, leaves no worker
behind that nobody knows of.
"""

import signal
import weakref

import pytest

from tff_process.runtime import hosts, worker_process


def test_a_worker_that_ctrl_c_met_while_it_started_is_ended(tmp_path, monkeypatch):
    started = []

    class Interrupted(worker_process.WorkerProcess):
        def __init__(self, *arguments, **named):
            super().__init__(*arguments, **named)
            started.append(self)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(worker_process, "WorkerProcess", Interrupted)
    host = hosts.LocalHost("the worker", tmp_path / "worker.log", 1, None)
    with pytest.raises(KeyboardInterrupt):
        host.begin()
    assert started[0].running
    host.down()
    assert not started[0].running


def test_ending_a_worker_that_ctrl_c_cuts_off_ends_it(tmp_path, monkeypatch):
    host = hosts.LocalHost("the worker", tmp_path / "worker.log", 1, None)
    host.up()
    process = host._process

    def interrupted():
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(host._remote, "close", interrupted)
    with pytest.raises(KeyboardInterrupt):
        host.down()
    assert not process.running


def test_of_what_is_kept_the_old_value_goes_before_the_new_one_comes():
    class Value:
        """Of a reference that can be watched."""

    class Made(hosts.LocalHost):
        remote = property(lambda host: host)

        def flush(self):
            done.append("flush" if values[0]() is None else "too early")

    def make(there):
        made = Value()
        values.append(weakref.ref(made))
        done.append("make")
        return made

    values, done, host = [], [], Made("the worker", None, 1, None)
    for version in ("one", "one", "two"):
        host.kept("shared", version, make)
    assert done == ["make", "flush", "make"]
    assert host.kept("shared", "two", make) is values[1]()
