import math
import time
from typing import Optional

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from sklearn import metrics as reference

from pfrec import metrics

SEEDS = st.integers(0, 2**32 - 1)
some = hypothesis.settings(max_examples=40, deadline=None)


def rows(
    seed: int, size: int, levels: int
) -> "tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]":
    """Labels, scores with `levels` different values, groups, and which rows are observed."""
    random = np.random.default_rng(seed)
    scores = random.normal(size=levels)[random.integers(0, levels, size)]
    return (
        random.integers(0, 2, size),
        scores.astype(np.float32),
        random.integers(-3, 4, size),
        random.random(size) < 0.8,
    )


def slow_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    return float(reference.roc_auc_score(labels, scores)) if len(set(labels)) == 2 else math.nan


def slow_grouped_auc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> float:
    total = weight = 0.0
    for group in set(groups):
        inside = groups == group
        value = slow_auc(labels[inside], scores[inside])
        if not math.isnan(value):
            total, weight = total + value * inside.sum(), weight + inside.sum()
    return total / weight if weight else math.nan


def slow_ece(labels: np.ndarray, logits: np.ndarray, bins: int = 20) -> float:
    probability = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    error = 0.0
    for b in range(bins):
        inside = (probability >= b / bins) & ((probability < (b + 1) / bins) | (b == bins - 1))
        if inside.any():
            error += inside.mean() * abs(labels[inside].mean() - probability[inside].mean())
    return error


def test_auc_by_hand() -> None:
    # Pairs: (0.9 above 0.5), (0.9 above 0.1), (0.5 ties 0.5), (0.5 above 0.1): 3.5 of 4. The last
    # row is not observed.
    labels, scores = tf.constant([1.0, 1.0, 0.0, 0.0, 0.0]), tf.constant([0.9, 0.5, 0.5, 0.1, 2.0])
    observed = tf.constant([True, True, True, True, False])
    assert metrics.auc(labels, scores, observed) == 0.875
    assert metrics.auc(labels > 0, scores, observed) == 0.875


@some
@hypothesis.given(seed=SEEDS, size=st.integers(1, 300), levels=st.integers(1, 30))
def test_auc_agrees_with_sklearn(seed: int, size: int, levels: int) -> None:
    labels, scores, _, observed = rows(seed, size, levels)
    found = metrics.auc(tf.constant(labels), tf.constant(scores), tf.constant(observed)).numpy()
    np.testing.assert_allclose(
        found, slow_auc(labels[observed], scores[observed]), rtol=0, atol=1e-12
    )


@some
@hypothesis.given(seed=SEEDS, size=st.integers(1, 300), levels=st.integers(1, 30))
def test_grouped_auc_agrees_with_a_loop(seed: int, size: int, levels: int) -> None:
    labels, scores, groups, observed = rows(seed, size, levels)
    found = metrics.grouped_auc(*map(tf.constant, (labels, scores, groups, observed))).numpy()
    np.testing.assert_allclose(
        found,
        slow_grouped_auc(labels[observed], scores[observed], groups[observed]),
        rtol=0,
        atol=1e-12,
    )


def test_grouped_auc_by_hand() -> None:
    # Group 7: AUC 1 of 2 rows; group 5: AUC 1/2 (a tie and one pair each way) of 3 rows and one not
    # observed; group 6: one class.
    groups = tf.constant([7, 7, 5, 5, 5, 5, 6], tf.int64)
    labels = tf.constant([1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0])
    scores = tf.constant([0.2, 0.1, 0.5, 0.9, 0.1, 0.0, 0.3])
    observed = tf.constant([True, True, True, True, True, False, True])
    assert metrics.grouped_auc(labels, scores, groups, observed).numpy() == pytest.approx(
        (2 * 1.0 + 3 * 0.5) / 5, abs=1e-15
    )


