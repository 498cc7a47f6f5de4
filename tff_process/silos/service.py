"""Keeps a silo's worker and the way to it running: what ends or hangs is started again."""

import pathlib
import socket
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Optional, Union

from pfrec import errors
from tff_process.runtime import logs, sandbox, worker_process
from tff_process.silos import continuing, relay, tunnel, validity
from tff_process.silos import directory as silo_directory

if TYPE_CHECKING:
    from tff_process.silos import terms as terms_lib

_LOOK_SECONDS, _TIDY_SECONDS, _ASK_SECONDS, _START_SECONDS = 0.1, 2.0, 5.0, 60.0
# An HTTP/2 client's greeting with empty settings: a server that is alive greets back.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"


class Service:
    """A worker on a port that only this machine reaches,
    and a tunnel's end or a relay that leads to it.

    Use it from the main thread, see `child`.

    Args:
      directory: the client directory.
      listening: the socket that the driver's connections come to.
      credentials: of this silo for its end of the tunnel; None to relay in plain.
      port: of the worker itself.
      hang_seconds: a worker that greets nobody for so long is ended and started again.
      say: takes a line on what happened.
      terms: what a gatekeeper in front of the worker enforces; None for no gatekeeper.
      threads: of the worker within one operation, see `threads.within_operations`.

    Attributes:
      unconfined: why the worker has no sandbox; empty where it has one.
      used_up: what to tell the owner where the agreement allows no further training.

    Raises:
      PfrecError: where the worker or the tunnel does not start.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        listening: socket.socket,
        credentials: Optional[tunnel.Credentials],
        port: int,
        hang_seconds: float,
        say: Callable[[str], None],
        terms: "Optional[terms_lib.Terms]" = None,
        *,
        threads: int,
    ) -> None:
        self._directory, self._listening, self._credentials = directory, listening, credentials
        self._port, self._hang_seconds, self._say = port, hang_seconds, say
        self._threads = threads
        self._schemas = silo_directory.KeptSchemas(directory)
        # A gatekeeper does it before each answer.
        self._synced = silo_directory.Synced(directory) if terms is None else None
        self._continued = continuing.Watch(directory, say)
        self._certificates = validity.Watch((), say)
        self._answered = time.monotonic()
        self._stop = threading.Event()
        self.unconfined = self.used_up = ""
        self._sandbox = self._limits()
        self._worker = self._start_worker()
        self._gate = None
        self._transport: Union[tunnel.Tunnel, relay.Relay, None] = None
        try:
            if terms is not None:
                from tff_process.silos import gate_server  # TensorFlow comes with it.

                self._gate = gate_server.Gate(terms, self._port, directory, self._whom, say)
                self.used_up = self._gate.used_up
            self._transport = self._start_transport()
        except BaseException:
            self._end()
            raise

    def run(self) -> None:
        """Returns when `stop` was called, with everything ended."""
        threading.Thread(target=self._ask, name="ask", daemon=True).start()
        tidied = 0.0
        try:
            while not self._stop.wait(_LOOK_SECONDS):
                if not self._worker.running:
                    self._again("the worker ended")
                elif time.monotonic() - self._answered > self._hang_seconds:
                    self._worker.kill()
                    self._again(f"the worker did not answer for {self._hang_seconds:g} s")
                if isinstance(self._transport, tunnel.Tunnel) and not self._transport.running:
                    self._say("the tunnel ended; starting it again")
                    self._transport = self._start_transport()
                silo_directory.publish(self._directory)
                self._continued.look()
                if time.monotonic() - tidied > _TIDY_SECONDS:
                    if self._synced is not None:
                        self._synced.look()
                    silo_directory.remove_old(self._directory)
                    for name in ("worker.log", "tunnel.log"):
                        logs.shorten(self._directory / silo_directory.LOGS / name)
                    self._schemas.keep()
                    self._certificates.look()
                    tidied = time.monotonic()
        finally:
            self._schemas.keep()
            if self._transport is not None:
                self._transport.stop()
            self._end()
            silo_directory.publish(self._directory)

    def _end(self) -> None:
        self._continued.stop()
        if self._gate is not None:
            self._gate.stop()
        self._worker.stop()
        if self._sandbox is not None:
            self._sandbox.close()

    def _whom(self, port: int) -> str:
        """Who is at the other end of a connection that comes from a port of this machine."""
        return self._transport.peer(port) if self._transport is not None else ""

    def stop(self) -> None:
        """Makes `run` return; may be called by a signal's handler."""
        self._stop.set()

    def _again(self, reason: str) -> None:
        self._say(f"{reason}; starting it again")
        self._worker = self._start_worker()

    def _limits(self) -> Optional[sandbox.Sandbox]:
        """What the worker reaches: it reads the data, the secret of their order and what a driver
        is told, and writes in `runs/` alone.
        """
        read = (silo_directory.DATA, silo_directory.ROWS_SECRET, silo_directory.FACTS)
        try:
            return sandbox.Sandbox(
                worker_process.program(),
                [self._directory / name for name in read],
                [self._directory / silo_directory.RUNS],
            )
        except sandbox.NotPermittedError as error:
            self.unconfined = str(error)
            return None

    def _start_worker(self) -> worker_process.WorkerProcess:
        log = self._directory / silo_directory.LOGS / "worker.log"
        process = worker_process.WorkerProcess(
            log,
            port=self._port,
            directory=self._directory,
            sandbox=self._sandbox,
            threads=self._threads,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not greets(self._port, timeout=1.0):
            if not process.running or time.monotonic() > deadline:
                process.stop()
                raise errors.PfrecError(f"the worker did not start; its messages are in {log}")
            time.sleep(0.05)
        self._answered = time.monotonic()
        return process

    def _start_transport(self) -> "Union[tunnel.Tunnel, relay.Relay]":
        port = self._port if self._gate is None else self._gate.port
        if self._credentials is None:
            return relay.Relay(self._listening, "127.0.0.1", port)
        log = self._directory / silo_directory.LOGS / "tunnel.log"
        # What the tunnel reads as it starts it goes by from then on, whatever is copied here.
        self._certificates = validity.Watch(
            self._credentials.held(tunnel.SILO_DIRECTORY),
            lambda line: self._say(f"{line}; then start pfrec-worker again"),
        )
        return tunnel.Tunnel.of_silo(self._listening, self._credentials, port, log)

    def _ask(self) -> None:
        while not self._stop.wait(min(_ASK_SECONDS, self._hang_seconds / 4)):
            if greets(self._port, timeout=self._hang_seconds):
                self._answered = time.monotonic()


def greets(port: int, timeout: float) -> bool:
    """Whether a server of HTTP/2 on this machine's port greets within `timeout` seconds."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(_GREETING)
            return bool(connection.recv(1))
    except OSError:
        return False
