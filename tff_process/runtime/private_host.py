"""A worker on this machine that nothing but this process reaches: for a driver on a network that others are on."""

import contextlib
import logging
import os
import pathlib
import socket
import subprocess
import sys
from typing import Optional

from pfrec import errors
from tff_process import child, private_worker
from tff_process.runtime import hosts, silo_host
from tff_process.runtime import remote as remote_lib

_log = logging.getLogger(__name__)


class PrivateHost(hosts.LocalHost):
    """A worker process in a network of its own, reached through a socket file that this user alone can open.

    Where the system does not permit that, it is a `LocalHost`, with a warning.

    Args:
      name, log, max_concurrent, deadline: as of `LocalHost`.
      sockets: where the socket file is.
    """

    def __init__(
        self, name: str, log: pathlib.Path, max_concurrent: int, deadline: Optional[float], sockets: silo_host.Sockets
    ) -> None:
        super().__init__(name, log, max_concurrent, deadline)
        self._sockets = sockets
        self._program: Optional[subprocess.Popen[str]] = None
        self._listening: Optional[socket.socket] = None
        self._path = ""

    @property
    def pid(self) -> Optional[int]:
        """Of the process; None where there is none."""
        return super().pid if self._program is None else self._program.pid

    def _connect(self) -> remote_lib.Remote:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._listening, self._path = self._sockets.listen()
        given = self._listening.fileno()
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tff_process.private_worker", str(given), str(self._log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            pass_fds=(given,),
            preexec_fn=child.end_with_parent(),
        )
        assert self._program.stdout is not None
        if self._program.stdout.readline() != private_worker.READY:
            reason = " ".join(self._program.communicate()[1].split())
            self._end()
            if "does not permit a network namespace" not in reason:
                raise errors.PfrecError(reason or f"the worker did not start; its messages are in {self._log}")
            _log.warning("%s; the driver's own worker listens on every interface, keep this machine behind a firewall", reason)
            return super()._connect()
        remote = remote_lib.Remote(f"unix:{self._path}", self._deadline)
        try:
            remote.open()
        except errors.PfrecError:
            remote.abandon()
            raise
        return remote

    def _end(self) -> None:
        if self._program is not None:
            self._program.terminate()
            try:
                self._program.communicate(timeout=5)
            except subprocess.TimeoutExpired:
                self._program.kill()
                self._program.communicate()
        if self._listening is not None:
            self._listening.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._program = self._listening = None
        super()._end()
