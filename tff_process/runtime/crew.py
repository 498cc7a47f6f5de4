"""Runs a task for many clients, a bounded number at once, and deals with workers that die or hang."""

import concurrent.futures
import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any, Optional

from pfrec import errors
from tff_process.runtime import hosts as hosts_lib
from tff_process.runtime import remote

ATTEMPTS = 3
RETRY, SKIP, STOP = "retry", "skip", "stop"
POLICIES = (RETRY, SKIP, STOP)

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Place:
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
    """A private state that was in no file yet is gone with its worker: the round has to be trained again from its start."""


class _NotStartedError(errors.PfrecError):
    """The worker was lost before the task began; it is nobody's failure."""


class Crew:
    """Threads that each see one client through a task.

    Args:
      max_concurrent: how many clients at once.
      on_failure: `retry` (up to three attempts, then the run stops), `skip` (the client misses the round) or `stop`.
    """

    def __init__(self, max_concurrent: int, on_failure: str = RETRY) -> None:
        if on_failure not in POLICIES:
            raise errors.PfrecError(f"--on_client_failure={on_failure}: is not one of {', '.join(POLICIES)}")
        self._on_failure = on_failure
        self._pool = concurrent.futures.ThreadPoolExecutor(max_concurrent, thread_name_prefix="client")

    def run(self, places: Sequence[Place], task: "Callable[[Place], Any]", what: str) -> "tuple[dict[int, Any], dict[int, str]]":
        """Runs `task` for every client.

        A lost worker is started again here, in the caller's thread, and its clients that had not begun are not counted as failed.

        Args:
          places: of the clients.
          task: takes a place; raises PfrecError where it fails.
          what: names the task in messages.

        Returns:
          what the tasks returned, by client number, and why the others were skipped.

        Raises:
          RoundLostError: where a client's task cannot be done until the round is trained again; when all others have ended.
          PfrecError: where a client failed and may not be skipped; the message names it.
        """
        results: dict[int, Any] = {}
        skipped: dict[int, str] = {}
        attempts: dict[int, int] = {}
        round_lost: Optional[RoundLostError] = None
        waiting = list(places)
        while waiting and round_lost is None:
            futures = {self._pool.submit(_attempt, place, task): place for place in waiting}
            waiting = []
            for future in concurrent.futures.as_completed(futures):
                place = futures[future]
                try:
                    results[place.number] = future.result()
                except _NotStartedError:
                    waiting.append(place)
                except RoundLostError as error:
                    round_lost = error
                except errors.PfrecError as error:
                    attempts[place.number] = attempts.get(place.number, 0) + 1
                    if self._may_try_again(place, error, attempts[place.number], what):
                        waiting.append(place)
                    else:
                        skipped[place.number] = str(error)
            waiting.sort(key=lambda place: place.number)
            for host in {id(place.host): place.host for place in places if place.host.lost}.values():
                try:
                    self._revive(host)
                except hosts_lib.OutOfReachError as error:
                    gone = [place for place in waiting if place.host is host]
                    waiting = [place for place in waiting if place.host is not host]
                    skipped.update({place.number: self._given_up(place, error, what) for place in gone})
        if round_lost is not None:
            raise round_lost
        return results, skipped

    def _may_try_again(self, place: Place, error: errors.PfrecError, attempt: int, what: str) -> bool:
        """Whether to try again; otherwise the client is skipped."""
        message = f"client {place.scenario}: {what} failed: {error}"
        if self._on_failure == SKIP:
            _log.warning("%s; it misses this round", message)
            return False
        if self._on_failure == STOP or attempt >= ATTEMPTS:
            tried = f" {attempt} times" if attempt > 1 else ""
            raise _failure(place, f"{what} failed{tried}: {error}", error)
        _log.warning("%s; trying again", message)
        return True

    def _given_up(self, place: Place, error: hosts_lib.OutOfReachError, what: str) -> str:
        """Why a client whose worker cannot be reached misses the round."""
        if self._on_failure != SKIP:
            raise _failure(place, f"{what} failed: {error}", error)
        _log.warning("client %s: %s failed: %s; it misses this round", place.scenario, what, error)
        return str(error)

    def _revive(self, host: hosts_lib.Host) -> None:
        _log.warning("%s is lost; %s", host.name, host.again)
        host.down()
        host.up()

    def close(self) -> None:
        """Ends the threads; the workers must be down, so that no call holds one."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _failure(place: Place, message: str, error: errors.PfrecError) -> errors.PfrecError:
    """What ends the run; of a worker out of reach it says so to those who would go back to an earlier round."""
    lost = isinstance(error, hosts_lib.OutOfReachError) or (isinstance(error, remote.WorkError) and error.lost)
    kind = hosts_lib.OutOfReachError if lost else errors.PfrecError
    return kind(
        f"client {place.scenario}: {message}; mend it and continue with --resume, or train on without it with --on_client_failure=skip"
    )


def _attempt(place: Place, task: "Callable[[Place], Any]") -> Any:
    if place.host.lost:
        raise _NotStartedError(f"{place.scenario}: not started")
    try:
        return task(place)
    except remote.WorkError as error:
        if error.lost:
            place.host.lost = True
        raise
