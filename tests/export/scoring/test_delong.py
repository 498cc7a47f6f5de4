"""DeLong's interval against the formula over all pairs, scikit-learn's AUC, and chance."""

import numpy as np
import pytest
from sklearn import metrics

from export.scoring import delong


def drawn(seed, rows=200, levels=0):
    """Labels and the scores of two models that know something of them; `levels` makes ties."""
    rng = np.random.default_rng(seed)
    labels = rng.random(rows) < 0.3
    common = rng.normal(size=rows)
    scores = [labels * shift + common + rng.normal(size=rows) for shift in (1.0, 1.3)]
    return labels, *(np.round(s * levels) if levels else s for s in scores)


def over_pairs(labels, scores):
    """The share of pairs that each row is ranked rightly in."""
    positive, negative = scores[labels], scores[~labels]
    right = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return right.mean(axis=1), right.mean(axis=0)


@pytest.mark.parametrize("levels", [0, 2])
def test_it_is_the_formula_over_all_pairs(levels):
    labels, *scores = drawn(1, levels=levels)
    found = delong.compare(labels, *scores)
    for auc, own in zip((found.first, found.second), scores):
        assert auc == pytest.approx(metrics.roc_auc_score(labels, own), abs=1e-12)
    (one, two), (other, another) = (over_pairs(labels, own) for own in scores)
    variance = np.var(other - one, ddof=1) / labels.sum()
    variance += np.var(another - two, ddof=1) / (~labels).sum()
    assert found.error == pytest.approx(np.sqrt(variance), rel=1e-9)
    assert (found.rows, found.positives) == (200, labels.sum())


def test_equal_models_differ_by_nothing():
    labels, scores, _ = drawn(2)
    found = delong.compare(labels, scores, scores)
    assert (found.difference, *found.interval(9)) == (0.0, 0.0, 0.0)


def test_intervals_hold_as_often_as_they_say():
    """Of 400 draws of two models that are equally good, about 5% of 95% intervals miss 0."""
    missed = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        labels = rng.random(150) < 0.4
        scores = [labels + rng.normal(size=150) for _ in range(2)]
        low, high = delong.compare(labels, *scores).interval()
        missed += not low <= 0.0 <= high
    assert 6 <= missed <= 36  # within four standard deviations


def test_more_intervals_at_once_are_wider_and_one_class_has_none():
    labels, *scores = drawn(3)
    found = delong.compare(labels, *scores)
    assert found.interval(10)[0] < found.interval(1)[0] < found.difference
    assert found.interval(1)[1] - found.difference == pytest.approx(1.959964 * found.error)
    for labels in ([1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]):
        assert delong.compare(np.array(labels), np.arange(5), np.arange(5)) is None


@pytest.mark.parametrize("levels", [0, 2])
def test_a_single_model_has_the_formula_over_all_pairs(levels):
    labels, scores, _ = drawn(4, levels=levels)
    auc, half_width = delong.single(labels, scores)
    assert auc == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    above, below = over_pairs(labels, scores)
    error = np.sqrt(np.var(above, ddof=1) / len(above) + np.var(below, ddof=1) / len(below))
    assert half_width == pytest.approx(1.959964 * error, rel=1e-6)
    for labels in ([1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]):
        assert delong.single(np.array(labels), np.arange(5.0)) is None
