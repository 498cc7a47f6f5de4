"""Runs the commands as a user would, their output read to the end."""

import os
import pathlib
import subprocess
import sys
from typing import Union

from tests.integration import preloaded

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = (
    "--embedding_dim=3",
    "--experts=2",
    "--expert_units=4",
    "--tower_units=3",
    "--numeric_dim=2",
    "--batch_size=50",
)
_MODULES = {
    "pfrec-convert": "pfrec.commands.convert",
    "pfrec-evaluate": "export.commands.evaluate",
    "pfrec-train": "tff_process.commands.train",
    "pfrec-compare": "tff_process.commands.compare",
    "pfrec-export": "export.commands.export",
    "pfrec-predict": "export.commands.predict",
    "pfrec-verify": "export.commands.verify",
    "pfrec-audit": "export.commands.audit",
    "pfrec-worker": "tff_process.commands.worker",
    "pfrec-certificates": "tff_process.commands.certificates",
    "pfrec-ledger": "tff_process.commands.ledger",
    "pfrec-status": "pfrec.commands.status",
    "pfrec-agreement": "tff_process.commands.agreement",
    "pfrec-diagnose": "tff_process.commands.diagnose",
}


def module(command: str) -> str:
    """The module of a command."""
    return _MODULES[command]


def start(command: str, *arguments: object) -> preloaded.Child:
    """Starts a command in a process group of its own, with both outputs piped: a child of a process
    that has imported what it imports, see `preloaded`.
    """
    return start_in(ROOT, command, *arguments)


def start_in(directory: pathlib.Path, command: str, *arguments: object) -> preloaded.Child:
    """The same in another directory."""
    return preloaded.server().start(
        _MODULES[command],
        list(map(str, arguments)),
        directory=directory,
        environment={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def start_alone(command: str, *arguments: object) -> "subprocess.Popen[str]":
    """The same as a user does, in an interpreter of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", _MODULES[command], *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(command: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Runs a command to the end of its output,
    which a process that it left behind would hold open.
    """
    return finish(start(command, *arguments))


def finish(
    process: "Union[preloaded.Child, subprocess.Popen[str]]",
) -> "subprocess.CompletedProcess[str]":
    """What a started command came to, to the end of its output."""
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode is not None
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def succeed(command: str, *arguments: object) -> str:
    """Runs a command that must succeed; its standard output."""
    done = run(command, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fail(command: str, *arguments: object) -> str:
    """Runs a command that must fail with one line; that line."""
    done = run(command, *arguments)
    assert done.returncode != 0, done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr[len("error: ") :].rstrip("\n")


def workers(parent_argument: str) -> "list[int]":
    """Process ids of TFF workers whose environment or command line names `parent_argument`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes()
                opened = (
                    [os.readlink(link) for link in (entry / "fd").iterdir()]
                    if b"worker_binary" in line
                    else []
                )
            except OSError:
                continue  # It ended while we looked.
            if any(parent_argument in path for path in opened):
                found.append(int(entry.name))
    return found


def network(pid: object) -> str:
    """The network namespace of a process."""
    return os.readlink(f"/proc/{pid}/ns/net")


def holding(path: pathlib.Path) -> "list[str]":
    """The command lines of all processes but this one that work in a directory,
    have a file in it open or are named with it.
    """
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            places = [
                os.readlink(entry / "cwd"),
                *(os.readlink(link) for link in (entry / "fd").iterdir()),
            ]
        except OSError:
            continue  # It ended while we looked, or is another user's.
        if str(path) in line or any(place.startswith(str(path)) for place in places):
            found.append(line)
    return found
