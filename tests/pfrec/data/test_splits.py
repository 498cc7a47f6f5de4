import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from pfrec.data import splits

_FRACTIONS = (0.7, 0.1, 0.2)


def test_splitmix64_gives_the_published_sequence():
    # The first outputs of SplitMix64 from state 0, as java.util.SplittableRandom's reference prints
    # them.
    states = np.array([0, 0x9E3779B97F4A7C15], np.uint64)
    assert [int(v) for v in splits.splitmix64(states)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]


def test_fractions_are_met():
    counts = np.bincount(splits.split_of(np.arange(100_000), 7, _FRACTIONS), minlength=3)
    # Standard deviation of the largest is 145 rows.
    np.testing.assert_allclose(counts / 100_000, _FRACTIONS, atol=0.006)


def test_a_fraction_of_zero_gets_no_row():
    assert set(splits.split_of(np.arange(50_000), 0, (0.875, 0.125, 0.0))) == {0, 1}
    assert set(splits.split_of(np.arange(50_000), 0, (0.875, 0.0, 0.125))) == {0, 2}


def test_another_seed_gives_an_independent_split():
    one, other = (splits.split_of(np.arange(100_000), seed, (0.5, 0.25, 0.25)) for seed in (0, 1))
    both = np.mean((one == 0) & (other == 0))
    assert both == pytest.approx(0.25, abs=0.01)


def test_split_of_a_row_never_changes():
    # A change here would give every user another split under the same seed.
    assert splits.split_of(np.arange(16), 0, _FRACTIONS).tolist() == [
        0,
        0,
        2,
        1,
        0,
        0,
        0,
        0,
        2,
        0,
        1,
        0,
        0,
        0,
        1,
        0,
    ]


@hypothesis.given(
    rows=st.lists(st.integers(0, 2**62), min_size=1, max_size=50),
    cut=st.integers(0, 50),
    seed=st.integers(-5, 2**64),
)
@hypothesis.settings(max_examples=50, deadline=None)
def test_a_split_does_not_depend_on_the_chunk(rows, cut, seed):
    whole = splits.split_of(np.array(rows), seed, _FRACTIONS)
    parts = [
        splits.split_of(np.array(part, np.int64), seed, _FRACTIONS)
        for part in (rows[:cut], rows[cut:])
    ]
    assert whole.tolist() == np.concatenate(parts).tolist()


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.9, 0.2, -0.1), (0.5, 0.1, 0.1)])
def test_wrong_fractions_are_refused(fractions):
    with pytest.raises(ValueError, match="three parts"):
        splits.split_of(np.arange(3), 0, fractions)
