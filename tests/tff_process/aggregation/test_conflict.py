import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.tff_process.aggregation import reference
from tff_process.aggregation import conflict

SEEDS = st.integers(0, 2**32 - 1)
RADII = st.sampled_from([0.05, 0.4, 0.8, 0.95])
few = hypothesis.settings(max_examples=15, deadline=None)


def averse(delta: np.ndarray, c: float) -> np.ndarray:
    return conflict.conflict_averse(
        tf.constant(delta @ delta.T), tf.ones([len(delta)], tf.bool), c
    ).numpy()


def simplex_weights(coefficients: np.ndarray, c: float) -> np.ndarray:
    """w* recovered from u = (1/N + s * w*) / (1 + c^2) with s fixed by sum(w*) = 1."""
    scaled = coefficients * (1.0 + c * c) - 1.0 / len(coefficients)
    return scaled / scaled.sum()


@few
@hypothesis.given(seed=SEEDS, family=st.sampled_from(reference.FAMILIES), c=RADII)
def test_objective_agrees_with_slsqp(seed: int, family: str, c: float) -> None:
    delta = reference.updates(family, seed)
    weights = simplex_weights(averse(delta, c), c)
    assert weights.min() > -1e-9
    expected = reference.objective(reference.best_weights(delta, c), delta, c)
    natural = (delta.mean(axis=0) ** 2).sum()
    assert reference.objective(weights, delta, c) <= expected + 1e-6 * max(
        abs(expected), 1e-3 * natural
    )


@pytest.mark.parametrize("family", ["random", "agreeing"])
@pytest.mark.parametrize("seed", range(3))
def test_update_agrees_with_slsqp(family: str, seed: int) -> None:
    delta = reference.updates(family, seed)
    expected = reference.conflict_averse(delta, reference.best_weights(delta, 0.4), 0.4)
    np.testing.assert_allclose(
        averse(delta, 0.4) @ delta, expected, rtol=0, atol=1e-6 * np.linalg.norm(expected)
    )


@few
@hypothesis.given(seed=SEEDS, family=st.sampled_from(["random", "agreeing"]))
def test_weighted_methods_agree_with_references(seed: int, family: str) -> None:
    """Clients of 1 to 99 rows; the simplex weights are searched by SLSQP,
    the projections made on the updates themselves.
    """
    delta = reference.updates(family, seed)[:6]
    counts = np.random.default_rng(seed).integers(1, 100, len(delta)).astype(np.float64)
    arguments = tf.constant(delta @ delta.T), tf.ones([len(delta)], tf.bool)
    found = conflict.conflict_averse(*arguments, 0.4, tf.constant(counts)).numpy() @ delta
    expected = reference.conflict_averse(
        delta, reference.best_weights(delta, 0.4, counts), 0.4, counts
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.linalg.norm(expected))
    projected = conflict.pcgrad(*arguments, tf.constant(counts)).numpy() @ delta
    np.testing.assert_allclose(projected, reference.pcgrad(delta, counts), atol=1e-9)


@few
@hypothesis.given(seed=SEEDS)
def test_equal_weights_are_no_weights(seed: int) -> None:
    delta = reference.updates("random", seed)[:6]
    arguments = tf.constant(delta @ delta.T), tf.ones([len(delta)], tf.bool)
    counts = tf.fill([len(delta)], 7.0)
    np.testing.assert_allclose(
        conflict.conflict_averse(*arguments, 0.4, counts),
        conflict.conflict_averse(*arguments, 0.4),
        rtol=1e-9,
        atol=1e-12,
    )
    np.testing.assert_allclose(
        conflict.pcgrad(*arguments, counts), conflict.pcgrad(*arguments), rtol=1e-9, atol=1e-12
    )


def test_nobody_has_rows() -> None:
    """No mean, no update: zeros, not NaN."""
    arguments = tf.eye(3), tf.ones([3]), tf.zeros([3])
    np.testing.assert_array_equal(
        conflict.conflict_averse(*arguments[:2], 0.4, arguments[2]), [0.0, 0.0, 0.0]
    )
    np.testing.assert_array_equal(conflict.pcgrad(*arguments), [0.0, 0.0, 0.0])


