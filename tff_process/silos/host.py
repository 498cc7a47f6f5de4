"""A worker in a silo, on another machine: it is reached, not started, and may stay away."""

import contextlib
import os
import pathlib
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from typing import Optional

import pfrec
from pfrec import child, errors, files
from tff_process.runtime import hosts
from tff_process.runtime import remote as remote_lib
from tff_process.silos import agreement, facts, tunnel

_ANSWER_SECONDS, _PAUSE_SECONDS = 5.0, 0.3


class Sockets:
    """Unix sockets that this user alone can connect to, under paths that are short enough for them.

    Args:
      directory: where they are.

    Attributes:
      directory: the same.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        # A socket's path has at most 107 bytes; that of an open directory is short wherever it is.
        self.directory, self._descriptor, self._count = (
            directory,
            os.open(directory, os.O_RDONLY),
            0,
        )

    def listen(self) -> "tuple[socket.socket, str]":
        """A new socket that listens, and its path in this process."""
        path = f"/proc/self/fd/{self._descriptor}/{self._count}"
        self._count += 1
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(path)
        listening.listen(8)
        return listening, path

    def close(self) -> None:
        """No more sockets."""
        os.close(self._descriptor)


@contextlib.contextmanager
def sockets(parent: pathlib.Path) -> Iterator[Sockets]:
    """Sockets in a directory of their own in `parent`, which is removed afterwards; what a kill
    leaves has the name of a temporary file.
    """
    with files.readable_errors(parent):
        files.make_directory(parent)
        directory = pathlib.Path(tempfile.mkdtemp(prefix=files.TEMPORARY_PREFIX, dir=parent))
    made = Sockets(directory)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(directory, ignore_errors=True)


class SiloHost(hosts.Host):
    """The worker of one scenario's silo.

    Args:
      scenario: its name.
      address: HOST:PORT of `pfrec-worker`.
      deadline: seconds that a call may take; None for no limit.
      patience: seconds to try to reach it; one that stayed away once is tried once each time until
        it is back.
      credentials: of the driver for its end of the tunnel; None to speak to the address in plain.
      sockets: where the tunnel listens.
      log: file that receives the tunnel's messages.
      asked: the driver's plan, which a silo with an agreement must have agreed to; None to ask for
        nothing but its facts.
    """

    again = "reaching for it again"

    def __init__(
        self,
        scenario: str,
        address: str,
        deadline: Optional[float],
        patience: float,
        credentials: Optional[tunnel.Credentials],
        sockets: Sockets,
        log: pathlib.Path,
        asked: Optional[agreement.Asked] = None,
    ) -> None:
        super().__init__(f"the silo of {scenario} at {address}", deadline)
        self._scenario, self._address, self._patience = scenario, address, patience
        self._credentials, self._sockets, self._log = credentials, sockets, log
        self._asked = asked
        self._away = False
        self._listening: Optional[socket.socket] = None
        self._tunnel: Optional[tunnel.Tunnel] = None
        self._path = ""

    @property
    def tunnel_pid(self) -> Optional[int]:
        """The process of this end of the tunnel; None where there is none."""
        return None if self._tunnel is None else self._tunnel.pid

    def _connect(self) -> remote_lib.Remote:
        deadline = time.monotonic() + (0.0 if self._away else self._patience)
        while True:
            remote = remote_lib.Remote(self._target(), self._deadline)
            try:
                remote.wait_until_ready(min(_ANSWER_SECONDS, max(1.0, self._patience)))
                remote.open(alone=True)
            except errors.PfrecError as error:
                remote.abandon()
                if time.monotonic() > deadline:
                    self._away = True
                    says = self._tunnel.refusal() if self._tunnel else ""
                    self._end()
                    raise hosts.OutOfReachError(
                        f"{self.name} cannot be reached: "
                        f"{error}{f' (the tunnel says: {says})' if says else ''}; "
                        + remedy(says, self._scenario)
                    ) from error
            else:
                self._away = False
                self._require_agreed(remote)
                return remote
            time.sleep(_PAUSE_SECONDS)

    def _require_agreed(self, remote: remote_lib.Remote) -> None:
        """A silo that agreed to another plan would refuse every word of this one."""
        if self._asked is None or remote.agreed in (None, self._asked.digest):
            return
        told = facts.read(remote, self.name)
        remote.close()
        difference = self._asked.difference(told.agreed, told.schema)
        if told.version not in ("", pfrec.__version__) or not difference:
            raise errors.PfrecError(
                f"{self.name} runs {f'pfrec {told.version}' if told.version else 'another pfrec'}, "
                f"and here is pfrec {pfrec.__version__}, whose agreements are others: install one "
                "version on both sides, and where it is new there let its owner agree anew with "
                "pfrec-agreement"
            )
        raise errors.PfrecError(
            f"{self.name} has agreed to another plan: "
            f"{difference}; train as its agreement says, or "
            "let its owner agree to this with pfrec-agreement"
        )

    def _target(self) -> str:
        if self._credentials is None:
            return self._address
        if self._tunnel is None or not self._tunnel.running:
            self._end()
            files.make_directory(self._log.parent)
            self._listening, self._path = self._sockets.listen()
            with child.uninterrupted():
                self._tunnel = tunnel.Tunnel.of_driver(
                    self._listening, self._credentials, self._address, self._scenario, self._log
                )
        return f"unix:{self._path}"

    def _end(self) -> None:
        if self._tunnel is not None:
            self._tunnel.stop()
        if self._listening is not None:
            self._listening.close()
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._tunnel = self._listening = None


def remedy(says: str, scenario: str) -> str:
    """What to do where a scenario's silo cannot be reached, by what the tunnel says of it."""
    if "certificate has expired: depth=0" in says:
        silo = tunnel.renewal(f"silo-{scenario}")
        return (
            f"the certificate of {scenario} has ended: {silo} to the silo, "
            "whose pfrec-worker is then started again"
        )
    if "certificate has expired" in says:
        return f"the authority's certificate has ended: {tunnel.ANEW}"
    if "alert certificate expired" in says:
        return (
            "by the silo's clock the driver's certificate has ended, or its authority's: "
            f"{tunnel.renewal(tunnel.DRIVER_DIRECTORY)} here"
        )
    if "certificate verify failed" in says:
        return (
            f"see that --workers has the address of {scenario} itself, and that its certificate "
            "is of the driver's authority and has not ended"
        )
    return "see that pfrec-worker runs there"
