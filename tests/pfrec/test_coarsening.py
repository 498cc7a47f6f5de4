"""What is said in numbers, made coarse: by hand, and as properties."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from pfrec import coarsening, metrics


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, 0), (7, 7), (99, 99), (100, 100), (109, 100), (12_345, 12_000), (9_999_999, 9_900_000)],
)
def test_rows_are_said_to_two_digits(count, said):
    assert coarsening.row_count(count) == said
    assert int(coarsening.row_counts(tf.constant(count, tf.int64))) == said


@hypothesis.given(st.integers(0, 10**14))
def test_rounding_rows_is_the_same_in_a_graph_and_done_once(count):
    said = coarsening.row_count(count)
    assert said <= count < said * 1.1 + 10
    assert coarsening.row_count(said) == said
    assert int(coarsening.row_counts(tf.constant(float(count), tf.float64))) == said


def test_ids_are_counted_in_powers_of_two_from_the_floor_on():
    counts = tf.constant([[0, 1, 7], [8, 15, 16], [1000, 2**31 - 1, 1024]], tf.int32)
    np.testing.assert_array_equal(
        coarsening.id_counts(counts), [[0, 0, 0], [8, 8, 16], [512, 2**30, 1024]]
    )


@hypothesis.given(st.integers(0, 2**38))
def test_a_coarse_count_is_the_largest_power_that_is_not_more(count):
    said = int(coarsening.id_counts(tf.constant(count, tf.int64)))
    assert said == (0 if count < coarsening.FLOOR else 2 ** (count.bit_length() - 1))


def test_a_loss_has_three_decimals_and_stays_what_it_is_where_it_is_none():
    np.testing.assert_allclose(
        coarsening.loss(tf.constant([0.31326, 1.0, 99.9996, 1e30, np.nan, np.inf])),
        [0.313, 1.0, 100.0, 100.0, np.nan, np.inf],
        rtol=1e-6,
    )


@hypothesis.given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0, 1))
@hypothesis.settings(deadline=None)
def test_metrics_keep_both_classes(positives, negatives, value):
    given_ = dict.fromkeys(metrics.METRICS, value) | {
        "rows": positives + negatives,
        "positives": positives,
    }
    said = coarsening.evaluated(
        tf.constant([[given_[name] for name in metrics.METRICS]], tf.float64)
    )
    by_name = dict(zip(metrics.METRICS, said.numpy()[0]))
    assert by_name["auc"] == pytest.approx(value, abs=5.1e-5)
    assert by_name["positives"] == coarsening.row_count(positives)
    assert by_name["rows"] - by_name["positives"] == coarsening.row_count(negatives) > 0


def test_a_log_loss_does_not_say_more_the_larger_it_is():
    values = np.full([2, len(metrics.METRICS)], 4.0)
    values[:, metrics.METRICS.index("logloss")] = 123456789.1234, 12.34567
    said = coarsening.evaluated(tf.constant(values))[:, metrics.METRICS.index("logloss")]
    np.testing.assert_allclose(said, [100.0, 12.3457])