@few
@hypothesis.given(seed=SEEDS)
def test_near_copies_still_come_close(seed: int) -> None:
    delta = reference.updates("random", seed)
    delta = np.concatenate(
        [delta, delta + 1e-3 * np.random.default_rng(seed).normal(size=delta.shape)]
    )[:20]
    weights = simplex_weights(averse(delta, 0.8), 0.8)
    expected = reference.objective(reference.best_weights(delta, 0.8), delta, 0.8)
    assert reference.objective(weights, delta, 0.8) <= expected + 1e-4 * abs(expected)


def test_two_clients_by_hand() -> None:
    # Dbar = (1/2, 1); the objective falls all the way to the corner of the short update: Dw* = (1,
    # 0), of length 1.
    delta = np.array([[1.0, 0.0], [0.0, 2.0]])
    length = np.sqrt(1.25)
    np.testing.assert_allclose(
        averse(delta, 0.5), [(0.5 + 0.5 * length) / 1.25, 0.5 / 1.25], atol=1e-9
    )


@pytest.mark.parametrize("clients", [1, 2, 7])
def test_full_agreement_lengthens_the_mean(clients: int) -> None:
    delta = np.tile([[3.0, -4.0]], (clients, 1))
    coefficients = averse(delta, 0.4)
    np.testing.assert_allclose(coefficients, 1.4 / 1.16 / clients, rtol=1e-12)


def test_equal_orthogonal_updates_lengthen_the_mean() -> None:
    np.testing.assert_allclose(averse(np.eye(4), 0.4), 1.4 / 1.16 / 4, rtol=1e-6)


def test_radius_zero_is_the_mean() -> None:
    np.testing.assert_allclose(averse(reference.updates("random", 3)[:5], 0.0), 0.2, rtol=1e-12)


@pytest.mark.parametrize(
    "delta",
    [
        [[1.0, 2.0], [-1.0, -2.0]],
        [[0.0, 0.0], [0.0, 0.0]],
        [[0.0, 0.0], [1.0, 0.0]],
        [[0.0, 0.0]],
        [[1e-20, 0.0], [0.0, 1e-20]],
        [[1e15, 0.0], [1.0, 1.0]],
    ],
    ids=["opposite", "all zero", "one zero", "alone and zero", "tiny", "huge"],
)
@pytest.mark.parametrize("c", [0.0, 0.4, 0.95])
def test_degenerate_updates_stay_in_the_trust_region(delta: "list[list[float]]", c: float) -> None:
    values = np.array(delta)
    coefficients = averse(values, c)
    assert np.isfinite(coefficients).all()
    mean = values.mean(axis=0)
    assert (
        np.linalg.norm((1.0 + c * c) * coefficients @ values - mean)
        <= c * np.linalg.norm(mean) + 1e-8 * np.abs(values).max()
    )


@few
@hypothesis.given(seed=SEEDS, c=RADII)
def test_update_stays_within_the_radius(seed: int, c: float) -> None:
    delta = reference.updates("random", seed)
    mean = delta.mean(axis=0)
    assert np.linalg.norm((1.0 + c * c) * averse(delta, c) @ delta - mean) <= c * np.linalg.norm(
        mean
    ) * (1.0 + 1e-9)


@few
@hypothesis.given(seed=SEEDS)
def test_permuting_clients_permutes_coefficients(seed: int) -> None:
    delta = reference.updates("random", seed)
    order = np.random.default_rng(seed).permutation(len(delta))
    expected = averse(delta, 0.4) @ delta
    np.testing.assert_allclose(
        averse(delta[order], 0.4) @ delta[order], expected, atol=1e-5 * np.linalg.norm(delta)
    )


@few
@hypothesis.given(seed=SEEDS)
def test_absent_clients_are_ignored_exactly(seed: int) -> None:
    delta = reference.updates("random", seed)
    present = np.random.default_rng(seed).random(len(delta)) < 0.6
    present[0] = True
    gram = delta @ delta.T
    gram[~present] = gram[:, ~present] = np.nan
    alone = tf.constant(gram[np.ix_(present, present)])
    everyone = tf.ones([present.sum()], tf.bool)
    for method in (
        lambda g, p: conflict.conflict_averse(g, p, 0.4),
        conflict.pcgrad,
        lambda g, p: conflict.mean(p),
    ):
        coefficients = method(tf.constant(gram), tf.constant(present)).numpy()
        np.testing.assert_array_equal(coefficients[~present], 0.0)
        np.testing.assert_array_equal(coefficients[present], method(alone, everyone).numpy())
    assert conflict.conflict_share(tf.constant(gram), present) == conflict.conflict_share(
        alone, everyone
    )


