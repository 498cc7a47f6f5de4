"""The solver against SLSQP, against an exact solution over all faces of the simplex, and against
its own dual, which no other solution can beat.
"""

import itertools

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.tff_process.aggregation import reference
from tff_process.aggregation import conflict, conflict_averse_solver

SEEDS = st.integers(0, 2**32 - 1)
RADII = st.sampled_from([0.05, 0.4, 0.8, 0.95, 0.999])
some = hypothesis.settings(max_examples=40, deadline=None)


def solution(
    delta: np.ndarray, c: float, counts: "np.ndarray | None" = None
) -> "tuple[np.ndarray, np.ndarray]":
    """The simplex weights w*, and `p = Dbar + c * ||Dbar|| * u`."""
    share = np.full(len(delta), 1.0) if counts is None else counts
    towards = conflict_averse_solver.solve(delta @ delta.T, share / share.sum(), c).numpy()
    return towards / towards.sum(), (share / share.sum() + towards) @ delta


def left_to_gain(delta: np.ndarray, c: float, counts: "np.ndarray | None" = None) -> float:
    """The duality gap of what the solver gives, from the updates themselves, relative to
    `||Dbar||^2`; checks that both sides are feasible.

    For every w of the simplex and every p within `c * ||Dbar||` of Dbar the objective at w is at
    least `min over j of Delta[j]'p`.
    """
    weights, p = solution(delta, c, counts)
    mean = np.average(delta, axis=0, weights=counts)
    assert weights.min() >= 0.0
    assert weights.sum() == pytest.approx(1.0)
    assert np.linalg.norm(p - mean) <= c * np.linalg.norm(mean) * (1.0 + 1e-9)
    return (reference.objective(weights, delta, c, counts) - (delta @ p).min()) / (mean @ mean)


def exact(delta: np.ndarray, c: float) -> float:
    """The least objective, over the stationary points of every face of the simplex:
    in closed form, for few clients of full rank.

    On the affine hull of a face, `b + r * Gw / s = lambda` with `s = ||Dw||` gives `w = s / r *
    G^-1 (lambda - b)`, and `s^2 = w'Gw` the square equation `r^2 = lambda^2 * 1'G^-1 1 - 2 *
    lambda * 1'G^-1 b + b'G^-1 b`; the larger root has a positive s.
    """
    mean = delta.mean(axis=0)
    r, best = c * np.linalg.norm(mean), np.inf
    for size in range(1, len(delta) + 1):
        for face in itertools.combinations(range(len(delta)), size):
            chosen = delta[list(face)]
            inverse, b = np.linalg.inv(chosen @ chosen.T), chosen @ mean
            alpha, beta, gamma = inverse.sum(), (inverse @ b).sum(), b @ inverse @ b
            root = beta**2 - alpha * (gamma - r**2)
            if root < 0.0:
                continue  # no stationary point: the least lies on a smaller face
            weights = inverse @ ((beta + np.sqrt(root)) / alpha - b)
            if weights.sum() > 0.0 and (weights >= 0.0).all():
                best = min(
                    best,
                    reference.objective(
                        weights / weights.sum() @ np.eye(len(delta))[list(face)], delta, c
                    ),
                )
    return float(best)


def test_known_miss_of_gradient_steps() -> None:
    """Exponentiated gradient stopped at -0.560 here."""
    delta = reference.updates("low_rank", 1670)
    weights, _ = solution(delta, 0.95)
    assert reference.objective(weights, delta, 0.95) == pytest.approx(-0.6450639, abs=1e-7)
    assert reference.objective(reference.best_weights(delta, 0.95), delta, 0.95) == pytest.approx(
        -0.6450639, abs=1e-7
    )


@some
@hypothesis.given(seed=SEEDS, family=st.sampled_from(reference.FAMILIES), c=RADII)
def test_no_worse_than_slsqp(seed: int, family: str, c: float) -> None:
    delta = reference.updates(family, seed)[:8]
    weights, _ = solution(delta, c)
    natural = (delta.mean(axis=0) ** 2).sum()
    expected = reference.objective(reference.best_weights(delta, c), delta, c)
    assert reference.objective(weights, delta, c) <= expected + 1e-9 * natural


@some
@hypothesis.given(seed=SEEDS, clients=st.integers(1, 6), c=RADII)
def test_equals_the_exact_solution_over_faces(seed: int, clients: int, c: float) -> None:
    delta = np.random.default_rng(seed).normal(size=(clients, 12))
    weights, _ = solution(delta, c)
    expected = exact(delta, c)
    assert reference.objective(weights, delta, c) == pytest.approx(
        expected, abs=1e-9 * (delta.mean(axis=0) ** 2).sum()
    )