def test_groups_far_apart_keep_their_identity() -> None:
    big = 2**62
    groups = tf.constant([big, big + 1, big, big + 1, -big, -big], tf.int64)
    labels, scores = tf.constant([1, 1, 0, 0, 1, 0]), tf.constant([2.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    assert metrics.grouped_auc(
        labels, scores, groups, tf.ones([6], tf.bool)
    ).numpy() == pytest.approx(0.5)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_auc(label: int) -> None:
    labels, scores, observed = (
        tf.fill([4], label),
        tf.constant([1.0, 2.0, 3.0, 3.0]),
        tf.ones([4], tf.bool),
    )
    assert math.isnan(metrics.auc(labels, scores, observed))
    assert math.isnan(metrics.grouped_auc(labels, scores, tf.zeros([4], tf.int64), observed))
    assert not math.isnan(metrics.logloss(labels, scores, observed))


def test_extreme_scores_are_ordered_and_nan_is_not_hidden() -> None:
    labels, observed = tf.constant([1, 0, 1, 0]), tf.ones([4], tf.bool)
    infinite = tf.constant([np.inf, -np.inf, 0.0, -0.0])
    assert metrics.auc(labels, infinite, observed) == 0.875
    spoilt = tf.constant([1.0, np.nan, 0.0, 0.0])
    groups = tf.zeros([4], tf.int64)
    assert math.isnan(metrics.auc(labels, spoilt, observed))
    assert math.isnan(metrics.grouped_auc(labels, spoilt, groups, observed))
    assert math.isnan(metrics.logloss(labels, spoilt, observed))
    assert math.isnan(metrics.expected_calibration_error(labels, spoilt, observed))
    assert metrics.auc(labels, spoilt, tf.constant([True, False, True, True])) == 0.75


def test_logloss_by_hand_and_where_sigmoid_saturates() -> None:
    labels, logits = tf.constant([1, 0, 1]), tf.constant([0.0, math.log(3.0), 50.0], tf.float64)
    assert metrics.logloss(
        labels, logits, tf.constant([True, True, False])
    ).numpy() == pytest.approx(math.log(8.0) / 2, abs=1e-12)
    saturated = metrics.logloss(
        tf.constant([0, 1]), tf.constant([200.0, 200.0]), tf.ones([2], tf.bool)
    )
    assert saturated.numpy() == pytest.approx(100.0)
    assert (
        metrics.logloss(tf.constant([1, 0]), tf.constant([np.inf, -np.inf]), tf.ones([2], tf.bool))
        == 0.0
    )


def test_ece_by_hand() -> None:
    # All four rows predict 0.75 while half are positive: 0.25. Predictions 0 and 1 that are right
    # add nothing.
    logit = math.log(3.0)
    labels, logits = tf.constant([1, 1, 0, 0]), tf.constant([logit] * 4)
    assert metrics.expected_calibration_error(
        labels, logits, tf.ones([4], tf.bool)
    ).numpy() == pytest.approx(0.25, abs=1e-7)
    right = metrics.expected_calibration_error(
        tf.constant([1, 0]), tf.constant([np.inf, -np.inf]), tf.ones([2], tf.bool)
    )
    assert right == 0.0


@some
@hypothesis.given(seed=SEEDS, size=st.integers(1, 300))
def test_logloss_and_ece_agree_with_references(seed: int, size: int) -> None:
    labels, logits, _, observed = rows(seed, size, 50)
    hypothesis.assume(observed.any())
    arguments = (tf.constant(labels), tf.constant(logits), tf.constant(observed))
    probability = 1.0 / (1.0 + np.exp(-logits[observed].astype(np.float64)))
    expected = reference.log_loss(labels[observed], probability, labels=[0, 1])
    np.testing.assert_allclose(metrics.logloss(*arguments), expected, atol=1e-12)
    expected = slow_ece(labels[observed], logits[observed])
    np.testing.assert_allclose(metrics.expected_calibration_error(*arguments), expected, atol=1e-12)


def test_evaluate_is_made_of_its_parts() -> None:
    labels, first, groups, observed = rows(1, 200, 20)
    other, second, _, _ = rows(2, 200, 20)
    encoded = np.stack([np.where(observed, labels, 255), other], axis=1).astype(np.uint8)
    found = metrics.evaluate(
        tf.constant(encoded), tf.constant(np.stack([first, second], axis=1)), tf.constant(groups)
    ).numpy()
    assert found.shape == (2, len(metrics.METRICS))
    for row, label, score, seen in zip(
        found, (labels, other), (first, second), (observed, np.ones(200, bool))
    ):
        values = dict(zip(metrics.METRICS, row))
        assert values["auc"] == pytest.approx(slow_auc(label[seen], score[seen]), abs=1e-12)
        assert values["gauc"] == pytest.approx(
            slow_grouped_auc(label[seen], score[seen], groups[seen]), abs=1e-12
        )
        assert values["ece"] == pytest.approx(slow_ece(label[seen], score[seen]), abs=1e-12)
        assert values["logloss"] == pytest.approx(
            np.logaddexp(0, np.where(label, -1, 1) * score.astype(float))[seen].mean()
        )
        assert (values["rows"], values["positives"]) == (seen.sum(), label[seen].sum())


@pytest.mark.parametrize("grouped", [True, False])
def test_nothing_to_evaluate_is_nan(grouped: bool) -> None:
    for labels in (tf.zeros([0, 2], tf.uint8), tf.fill([3, 2], tf.constant(255, tf.uint8))):
        count = len(labels)
        groups = tf.zeros([count], tf.int64) if grouped else None
        found = dict(
            zip(metrics.METRICS, metrics.evaluate(labels, tf.zeros([count, 2]), groups).numpy().T)
        )
        for name, values in found.items():
            np.testing.assert_array_equal(
                values, [0.0, 0.0] if name in ("rows", "positives") else [np.nan, np.nan]
            )


@pytest.mark.parametrize("shape", [None, [None, None], [None, 2]])
@pytest.mark.parametrize("grouped", [True, False])
def test_evaluate_in_a_graph_of_unknown_shapes(
    shape: "Optional[list[Optional[int]]]", grouped: bool
) -> None:
    labels, scores, groups, _ = rows(3, 50, 9)
    arguments = [
        tf.constant(np.stack([labels] * 2, 1), tf.uint8),
        tf.constant(np.stack([scores, -scores], 1)),
    ]
    signature = [tf.TensorSpec(shape, tf.uint8), tf.TensorSpec(shape, tf.float32)]
    if grouped:
        arguments.append(tf.constant(groups))
        signature.append(tf.TensorSpec(shape and shape[:1], tf.int64))
    function = tf.function(metrics.evaluate, input_signature=signature)
    np.testing.assert_allclose(function(*arguments), metrics.evaluate(*arguments), rtol=1e-12)
    if shape == [None, 2]:
        assert function.get_concrete_function().output_shapes.as_list() == [2, len(metrics.METRICS)]
    kinds = {node.op for node in function.get_concrete_function().graph.as_graph_def().node}
    assert not kinds & {"PyFunc", "EagerPyFunc", "PyFuncStateless"}


@pytest.mark.parametrize("levels", [1000, 10**6])
def test_a_million_rows_are_fast_and_exact(levels: int) -> None:
    labels, scores, _, observed = rows(4, 10**6, levels)
    start = time.perf_counter()
    found = metrics.auc(tf.constant(labels), tf.constant(scores), tf.constant(observed)).numpy()
    assert time.perf_counter() - start < 10.0  # about half a second on an idle core
    assert found == pytest.approx(slow_auc(labels[observed], scores[observed]), abs=1e-12)
