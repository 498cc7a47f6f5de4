"""Commands that tests start end with the process that started them, however that ended."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.integration import commands

_COMMAND = """
import os, subprocess, sys, time
below = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), os.getppid(), below.pid, flush=True)
time.sleep(600)
"""
# In the place of pytest, with a server that has imported nothing.
_TESTS = """
import os, pathlib, socket, sys, time
from tests.integration import preloaded

here, there = socket.socketpair()
served = os.fork()
if not served:
    here.close()
    preloaded._serve(there)
    os._exit(0)
there.close()
server = object.__new__(preloaded.Server)
server._socket = here
place = pathlib.Path(sys.argv[1])
child = server.start("waiting_command", [], directory=place, environment={})
print(served, child.stdout.readline(), flush=True)
time.sleep(600)
"""


def _runs(pid: int) -> bool:
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # where nobody asked for its end yet


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_tests_that_were_killed(
    number: signal.Signals, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "waiting_command.py").write_text(_COMMAND)
    tests = subprocess.Popen(
        [sys.executable, "-c", _TESTS, str(tmp_path)],
        cwd=commands.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tests.stdout is not None
    processes = [int(pid) for pid in tests.stdout.readline().split()]
    try:
        assert [_runs(pid) for pid in processes] == [True] * 4
        tests.send_signal(number)
        tests.wait()
        deadline = time.monotonic() + 20.0
        while any(map(_runs, processes)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert [_runs(pid) for pid in processes] == [False] * 4
    finally:
        tests.kill()
        for pid in filter(_runs, processes):
            os.kill(pid, signal.SIGKILL)
        tests.communicate()
