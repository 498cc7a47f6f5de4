"""What happens to a client whose worker dies or whose computation fails,
with workers that are stand-ins.
"""

import pytest

from pfrec import errors
from tff_process.runtime import executor, hosts, remote


class StandIn(hosts.Host):
    """A host that counts how often it comes up."""

    def __init__(self):
        super().__init__("stand-in", None)
        self.up()

    def _connect(self):
        return FakeRemote()

    def _end(self):
        pass


class FakeRemote:
    def close(self):
        pass

    def abandon(self):
        pass

    def flush(self):
        pass


@pytest.fixture
def host():
    return StandIn()


def handles(host, count=3):
    return [executor.ClientHandle(number, f"s{number}", host) for number in range(count)]


def make(policy, threads=1):
    return executor.ClientExecutor(threads, policy)


def failing(times, lost, numbers=(1,)):
    """A task that fails the first `times` times for some clients."""
    calls = []

    def task(handle):
        calls.append(handle.number)
        if handle.number in numbers and calls.count(handle.number) <= times:
            raise remote.WorkError("no answer", lost)
        return 10 * handle.number

    return task, calls


def test_a_failure_is_tried_again(host):
    task, calls = failing(2, lost=False)
    assert make("retry").run(handles(host), task, "training") == ({0: 0, 1: 10, 2: 20}, {})
    assert calls.count(1) == 3
    assert host.generation == 1


def test_a_lost_worker_is_started_again_and_clients_not_begun_are_not_counted(host):
    """One thread: client 2 finds the worker lost before it begins, and is not skipped for it."""
    task, calls = failing(1, lost=True)
    assert make("skip").run(handles(host), task, "training") == ({0: 0, 2: 20}, {1: "no answer"})
    assert host.generation == 2
    assert not host.lost
    assert calls == [0, 1, 2]


def test_retry_gives_up_after_three_attempts_and_names_the_client(host):
    task, _ = failing(9, lost=True)
    with pytest.raises(errors.PfrecError, match="client s1: training failed 3 times: no answer"):
        make("retry").run(handles(host), task, "training")


def test_stop_stops_at_the_first_failure(host):
    task, calls = failing(1, lost=False)
    with pytest.raises(errors.PfrecError, match="client s1: training failed: no answer"):
        make("stop").run(handles(host), task, "training")
    assert calls.count(1) == 1


def test_to_leave_a_client_out_is_advised_where_that_can_be(host):
    task, _ = failing(9, lost=False)
    for all_needed in (False, True):
        made = executor.ClientExecutor(1, "stop", all_needed)
        with pytest.raises(
            errors.PfrecError, match="go on by the same command, pfrec-train with --resume"
        ) as stopped:
            made.run(handles(host), task, "training")
        assert ("--on_client_failure=skip" in str(stopped.value)) != all_needed


def test_an_unknown_policy_is_refused():
    with pytest.raises(errors.PfrecError, match="on_client_failure=never"):
        make("never")


def test_a_kept_reference_is_made_once_for_each_version_and_again_by_a_new_worker(host):
    made = []

    def reference(there):
        made.append(there)
        return len(made)

    first, second = object(), object()
    assert [
        host.kept("a", first, reference),
        host.kept("a", first, reference),
        host.kept("a", second, reference),
    ] == [1, 1, 2]
    host.lost = True
    with pytest.raises(remote.WorkError):
        host.kept("b", first, reference)
    host.down()
    host.up()
    assert host.kept("a", second, reference) == 3


def test_what_a_gatekeeper_refuses_is_not_asked_again_and_the_others_go_on(host):
    calls = []

    def task(handle):
        calls.append(handle.number)
        if handle.number == 1:
            raise remote.WorkError("the silo refuses it", lost=False, refused=True)
        return handle.number

    assert make("skip").run(handles(host), task, "training") == (
        {0: 0, 2: 2},
        {1: "the silo refuses it"},
    )
    calls.clear()
    with pytest.raises(errors.PfrecError, match="client s1: training failed: the silo refuses it"):
        make("retry").run(handles(host), task, "training")
    assert calls.count(1) == 1
