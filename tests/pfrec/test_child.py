"""What is done whole before Ctrl-C interrupts."""

import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from pfrec import child


def test_ctrl_c_interrupts_after_what_is_to_be_whole():
    done = []

    def work():
        with child.uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("inside")
            with child.uninterrupted():
                done.append("further inside")
            done.append("to the end")
        done.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["inside", "further inside", "to the end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_it_leaves_other_handlers_and_threads_as_they_are():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    try:
        with child.uninterrupted():
            signal.raise_signal(signal.SIGINT)
            assert not heard
        assert heard == [1]
    finally:
        signal.signal(signal.SIGINT, before)
    seen = []

    def elsewhere():
        with child.uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_a_child_inherits_that_ctrl_c_is_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with child.uninterrupted():
            started = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        status = pathlib.Path(f"/proc/{started.pid}/status").read_text()
    finally:
        child.stop(started)
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    assert int(ignored.split()[1], 16) & 1 << (signal.SIGINT - 1)
