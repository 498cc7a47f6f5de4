"""Sums of whole numbers: their error, their range, and what has none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_process.sums import fixed_point

NUMBERS = st.lists(
    st.lists(st.floats(-(2.0**28), 2.0**28), min_size=4, max_size=4), min_size=1, max_size=50
)


def test_by_hand():
    np.testing.assert_array_equal(
        fixed_point.encoded(np.array([0.0, 1.0, -0.5, 2.0**-24, 2.0**-26])),
        [0, 2**24, -(2**23), 1, 0],
    )
    np.testing.assert_array_equal(fixed_point.decoded(np.array([2**23, -1])), [0.5, -(2.0**-24)])


@given(NUMBERS)
@settings(deadline=None, max_examples=100)
def test_a_sum_is_off_by_its_roundings_alone(vectors):
    total = fixed_point.added([fixed_point.encoded(np.array(vector)) for vector in vectors])
    exact = [sum(int(np.ldexp(x, 60)) for x in column) for column in zip(*vectors)]
    for found, wanted in zip(total.tolist(), exact):
        assert abs(found * 2**36 - wanted) <= len(vectors) * 2**35


def test_what_is_too_large_is_the_largest_and_as_many_as_may_be_added_do_not_wrap():
    large = fixed_point.encoded(np.array([1e30, -1e30, 2.0**28]))
    np.testing.assert_array_equal(large, [2**52, -(2**52), 2**52])
    total = fixed_point.added([large] * fixed_point.MOST)
    np.testing.assert_array_equal(total, [2**62, -(2**62), 2**62])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="not finite"):
        fixed_point.encoded(np.array([1.0, bad]))