@few
@hypothesis.given(seed=SEEDS)
def test_pcgrad_equals_projecting_the_updates(seed: int) -> None:
    delta = reference.updates("random", seed)
    coefficients = conflict.pcgrad(tf.constant(delta @ delta.T), tf.ones([len(delta)])).numpy()
    np.testing.assert_allclose(coefficients @ delta, reference.pcgrad(delta), atol=1e-9)


def test_pcgrad_by_hand() -> None:
    # (1, 0) gives up its part against (-1, 1): (1/2, 1/2). (-1, 1) gives up its part against (1,
    # 0): (0, 1).
    delta = np.array([[1.0, 0.0], [-1.0, 1.0]])
    coefficients = conflict.pcgrad(tf.constant(delta @ delta.T), tf.ones([2], tf.bool)).numpy()
    np.testing.assert_allclose(coefficients, [1.0, 0.75])
    np.testing.assert_allclose(coefficients @ delta, [0.25, 0.75])


def test_pcgrad_never_projects_an_update_against_itself() -> None:
    # Three projections turn the last update, at 0 degrees, by 40 each: at 120 it opposes what it
    # was, and must stay there.
    angles = np.deg2rad([130.0, 170.0, 210.0, 0.0])
    delta = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    coefficients = conflict.pcgrad(tf.constant(delta @ delta.T), tf.ones([4])).numpy()
    np.testing.assert_allclose(coefficients @ delta, reference.pcgrad(delta), atol=1e-12)


def test_pcgrad_leaves_agreement_alone_and_bears_zero_updates() -> None:
    gram = tf.constant([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 0.0]], tf.float64)
    np.testing.assert_allclose(conflict.pcgrad(gram, tf.ones([3])), [1 / 3] * 3)


def test_mean_renormalises_over_those_present() -> None:
    np.testing.assert_allclose(conflict.mean(tf.constant([True, False, True])), [0.5, 0.0, 0.5])
    np.testing.assert_allclose(
        conflict.mean(tf.constant([1.0, 0.0, 1.0]), tf.constant([3.0, 9.0, 1.0])), [0.75, 0.0, 0.25]
    )
    np.testing.assert_array_equal(conflict.mean(tf.constant([False, False])), [0.0, 0.0])


def test_conflict_share_counts_pairs() -> None:
    gram = tf.constant([[1.0, -1.0, 2.0], [-1.0, 1.0, 0.0], [2.0, 0.0, 1.0]], tf.float64)
    assert conflict.conflict_share(gram, tf.ones([3], tf.bool)).numpy() == pytest.approx(1 / 3)
    assert conflict.conflict_share(gram, tf.constant([True, True, False])) == 1.0
    assert conflict.conflict_share(gram, tf.constant([True, False, False])) == 0.0


def test_nobody_present_gives_zeros() -> None:
    nobody = tf.zeros([2], tf.bool)
    for coefficients in (
        conflict.conflict_averse(tf.eye(2), nobody, 0.4),
        conflict.pcgrad(tf.eye(2), nobody),
    ):
        np.testing.assert_array_equal(coefficients, [0.0, 0.0])


@pytest.mark.parametrize("size", [3, None])
def test_works_in_a_plain_graph(size: "int | None") -> None:
    delta = reference.updates("random", 5)[:3]
    with tf.Graph().as_default() as graph:
        gram = tf.compat.v1.placeholder(tf.float64, [size, size])
        present = tf.compat.v1.placeholder(tf.bool, [size])
        results = [conflict.conflict_averse(gram, present, 0.4), conflict.pcgrad(gram, present)]
        assert all(result.shape.as_list() == [size] for result in results)
        with tf.compat.v1.Session(graph=graph) as session:
            found = session.run(results, {gram: delta @ delta.T, present: [True] * 3})
    np.testing.assert_allclose(found[0], averse(delta, 0.4), rtol=1e-6)
    np.testing.assert_allclose(found[1] @ delta, reference.pcgrad(delta), atol=1e-9)
