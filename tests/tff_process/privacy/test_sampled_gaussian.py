"""What one step says: of a sample of rows or of whole groups, one of which changes it by at most
the clip.
"""

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import privacy_audit
from pfrec.models.mmoe import mmoe
from tff_process.client import work as work_lib
from tff_process.privacy import clipping, sampled_gaussian, soundness

CLIP, SEED = 0.05, tf.constant([3, 4], tf.int64)


@pytest.fixture(scope="module")
def model():
    return work_lib.ClientModel(
        lambda: mmoe.build(privacy_audit.SCHEMA, privacy_audit.SHAPE, seed=1),
        privacy_audit.SCHEMA,
        0.0,
    )


def rows(groups, seed=0):
    random, count = np.random.default_rng(seed), len(groups)
    return {
        "categorical": tf.constant(random.integers(0, 5, [count, 1]), tf.int32),
        "numerical": tf.constant(random.normal(0, 3, [count, 1]), tf.float32),
        "labels": tf.constant(random.integers(0, 2, [count, 1]), tf.uint8),
        "group": tf.constant(groups, tf.int64),
    }


def without(of, group):
    kept = tf.where(of["group"] != group)[:, 0]
    return {name: tf.gather(value, kept) for name, value in of.items()}


def sums(model, of, unit, rate=1.0, noise=0.0, **how):
    answering = sampled_gaussian.SampledGaussian(
        tf.constant(rate, tf.float64), tf.constant(noise), CLIP, unit=unit, **how
    )
    found = answering.sums(model, model.trained, of, SEED)
    return np.concatenate([np.ravel(found[name]) for name in model.trained])


def test_all_rows_of_a_group_change_the_sum_by_at_most_the_clip(model):
    """And where groups are not bounded by more than that."""
    of = rows([7] * 30 + [8] * 5 + [9])
    for group in (7, 8, 9):
        other = without(of, group)
        moved = {
            unit: np.linalg.norm(sums(model, of, unit) - sums(model, other, unit))
            for unit in soundness.UNITS
        }
        assert 0.2 * CLIP < moved[soundness.GROUP] <= CLIP * (1 + 1e-5)
        if group == 7:
            assert moved[soundness.ROW] > 3 * CLIP


def test_a_groups_part_is_the_mean_of_its_clipped_gradients(model):
    of = rows([5, 5, 5])
    single = np.mean(
        [
            np.concatenate(
                [np.ravel(found.sums[model.variables[name].ref()]) for name in model.trained]
            )
            for row in range(3)
            for found in [
                clipping.clipped_sums(
                    model.network,
                    {name: value[row : row + 1] for name, value in of.items()},
                    CLIP,
                )
            ]
        ],
        axis=0,
    )
    np.testing.assert_allclose(sums(model, of, soundness.GROUP), single, atol=1e-7)


@pytest.mark.parametrize("unit", soundness.UNITS)
def test_sums_and_their_noise_are_divided_alike(model, unit):
    """Else noise would be as many times too small: Adam, which takes them, shows no difference."""
    of = rows([5, 5, 6])
    for noise in (0.0, CLIP):
        whole = sums(model, of, unit, noise=noise)
        found = sums(model, of, unit, noise=noise, divisor=tf.constant(8.0))
        np.testing.assert_allclose(found, whole / 8.0, rtol=1e-4, atol=1e-9)


def test_groups_are_taken_whole_and_each_by_itself():
    groups = np.repeat(np.arange(4000), [1, 3] * 2000)[np.random.default_rng(1).permutation(8000)]
    answering = sampled_gaussian.SampledGaussian(
        tf.constant(0.3, tf.float64), tf.constant(0.0), CLIP, unit=soundness.GROUP
    )
    chosen, weights = answering._sample({"group": tf.constant(groups)}, SEED)
    taken, counts = np.unique(groups[chosen], return_counts=True)
    np.testing.assert_array_equal(counts, np.where(taken % 2, 3, 1))
    np.testing.assert_allclose(weights, np.where(groups[chosen] % 2, 1 / 3, 1.0), rtol=1e-6)
    # A binomial of 4,000 groups, within 4 deviations.
    assert abs(len(taken) - 1200) < 4 * np.sqrt(4000 * 0.3 * 0.7)
