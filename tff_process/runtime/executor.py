"""Runs a task for many clients, a bounded number at once,
and deals with workers that die or hang.
"""

import concurrent.futures
import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any, Optional

from pfrec import errors
from tff_process.runtime import hosts as hosts_lib
from tff_process.runtime import options as options_lib
from tff_process.runtime import remote

ATTEMPTS = 3
# How a run that stopped goes on, whatever command it is of: a comparison has no such flag.
GO_ON = "go on by the same command, pfrec-train with --resume"

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ClientHandle:
    """Where a client's computations run.

    Attributes:
      number: of the client.
      scenario: its name.
      host: its worker.
    """

    number: int
    scenario: str
    host: hosts_lib.Host


class RoundLostError(errors.PfrecError):
    """A private state that was in no file yet is gone with its worker:
    the round has to be trained again from its start.
    """


class _NotStartedError(errors.PfrecError):
    """The worker was lost before the task began; it is nobody's failure."""


class ClientExecutor:
    """Threads that each see one client through a task.

    Args:
      max_concurrent: how many clients at once.
      on_failure: `retry` (up to three attempts, then the run stops), `skip` (the client misses the
        round) or `stop`.
      all_needed: whether there is no round without one of them, for what a failure advises.
    """

    def __init__(
        self, max_concurrent: int, on_failure: str = options_lib.RETRY, all_needed: bool = False
    ) -> None:
        if on_failure not in options_lib.POLICIES:
            raise errors.PfrecError(
                f"--on_client_failure={on_failure}: is not one of {', '.join(options_lib.POLICIES)}"
            )
        self._on_failure, self._all_needed = on_failure, all_needed
        self._pool = concurrent.futures.ThreadPoolExecutor(
            max_concurrent, thread_name_prefix="client"
        )

    def run(
        self, handles: Sequence[ClientHandle], task: "Callable[[ClientHandle], Any]", what: str
    ) -> "tuple[dict[int, Any], dict[int, str]]":
        """Runs `task` for every client.

        A lost worker is started again here, in the caller's thread, and its clients that had not
        begun are not counted as failed.

        Args:
          handles: of the clients.
          task: takes a handle; raises PfrecError where it fails.
          what: names the task in messages.

        Returns:
          what the tasks returned, by client number, and why the others were skipped.

        Raises:
          RoundLostError: where a client's task cannot be done until the round is trained again;
            when all others have ended.
          PfrecError: where a client failed and may not be skipped; the message names it.
        """
        results: dict[int, Any] = {}
        skipped: dict[int, str] = {}
        attempts: dict[int, int] = {}
        round_lost: Optional[RoundLostError] = None
        waiting = list(handles)
        while waiting and round_lost is None:
            futures = {self._pool.submit(_attempt, handle, task): handle for handle in waiting}
            waiting = []
            for future in concurrent.futures.as_completed(futures):
                handle = futures[future]
                try:
                    results[handle.number] = future.result()
                except _NotStartedError:
                    waiting.append(handle)
                except RoundLostError as error:
                    round_lost = error
                except errors.PfrecError as error:
                    attempts[handle.number] = attempts.get(handle.number, 0) + 1
                    if self._may_try_again(handle, error, attempts[handle.number], what):
                        waiting.append(handle)
                    else:
                        skipped[handle.number] = str(error)
            waiting.sort(key=lambda handle: handle.number)
            for host in {
                id(handle.host): handle.host for handle in handles if handle.host.lost
            }.values():
                try:
                    self._revive(host)
                except hosts_lib.OutOfReachError as error:
                    gone = [handle for handle in waiting if handle.host is host]
                    waiting = [handle for handle in waiting if handle.host is not host]
                    skipped.update(
                        {handle.number: self._given_up(handle, error, what) for handle in gone}
                    )
        if round_lost is not None:
            raise round_lost
        return results, skipped

    def _may_try_again(
        self, handle: ClientHandle, error: errors.PfrecError, attempt: int, what: str
    ) -> bool:
        """Whether to try again; otherwise the client is skipped."""
        message = f"client {handle.scenario}: {what} failed: {error}"
        if self._on_failure == options_lib.SKIP:
            _log.warning("%s; it misses this round", message)
            return False
        refused = isinstance(error, remote.WorkError) and error.refused
        if self._on_failure == options_lib.STOP or attempt >= ATTEMPTS or refused:
            tried = f" {attempt} times" if attempt > 1 else ""
            raise self._failure(handle, f"{what} failed{tried}: {error}", error)
        _log.warning("%s; trying again", message)
        return True

    def _given_up(self, handle: ClientHandle, error: hosts_lib.OutOfReachError, what: str) -> str:
        """Why a client whose worker cannot be reached misses the round."""
        if self._on_failure != options_lib.SKIP:
            raise self._failure(handle, f"{what} failed: {error}", error)
        _log.warning("client %s: %s failed: %s; it misses this round", handle.scenario, what, error)
        return str(error)

    def _revive(self, host: hosts_lib.Host) -> None:
        _log.warning("%s is lost; %s", host.name, host.again)
        host.down()
        host.up()

    def _failure(
        self, handle: ClientHandle, message: str, error: errors.PfrecError
    ) -> errors.PfrecError:
        """What ends the run; of a worker out of reach it says so to those who would go back to an
        earlier round.
        """
        lost = isinstance(error, hosts_lib.OutOfReachError) or (
            isinstance(error, remote.WorkError) and error.lost
        )
        kind = hosts_lib.OutOfReachError if lost else errors.PfrecError
        remedy = f"mend it and {GO_ON}"
        if not self._all_needed:
            remedy += ", or train on without it with --on_client_failure=skip"
        return kind(f"client {handle.scenario}: {message}; {remedy}")

    def close(self) -> None:
        """Ends the threads; the workers must be down, so that no call holds one."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _attempt(handle: ClientHandle, task: "Callable[[ClientHandle], Any]") -> Any:
    if handle.host.lost:
        raise _NotStartedError(f"{handle.scenario}: not started")
    try:
        return task(handle)
    except remote.WorkError as error:
        if error.lost:
            handle.host.lost = True
        raise
