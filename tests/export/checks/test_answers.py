"""What counts as the same answers, by numbers that can be checked by hand."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from export.checks import answers, fresh_process
from pfrec import errors


def _answer(*values: float) -> fresh_process.Answer:
    return fresh_process.Answer({"t": np.array(values, np.float32)})


def _case(*values: float) -> answers.Case:
    expected = np.array(values, np.float32)
    return answers.Case({"f": np.zeros(len(values), np.int64)}, {"t": expected})


def test_inversions_by_hand() -> None:
    expected = np.array([0.1, 0.2, 0.3])
    assert answers.inversions(expected, expected) == 0
    assert answers.inversions(expected, np.array([0.2, 0.1, 0.3])) == 1
    assert answers.inversions(expected, expected[::-1]) == 3
    assert answers.inversions(expected, expected[::-1], resolution=0.15) == 1
    assert answers.inversions(np.array([0.5, 0.5]), np.array([0.1, 0.9])) == 0


@hypothesis.given(st.lists(st.floats(0, 1, width=32), min_size=2, max_size=12), st.randoms())
@hypothesis.settings(deadline=None, max_examples=40)
def test_inversions_equal_a_count_pair_by_pair(values: "list[float]", chance) -> None:
    other = values[:]
    chance.shuffle(other)
    pairs = [(i, j) for i in range(len(values)) for j in range(len(values))]
    slow = sum(values[i] > values[j] and other[i] < other[j] for i, j in pairs)
    assert answers.inversions(np.array(values), np.array(other)) == slow


def test_ranking_allows_only_neighbours_to_change_places() -> None:
    assert "1 pairs nearer" in answers.ranking(
        _case(0.5, 0.5000001, 0.9), _answer(0.5000001, 0.5, 0.9)
    )
    assert answers.ranking(_case(0.1, 0.2), _answer(0.3, 0.4)).endswith("for every task")
    with pytest.raises(errors.PfrecError, match="t: 1 pairs of rows in the opposite order"):
        answers.ranking(_case(0.5, 0.50001), _answer(0.50001, 0.5))


def test_refusals_have_to_say_why() -> None:
    words = {"a": "rank 1"}
    assert "a" in answers.refused({"a": fresh_process.Answer({}, "must be rank 1")}, words)
    with pytest.raises(errors.PfrecError, match="a: was answered"):
        answers.refused({"a": _answer(0.5)}, words)
    with pytest.raises(errors.PfrecError, match="without saying 'rank 1'"):
        answers.refused({"a": fresh_process.Answer({}, "no")}, words)
