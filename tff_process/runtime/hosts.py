"""The workers of a run: one or more processes on this machine, or one in each silo."""

import abc
import pathlib
import threading
from typing import Any, Callable, Optional

from pfrec import child, errors
from tff_process.runtime import remote as remote_lib
from tff_process.runtime import threads as threads_lib
from tff_process.runtime import worker_process


class OutOfReachError(errors.PfrecError):
    """A worker that this process did not start cannot be reached."""


class Host(abc.ABC):
    """A worker that clients' computations run on; it may be lost and come back empty.

    Attributes:
      again: what is done about one that is lost, for messages.
      name: for messages.
      generation: how often it came up; a reference is of use in its own generation only.
      lost: whether a call found it dead, hung or out of reach since it came up.
    """

    again = "starting it again"

    def __init__(self, name: str, deadline: Optional[float]) -> None:
        self.name, self.generation, self.lost = name, 0, False
        self._deadline = deadline
        self._remote: Optional[remote_lib.Remote] = None
        self._lock = threading.RLock()
        self._kept: dict[Any, tuple[Any, Any]] = {}

    @property
    def remote(self) -> remote_lib.Remote:
        """The connection of this generation.

        Raises:
          WorkError: where it is lost.
        """
        if self.lost or self._remote is None:
            raise remote_lib.WorkError("its worker is gone", lost=True)
        return self._remote

    def kept(self, key: Any, version: Any, make: Callable[[remote_lib.Remote], Any]) -> Any:
        """A reference that several calls use, made once for each version,
        which is told by its identity.
        """
        with self._lock:
            found = self._kept.get(key)
            if found is None or found[0] is not version:
                if found is not None:  # The old value goes before the new one comes.
                    found = None
                    del self._kept[key]
                    self.remote.flush()
                found = self._kept[key] = (version, make(self.remote))
            return found[1]

    def begin(self) -> None:  # noqa: B027
        """Starts what `up` then waits for, where it is ours to start; from the main thread.

        Raises:
          PfrecError: where the program is not there.
        """

    def up(self) -> None:
        """Starts or reaches the worker; from the main thread.

        Raises:
          OutOfReachError: where it is not ours to start and does not answer.
          PfrecError: where it does not start.
        """
        self._remote = self._connect()
        self.generation, self.lost = self.generation + 1, False

    def down(self) -> None:
        """Gives the worker up; its references are gone."""
        try:
            with self._lock:
                self._kept.clear()
            if self._remote is not None:
                if self.lost:
                    self._remote.abandon()
                else:
                    self._remote.close()
                self._remote = None
        finally:
            with child.uninterrupted():
                self._end()

    @abc.abstractmethod
    def _connect(self) -> remote_lib.Remote: ...

    @abc.abstractmethod
    def _end(self) -> None: ...


class LocalHost(Host):
    """A worker process on this machine, which ends with ours.

    Args:
      name: for messages.
      log: file that receives its messages.
      max_concurrent: how many computations run in it at once.
      deadline: seconds that a call may take; None for no limit.
      threads: within one operation, see `threads.within_operations`.
    """

    def __init__(
        self,
        name: str,
        log: pathlib.Path,
        max_concurrent: int,
        deadline: Optional[float],
        threads: int = threads_lib.ALL,
    ) -> None:
        super().__init__(name, deadline)
        self._log, self._max_concurrent, self._threads = log, max_concurrent, threads
        self._process: Optional[worker_process.WorkerProcess] = None

    @property
    def pid(self) -> Optional[int]:
        """Of the process; None where there is none."""
        return None if self._process is None else self._process.pid

    def begin(self) -> None:
        if self._process is None:
            with child.uninterrupted():
                self._process = worker_process.WorkerProcess(
                    self._log, self._max_concurrent, threads=self._threads
                )

    def _connect(self) -> remote_lib.Remote:
        # A port may be taken between the moment it is found free and the worker's start.
        for attempt in range(3):
            self.begin()
            process = self._process
            assert process is not None
            remote = remote_lib.Remote(process.target, self._deadline)
            try:
                process.wait_until_ready(remote.channel)
                remote.open()
                return remote
            except errors.PfrecError:
                remote.abandon()
                self._end()
                if attempt == 2:
                    raise
        raise AssertionError

    def _end(self) -> None:
        if self._process is not None:
            if self.lost:
                self._process.kill()
            else:
                self._process.stop()
            self._process = None
