"""Who trains in which aggregation step, and which batches."""

import pytest

from tff_process import plan
from tff_process.process import turns


@pytest.mark.parametrize(
    ("every", "steps", "expected"),
    [
        (64, [10, 20], 4),
        (64, [3, 2], 3),
        # Nor does one of two that says 1 or 10^9.
        (64, [1, 90], 4),
        (64, [10**9, 90], 90),
        (64, [10**9, 3], 4),
        (64, [600, 4000], 36),
        (100, [5, 4000], 5),
        (1, [6, 6], 6),
        (64, [10, 20, 30, 40], 4),
        # One that says 1 or 10^9 changes nothing for the others.
        (64, [1, 20, 30, 40], 4),
        (64, [10, 20, 30, 10**9], 4),
        (64, [640, 640, 640], 10),
        (64, [1, 640, 640], 10),
        (64, [640, 640, 10**9], 10),
    ],
)
def test_a_long_round_aggregates_more_often(every, steps, expected):
    """2,300 batches of the median client are 36 times 64, and it is not left without a batch."""
    assert (
        turns.aggregations_of_a_round(plan.Plan("fedavg", aggregate_every=every), steps) == expected
    )


def test_parts_by_hand():
    """Rounds of 5 and 2 batches in three parts: of one, 2 and 2 batches, and of none, one and one;
    two rounds follow each other.
    """
    made = turns.Turns(plan.Plan("fedavg"), [5, 2], [5, 2], 3, 2)
    assert [made.part(0, later) for later in range(4)] == [(0, 1), (1, 2), (3, 2), (5, 1)]
    assert [made.part(1, later) for later in range(4)] == [(0, 0), (0, 1), (1, 1), (2, 0)]
    assert (made.working(0), made.pass_over(0), made.done) == ([0], 1, [0, 1])
    assert made.part(1) == (0, 1)
    assert made.working(1) == [0, 1]


def test_half_of_the_clients_take_part_and_the_last_time_is_known():
    made = turns.Turns(plan.Plan("fedavg", participation=0.5, seed=3), [4] * 4, [4] * 4, 1, 6)
    took = [made.participants(number) for number in range(6)]
    assert all(len(clients) == 2 and clients == sorted(clients) for clients in took)
    assert took == [made.participants(number) for number in range(6)]
    assert len({tuple(clients) for clients in took}) > 1
    for client in range(4):
        own = [number for number in range(6) if client in took[number]]
        assert [made.is_last(client, number) for number in own] == [False] * (len(own) - 1) + [True]
