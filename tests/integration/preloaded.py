"""Runs commands as children of a process that has imported the libraries that they import.

Importing TensorFlow and TFF takes a command several processor seconds, and the tests run dozens. A
child has the one thread that forked it: TensorFlow starts those that it needs at its first use,
which is the child's. It has a session, a working directory, an environment and outputs of its own,
and ends as an interpreter does. Two things are not as where a user starts the command: its line in
/proc is this process's, and imports cost it nothing. Tests of these start a command of its own
(`commands.start_alone`).
"""

import atexit
import contextlib
import json
import os
import pathlib
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from typing import Optional

_ROOT = pathlib.Path(__file__).resolve().parents[2]
_LONGEST = 1 << 20  # bytes of a request


class Child:
    """A command that was started; as far as tests need it, what `subprocess.Popen` is.

    Attributes:
      args: the module and its arguments.
      pid: its process id, which is that of its group too.
      stdout: what it prints.
      stderr: what it says of errors.
      returncode: how it ended: its exit status, or a signal's number below zero; None before
        `poll` or `wait` saw its end.
    """

    def __init__(self, args: "list[str]", ended: socket.socket, stdout: int, stderr: int) -> None:
        self.args = args
        self._ended = ended.makefile("r")
        ended.close()
        self.pid = int(self._ended.readline())
        self.stdout = open(stdout, encoding="utf-8", errors="replace")  # noqa: SIM115
        self.stderr = open(stderr, encoding="utf-8", errors="replace")  # noqa: SIM115
        self.returncode: Optional[int] = None
        self._done = threading.Event()
        self._waiter = threading.Thread(target=self._see_the_end, daemon=True)
        self._waiter.start()

    def _see_the_end(self) -> None:
        self.returncode = int(self._ended.readline())
        self._ended.close()
        self._done.set()

    def poll(self) -> Optional[int]:
        """How it ended, or None."""
        return self.returncode

    def wait(self, timeout: Optional[float] = None) -> int:
        """Waits for its end; how it ended.

        Raises:
          TimeoutExpired: where that takes more than `timeout` seconds.
        """
        if not self._done.wait(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: Optional[float] = None) -> "tuple[str, str]":
        """Waits for the end of its outputs and its own; the outputs, as far as they were not read.

        Raises:
          TimeoutExpired: as `wait`.
        """
        texts = {}

        def read(name: str) -> None:
            with getattr(self, name) as stream:
                texts[name] = stream.read()

        names = [name for name in ("stdout", "stderr") if not getattr(self, name).closed]
        readers = [threading.Thread(target=read, args=(name,), daemon=True) for name in names]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.wait(timeout)
        return texts.get("stdout", ""), texts.get("stderr", "")

    def send_signal(self, number: int) -> None:
        """Sends it a signal, where it has not ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Asks it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it."""
        self.send_signal(signal.SIGKILL)


class Server:
    """The process that has imported them; it ends with the one that started it, however that
    ended, and so do the commands that it runs.
    """

    def __init__(self) -> None:
        self._socket, other = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.preloaded", str(other.fileno())],
            cwd=_ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.DEVNULL,
            pass_fds=[other.fileno()],
            start_new_session=True,
        )
        other.close()

    def close(self) -> None:
        """Ends it."""
        self._socket.close()
        self._process.wait()

    def start(
        self,
        module: str,
        arguments: Sequence[str],
        *,
        directory: pathlib.Path,
        environment: Mapping[str, str],
    ) -> Child:
        """Starts a module as `python -m` does.

        Args:
          module: its name.
          arguments: what follows it on the command line.
          directory: where it works.
          environment: its environment, all of it.
        """
        args = [module, *arguments]
        request = {"args": args, "directory": str(directory), "environment": dict(environment)}
        content = json.dumps(request).encode()
        assert len(content) < _LONGEST
        ended, other = socket.socketpair()
        (stdout, out), (stderr, err) = os.pipe(), os.pipe()
        socket.send_fds(self._socket, [content], [out, err, other.fileno()])
        os.close(out)
        os.close(err)
        other.close()
        return Child(args, ended, stdout, stderr)


_server: Optional[Server] = None


def server() -> Server:
    """The server of this process, started where there is none."""
    global _server
    if _server is None:
        _server = Server()
        atexit.register(_server.close)
    return _server


def _serve(connection: socket.socket) -> None:
    """Answers each request by a child, and by one between that waits for it: so this process
    never waits, and keeps its one thread.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those between
    while True:
        content, descriptors, _, _ = socket.recv_fds(connection, _LONGEST, 3)
        if not content:
            return
        if not os.fork():
            connection.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            # A shell has what it puts in the background ignore Ctrl-C, and all that comes of it.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _watch(json.loads(content), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(request: "dict[str, object]", out: int, err: int, ended: int) -> None:
    """Starts the child of a request, tells its id and how it ended, and ends this process."""
    try:
        child = os.fork()
        if not child:
            os.close(ended)
            _become(request, out, err)
        os.close(out)
        os.close(err)
        threading.Thread(target=_end_with_its_reader, args=(ended, child), daemon=True).start()
        with contextlib.suppress(ConnectionError):
            os.write(ended, f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        os.write(ended, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    finally:
        os._exit(0)


def _end_with_its_reader(ended: int, child: int) -> None:
    """Kills a child and its group once nobody is there any more to be told of its end."""
    with contextlib.suppress(ConnectionError):
        os.read(ended, 1)  # Nothing is written there: it returns when the other end is closed.
    for end in (os.killpg, os.kill):  # It may not have its group yet.
        with contextlib.suppress(ProcessLookupError):
            end(child, signal.SIGKILL)


def _become(request: "dict[str, object]", out: int, err: int) -> None:
    """Runs the module of a request in this process, and ends it."""
    status = 1
    try:
        os.setsid()
        for place, output in enumerate((out, err), 1):
            os.dup2(output, place)
            os.close(output)
        directory = str(request["directory"])
        os.chdir(directory)
        sys.path[:1] = [directory, str(_ROOT)]
        os.environ.clear()
        os.environ.update(request["environment"])  # type: ignore[call-overload]
        sys.argv = list(request["args"])  # type: ignore[call-overload]
        status = _status(sys.argv[0])
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    finally:
        os._exit(status)


def _status(module: str) -> int:
    """The exit status of a module that is run as a program."""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as leave:
        if leave.code is None or isinstance(leave.code, int):
            return leave.code or 0
        print(leave.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _preload() -> None:
    """Imports what the commands import."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import tensorflow  # noqa: F401
    import tensorflow_federated as tff
    from tensorflow_federated.python.core.impl.context_stack import runtime_error_context

    from tests import quick_protocols

    quick_protocols.install()
    # Its import makes a context with a thread, which waits for work and does not come along into a
    # child. Commands make contexts of their own; one that used this one would be told so.
    tff.framework.set_default_context(runtime_error_context.RuntimeErrorContext())


if __name__ == "__main__":
    _preload()
    _serve(socket.socket(fileno=int(sys.argv[1])))
