"""A process in a sandbox reads what is named, writes where that is said, and nothing else."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from pfrec import errors
from tff_process.runtime import sandbox

# Tries each of `[how, path]` and prints what came of it.
PROGRAM = """
import json, os, pathlib, signal, sys
def tried(how, path):
    try:
        if how == "read":
            return pathlib.Path(path).read_text()
        if how == "write":
            return pathlib.Path(path).write_text("new")
        if how == "list":
            return os.listdir(path)
        if how == "remove":
            return pathlib.Path(path).unlink()
        if how == "signal":
            return os.kill(os.getppid(), 0)
        return os.mkdir(path)
    except OSError as error:
        return type(error).__name__
print(json.dumps([[tried(*task) for task in json.loads(sys.argv[1])], dict(os.environ)]))
"""


@pytest.fixture
def place(tmp_path):
    """A silo's directory, with another one beside it."""
    for name in ("data", "runs", "tls"):
        (tmp_path / name).mkdir()
    (tmp_path / "data" / "rows").write_text("rows")
    (tmp_path / "tls" / "key.pem").write_text("key")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "ledger.jsonl").write_text("ledger")
    return tmp_path


def made(readable, writable):
    prefixes = [pathlib.Path(sys.base_prefix), pathlib.Path(sys.prefix)]
    program = pathlib.Path(sys.executable).resolve()
    try:
        return sandbox.Sandbox(program, [*prefixes, *readable], writable)
    except errors.PfrecError as error:
        if "has no sandbox" in str(error):
            pytest.skip(str(error))
        raise


def run(tasks, limits, given):
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            PROGRAM,
            json.dumps([[how, str(path)] for how, path in tasks]),
        ],
        preexec_fn=limits.enter,
        env=sandbox.environment(given),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def test_it_reads_what_is_named_and_writes_in_one_place(place):
    limits = made([place / "data", place / "secret"], [place / "runs"])
    tasks = {
        ("read", place / "data" / "rows"): "rows",
        ("list", place / "data"): ["rows"],
        ("read", place / "secret"): "secret",
        ("make", place / "runs" / "made"): None,
        ("write", place / "runs" / "made" / "state"): 3,
        ("read", place / "runs" / "made" / "state"): "new",
        ("remove", place / "runs" / "made" / "state"): None,
        ("write", place / "data" / "rows"): "PermissionError",
        ("write", place / "data" / "more"): "PermissionError",
        ("remove", place / "data" / "rows"): "PermissionError",
        ("write", place / "secret"): "PermissionError",
        ("read", place / "tls" / "key.pem"): "PermissionError",
        ("list", place): "PermissionError",
        ("read", place / "ledger.jsonl"): "PermissionError",
        ("write", place / "ledger.jsonl"): "PermissionError",
        ("read", "/etc/passwd"): "PermissionError",
        ("read", f"/proc/{os.getpid()}/environ"): "PermissionError",
        ("write", "/tmp/of-a-sandbox"): "PermissionError",
    }
    found, _ = run(tasks, limits, os.environ)
    limits.close()
    assert dict(zip(tasks, found)) == tasks
    assert (place / "data" / "rows").read_text() == "rows"


def test_its_environment_is_what_is_allowed(place):
    limits = made([], [place / "runs"])
    _, found = run([], limits, {"TOKEN": "planted", "PATH": "/usr/bin", "TZ": "UTC"})
    limits.close()
    found.pop("LC_CTYPE", None)  # Python's own.
    assert found == {"TZ": "UTC"}


def test_this_process_is_not_limited(place):
    limits = made([place / "data"], [])
    run([], limits, {})
    limits.close()
    assert (place / "tls" / "key.pem").read_text() == "key"


def test_a_path_that_is_not_there_is_named(place):
    made([], []).close()
    with pytest.raises(errors.PfrecError, match=r"nowhere: No such file or directory"):
        made([place / "nowhere"], [])


def test_a_system_without_it_says_what_it_takes(place, monkeypatch):
    monkeypatch.setattr(sandbox, "_CREATE_RULESET", -1)
    with pytest.raises(errors.PfrecError, match=r"no sandbox without root .* Linux 5\.13 or newer"):
        sandbox.Sandbox(pathlib.Path(sys.executable), [], [])