@some
@hypothesis.given(
    seed=SEEDS,
    clients=st.integers(1, 24),
    rank=st.integers(1, 24),
    near=st.sampled_from([0.0, 1e-8, 1e-5, 1e-3]),
    scales=st.sampled_from([0.0, 1.0, 2.0]),
    weighted=st.booleans(),
    c=RADII,
)
def test_proves_its_optimum(
    seed: int, clients: int, rank: int, near: float, scales: float, weighted: bool, c: float
) -> None:
    """Gram matrices of any rank, near-singular ones, updates of unlike lengths,
    clients of 1 to 99 rows.
    """
    random = np.random.default_rng(seed)
    delta = random.normal(size=(clients, rank)) @ random.normal(
        size=(rank, 40)
    ) + near * random.normal(size=(clients, 40))
    delta *= 10.0 ** random.uniform(-scales, scales, size=(clients, 1))
    counts = random.integers(1, 100, clients).astype(np.float64) if weighted else None
    mean = np.average(delta, axis=0, weights=counts)
    rounding = 1e-14 * np.linalg.norm(delta, axis=1).max() / np.linalg.norm(mean)
    assert left_to_gain(delta, c, counts) <= 1e-10 + 1e4 * rounding**2 + rounding


@pytest.mark.parametrize("family", ["random", "low rank", "near copies"])
@pytest.mark.parametrize("clients", [100, 200])
def test_many_clients(clients: int, family: str) -> None:
    random = np.random.default_rng(clients)
    delta = random.normal(size=(clients, 300))
    if family == "low rank":
        delta = random.normal(size=(clients, 3)) @ random.normal(size=(3, 300))
    if family == "near copies":
        delta = np.repeat(delta[: clients // 2], 2, axis=0) + 1e-6 * delta
    for c in (0.05, 0.4, 0.95):
        assert left_to_gain(delta, c) <= 1e-9


def test_updates_in_balance_are_given_the_dual_solution() -> None:
    """(1, 1), (-1, 1) and nothing at all: Dw* is zero, and no p serves the worst better than 0;
    that of the solver harms none.
    """
    delta = np.array([[1.0, 1.0], [-1.0, 1.0], [0.0, 0.0]])
    _, p = solution(delta, 0.4)
    assert (delta @ p).min() == pytest.approx(0.0, abs=1e-9)
    # Here the mean harms the short update, and the solver turns away from it though Dw* is zero.
    delta = np.array([[3.0, 0.5], [-1.0, 0.5], [0.0, 0.0]])
    assert (delta @ delta.mean(axis=0)).min() < 0.0
    _, p = solution(delta, 0.8)
    assert (delta @ p).min() >= -1e-9


@pytest.mark.parametrize("length", [1e-2, 1e-4, 1e-6, 1e-9, 0.0])
@pytest.mark.parametrize("clients", [2, 4, 40])
def test_short_means_end_within_the_radius(clients: int, length: float) -> None:
    """Updates that cancel out: rounding of the Gram matrix rules then,
    and what comes out is finite and stays in the ball.
    """
    delta = np.random.default_rng(clients).normal(size=(clients, 60))
    delta -= (1.0 - length) * delta.mean(axis=0)
    towards = (
        conflict_averse_solver.solve(delta @ delta.T, np.full(clients, 1.0 / clients), 0.8).numpy()
        @ delta
    )
    mean = np.linalg.norm(delta.mean(axis=0))
    assert (
        np.linalg.norm(towards)
        <= 0.8 * mean * (1.0 + 1e-6) + 1e-7 * np.linalg.norm(delta, axis=1).max()
    )


def test_repeats_bit_for_bit_at_any_scale() -> None:
    delta = reference.updates("random", 7)
    arguments = tf.constant(delta @ delta.T), tf.ones([len(delta)], tf.bool), 0.4
    np.testing.assert_array_equal(
        conflict.conflict_averse(*arguments), conflict.conflict_averse(*arguments)
    )
    scaled = conflict.conflict_averse(arguments[0] * 2.0**40, *arguments[1:])
    np.testing.assert_array_equal(scaled, conflict.conflict_averse(*arguments))


def test_nobody() -> None:
    assert conflict_averse_solver.solve(np.zeros([0, 0]), np.zeros([0]), 0.4).shape == (0,)
