import collections
import concurrent.futures
import contextlib
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_process.silos import labels
from tff_process.silos.work_rules import WorkRules


def rules(**changed):
    return WorkRules(
        **{
            **{
                "rounds": 3,
                "round_steps": 10,
                "epoch_steps": 10,
                "batch_size": 8,
                "rows": 1,
                "steps": 1,
            },
            **{"learning_rate": 0.1, "seed": 0, **changed},
        }
    )


def leave(agreed, first, steps):
    with agreed.leaving(first, steps):
        pass


@given(st.integers(1, 200), st.integers(1, 8), st.integers(1, 5))
def test_every_aggregation_step_of_a_plan_is_allowed(round_steps, aggregations, rounds):
    cut = min(round_steps, aggregations)
    agreed = rules(
        round_steps=round_steps, epoch_steps=round_steps, steps=round_steps // cut, rounds=rounds
    )
    for number in range(rounds):
        cuts = [part * round_steps // cut for part in range(cut + 1)]
        for first, last in zip(cuts, cuts[1:]):
            agreed.check(number * round_steps + first, last - first, round_steps, 0.1, 0)


@given(st.integers(1, 40), st.integers(1, 100), st.integers(1, 3))
def test_who_has_fewer_batches_than_there_are_aggregation_steps_is_asked_for_one_at_a_time(
    round_steps, aggregations, rounds
):
    agreed = rules(
        round_steps=round_steps,
        epoch_steps=round_steps,
        steps=round_steps // min(round_steps, aggregations),
        rounds=rounds,
    )
    trained = 0
    for number in range(rounds):
        cuts = [part * round_steps // aggregations for part in range(aggregations + 1)]
        for first, last in zip(cuts, cuts[1:]):
            if last > first:
                agreed.check(number * round_steps + first, last - first, round_steps, 0.1, 0)
                trained += last - first
    assert trained == rounds * round_steps


@given(st.integers(0, 9), st.integers(1, 10), st.integers(0, 9), st.integers(1, 10))
def test_two_reports_never_overlap_in_part(first, steps, other_first, other_steps):
    agreed = rules(rounds=1)
    taken = []
    for begin, count in ((first, steps), (other_first, other_steps)):
        try:
            agreed.check(begin, count, 10, 0.1, 0)
            leave(agreed, begin, count)
        except labels.RefusedError:
            continue
        taken.append(set(range(begin, begin + count)))
    if len(taken) == 2:
        assert taken[0] == taken[1] or not taken[0] & taken[1]


def test_rows_count_once_however_often_they_are_met():
    agreed = rules(round_steps=40, steps=40, rows=81)
    with pytest.raises(
        labels.RefusedError,
        match="work of 80 rows; the agreement has at least 81 behind each report",
    ):
        agreed.check(0, 40, 10, 0.1, 0)


def test_rows_that_two_epochs_may_have_in_common_count_once():
    """Each has an order of its own: of four steps, two before an epoch's end, four may be two."""
    agreed = rules(round_steps=24, epoch_steps=10, rounds=5)
    for first, steps, batches in ((8, 4, 2), (6, 5, 4), (0, 4, 4), (8, 12, 10), (8, 24, 10)):
        assert agreed.rows_behind(first, steps) == 8 * batches
    # Of three parts one has three batches of an epoch at most; of four each has four.
    assert rules(round_steps=16, epoch_steps=4).fewest_rows(4) == 8 * 3
    # Of 24 steps in three parts of eight one is from step 16 to 24: four of each epoch.
    assert agreed.fewest_rows(3) == 8 * 4
    with pytest.raises(labels.RefusedError, match=r"work of 32 rows; .*see --minimum_rows"):
        rules(round_steps=24, epoch_steps=10, rows=33).check(16, 8, 10, 0.1, 0)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 4), st.integers(1, 6))
