"""How a command ends."""

import pathlib
import re
import signal
import subprocess
import sys

import pytest

# SIGTERM comes while an object is finalised, where Python drops what is raised.
_SWALLOWED = """
import os, signal, time
from pfrec import command

class Held:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

command.unwind_when_terminated()
try:
    held = Held()
    del held
    time.sleep(60)
finally:
    print("unwound")
"""

_UNWINDING = """
import os, signal, time
from pfrec import command

command.unwind_when_terminated()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
finally:
    time.sleep(1.5)
    os.kill(os.getpid(), signal.SIGTERM)
    print("unwound")
"""

# What is registered first is called last.
_ENDING = """
import atexit, os, signal, time
from pfrec import command

atexit.register(lambda: print(signal.getitimer(signal.ITIMER_REAL)))
command.unwind_when_terminated()
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(60)
"""

# As an extension module of pybind11 does where its initialisation is broken off.
_BROKEN_OFF = """
import os, signal, time
from pfrec import command

def main(argv):
    try:
        os.kill(os.getpid(), signal.NUMBER)
        time.sleep(60)
    except BaseException as error:
        raise ImportError("initialization failed") from error

command.run(main)
"""

# As what reports a package that is not there.
_TAKEN_FOR_MISSING = _BROKEN_OFF.replace(
    "command.run(main)",
    """from pfrec import errors

def reporting(argv):
    try:
        main(argv)
    except ImportError as error:
        raise errors.PfrecError("not installed") from error

command.run(reporting)""",
)

# Of which the second is among its own causes.
_RAISED_AGAIN = """
from pfrec import command

def main(argv):
    try:
        raise KeyError("told") from ImportError("meant")
    except KeyError as error:
        raise error.__cause__

command.run(main)
"""

_FAULTY_CLEANUP = """
import os, signal, time
from pfrec import command

def main(argv):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    finally:
        raise RuntimeError("a fault of its own")

command.run(main)
"""

_HOLDING = """
import atexit, os, signal, tempfile, time
from pfrec import command

def main(argv):
    with tempfile.TemporaryDirectory() as held:
        print(held, flush=True)
        atexit.register(print, "at its end")
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

command.run(main)
"""

_SAYING = """
import logging
import absl.logging
from pfrec import command

def main(argv):
    absl.logging.info("in passing")
    absl.logging.warning("of note")
    logging.getLogger("pfrec").info("our own")
    logging.getLogger("export.checks").warning("of %d", 2)

command.run(main)
"""

_REQUIRING = """
from absl import flags
from pfrec import command

flags.DEFINE_string("data", None, "What is read.", required=True)
command.run(lambda argv: print(flags.FLAGS.data))
"""


def _run(program, *arguments):
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_a_command_that_is_terminated_leaves_nothing_behind():
    done = _run(_HOLDING)

    held, *rest = done.stdout.splitlines()
    assert not pathlib.Path(held).exists()
    assert rest == ["at its end"]
    assert done.returncode == 128 + signal.SIGTERM


def test_a_termination_that_python_dropped_comes_again():
    done = _run(_SWALLOWED)
    assert (done.returncode, done.stdout, done.stderr) == (143, "unwound\n", "")


@pytest.mark.parametrize(
    ("number", "code", "message"), [("SIGTERM", 143, ""), ("SIGINT", 130, "interrupted; what was")]
)
def test_a_signal_that_compiled_code_makes_an_error_of_is_no_traceback(number, code, message):
    for program in (_BROKEN_OFF, _TAKEN_FOR_MISSING):
        done = _run(program.replace("NUMBER", number))
        assert done.returncode == code
        assert done.stderr.startswith(message)
        assert "Traceback" not in done.stderr
        assert "installed" not in done.stderr


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (_RAISED_AGAIN, "ImportError: meant"),
        (_FAULTY_CLEANUP, "RuntimeError: a fault of its own"),
    ],
)
def test_an_error_of_the_programs_own_ends_in_its_traceback(program, message):
    done = _run(program)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert message in done.stderr


def test_what_removes_the_rest_is_not_interrupted():
    done = _run(_UNWINDING)
    assert (done.returncode, done.stdout, done.stderr) == (143, "unwound\n", "")


def test_no_alarm_is_left_for_an_interpreter_that_goes():
    """It would be killed by one where its own end takes more than a second."""
    done = _run(_ENDING)
    assert (done.returncode, done.stdout, done.stderr) == (143, "(0.0, 0.0)\n", "")


def test_what_libraries_say_in_passing_is_shown_where_it_is_asked_for():
    told, asked = _run(_SAYING).stderr, _run(_SAYING, "-v=0").stderr
    for said in ("of note", "our own"):
        assert said in told
        assert said in asked
    assert "in passing" not in told
    assert "in passing" in asked


def test_what_we_log_reads_as_what_we_print():
    library, *ours = _run(_SAYING).stderr.splitlines()
    assert re.fullmatch(r"W\d{4} .*\] of note", library)
    assert ours == ["note: our own", "WARNING: of 2"]


def test_a_flag_that_is_missing_and_a_flagfile_that_is_not_there_are_said_plainly():
    missing, unreadable = _run(_REQUIRING), _run(_REQUIRING, "--flagfile=none.flags")
    assert (missing.returncode, unreadable.returncode) == (1, 1)
    assert missing.stderr == "error: give --data; --help lists the flags\n"
    assert unreadable.stderr.startswith("error: Unable to open flagfile: ")
    assert "'none.flags'" in unreadable.stderr


def test_a_flagfile_that_is_no_text_is_said_plainly(tmp_path):
    (tmp_path / "f").write_bytes(b"--data=\xff\n")
    done = _run(_REQUIRING, f"--flagfile={tmp_path / 'f'}")
    assert done.returncode == 1
    assert done.stderr.startswith("error: --flagfile: holds what is no UTF-8 (")
    assert done.stderr.count("\n") == 1


def test_an_argument_that_is_no_text_is_named():
    done = _run(_REQUIRING, b"--data=r\xfcn")
    assert done.returncode == 1
    assert done.stderr == (
        "error: '--data=r\\udcfcn': is no text in utf-8; rename it, or set LC_ALL=C.UTF-8\n"
    )


_LINES = """
import sys
from pfrec import command

def main(argv):
    for _ in range(100000):
        print("a line", flush=True)

command.run(main, go_on={go_on!r})
"""


def _unread(line: "list[str]") -> "tuple[int, str]":
    """The status of a command whose output nobody reads, and what it says of that."""
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    return process.wait(), said


def test_work_that_ends_as_nobody_reads_on_says_how_to_go_on():
    status, said = _unread([sys.executable, "-c", _LINES.format(go_on="--resume")])
    assert (status, said.count("\n")) == (1, 1)
    assert said.startswith("what reads the output is gone: interrupted; go on with: ")
    assert said.endswith(" --resume\n")


def test_what_only_tells_ends_silently_where_nobody_reads_on():
    assert _unread([sys.executable, "-c", _LINES.format(go_on=None)]) == (1, "")
    assert _unread([sys.executable, "-m", "pfrec.commands.overview", "--help"]) == (1, "")
    assert _unread([sys.executable, "-m", "pfrec.commands.status", "--help"]) == (1, "")