def test_no_part_of_a_plan_has_fewer_rows_than_are_agreed(epoch, round_steps, parts, rounds):
    agreed = rules(round_steps=round_steps, epoch_steps=epoch, rounds=rounds)
    parts = min(parts, round_steps)
    fewest = agreed.fewest_rows(parts)
    for number in range(rounds):
        cuts = [number * round_steps + part * round_steps // parts for part in range(parts + 1)]
        for first, last in zip(cuts, cuts[1:]):
            epochs = collections.Counter(step // epoch for step in range(first, last))
            assert agreed.rows_behind(first, last - first) == 8 * max(epochs.values()) >= fewest


def test_a_batch_of_a_small_silo_has_no_more_rows_than_the_silo():
    agreed = rules(round_steps=1, epoch_steps=1, batch_size=256, train_rows=180)
    assert agreed.rows_behind(0, 1) == agreed.fewest_rows(1) == 180


def test_work_is_that_of_a_report_that_left_or_has_no_batch_of_it():
    agreed = rules()
    leave(agreed, 0, 5)
    for again in (lambda: agreed.check(0, 10, 10, 0.1, 0), lambda: leave(agreed, 0, 10)):
        with pytest.raises(
            labels.RefusedError,
            match="work of steps 0 to 10: a report of steps 0 to 5 of the same batches has left",
        ):
            again()
    for first, steps in ((0, 5), (5, 5), (10, 10)):
        agreed.check(first, steps, 10, 0.1, 0)
        leave(agreed, first, steps)


def test_what_is_asked_for_and_does_not_leave_binds_nothing():
    agreed = rules()
    agreed.check(0, 5, 10, 0.1, 0)
    with pytest.raises(OSError, match="the disk is full"), agreed.leaving(0, 5):
        raise OSError("the disk is full")
    agreed.check(0, 10, 10, 0.1, 0)
    leave(agreed, 0, 10)


def test_what_left_twice_has_left_where_one_of_two_fails():
    agreed = rules()
    with contextlib.suppress(OSError), agreed.leaving(0, 5):
        leave(agreed, 0, 5)
        raise OSError
    with pytest.raises(labels.RefusedError, match="a report of steps 0 to 5"):
        agreed.check(0, 10, 10, 0.1, 0)


def test_of_two_that_leave_at_once_and_overlap_one_does(monkeypatch):
    agreed, both, apart = rules(), threading.Barrier(2), WorkRules._require_apart

    def slowly(self, first_step, steps):
        apart(self, first_step, steps)
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.2)  # For the other to be in here too.

    def left(steps):
        try:
            leave(agreed, 0, steps)
        except labels.RefusedError:
            return False
        return True

    monkeypatch.setattr(WorkRules, "_require_apart", slowly)
    with concurrent.futures.ThreadPoolExecutor(2) as drivers:
        assert sorted(drivers.map(left, (5, 10))) == [False, True]


def test_a_schedule_stays_below_the_rate_agreed():
    agreed = rules(scheduled=True)
    agreed.check(0, 10, 10, 0.03, 0)
    agreed.check(0, 10, 10, 0.1, 0)
    with pytest.raises(labels.RefusedError, match=r"agreed is at most 0.1, not 0.2"):
        agreed.check(0, 10, 10, 0.2, 0)
    # Up its gradient a training learns its rows by heart the other way round.
    with pytest.raises(labels.RefusedError, match=r"agreed is at most 0.1, not -0.03"):
        agreed.check(0, 10, 10, -0.03, 0)
    with pytest.raises(labels.RefusedError, match=r"agreed is 0.1, not 0.03"):
        rules().check(0, 10, 10, 0.03, 0)


def test_a_rate_is_what_a_driver_sends_of_it():
    """In float32: 0.1 is a little more there."""
    for scheduled in (False, True):
        agreed = rules(scheduled=scheduled)
        agreed.check(0, 10, 10, float(np.float32(0.1)), 0)
        with pytest.raises(labels.RefusedError, match="the learning rate agreed"):
            agreed.check(0, 10, 10, float(np.nextafter(np.float32(0.1), np.float32(1))), 0)


def test_there_is_no_sum_before_the_first():
    with pytest.raises(labels.RefusedError, match="for sum -4 with 4 in a round"):
        rules(round_steps=20).check_part(-20, 5, -4, 4)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 200))
def test_work_for_a_sum_is_the_part_of_its_number(round_steps, parts, number):
    agreed = rules(round_steps=round_steps)
    if parts > round_steps:
        with pytest.raises(labels.RefusedError, match="which are not its steps here"):
            agreed.check_part(0, 1, number, parts)
        return
    cuts = [at * round_steps // parts for at in range(parts + 1)]
    done, part = divmod(number, parts)
    first, steps = done * round_steps + cuts[part], cuts[part + 1] - cuts[part]
    agreed.check_part(first, steps, number, parts)
    for wrong in ((first + 1, steps), (first, steps + 1), (first + round_steps, steps)):
        with pytest.raises(labels.RefusedError, match="which are not its steps here"):
            agreed.check_part(*wrong, number, parts)
