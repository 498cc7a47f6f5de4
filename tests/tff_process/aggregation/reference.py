"""Slow, plain references and instances for the tests of aggregation; `counts` [N] weigh the clients
in the mean, alike without them.
"""

from typing import Optional

import numpy as np
from scipy import optimize

FAMILIES = ("random", "agreeing", "cancelling", "scales", "low_rank")


def updates(family: str, seed: int) -> np.ndarray:
    """Updates [N, d] of 2 to 20 clients."""
    random = np.random.default_rng(seed)
    clients, size = random.integers(2, 21), random.integers(2, 60)
    delta = random.normal(size=(clients, size))
    if family == "agreeing":
        delta += 3.0 * random.normal(size=size)
    if family == "cancelling":
        delta -= 0.95 * delta.mean(axis=0)
    if family == "scales":
        delta *= 10.0 ** random.uniform(-1.0, 1.0, size=(clients, 1))
    if family == "low_rank":
        delta = random.normal(size=(clients, 2)) @ random.normal(size=(2, size)) + 0.01 * delta
    return delta


def objective(
    weights: np.ndarray, delta: np.ndarray, c: float, counts: "Optional[np.ndarray]" = None
) -> float:
    """(Dw)'Dbar + c * ||Dbar|| * ||Dw||, from the updates themselves."""
    mean, joined = np.average(delta, axis=0, weights=counts), weights @ delta
    return float(joined @ mean + c * np.linalg.norm(mean) * np.linalg.norm(joined))


def best_weights(delta: np.ndarray, c: float, counts: "Optional[np.ndarray]" = None) -> np.ndarray:
    """The best that SLSQP finds from the middle of the simplex and from near its corners."""
    scale = np.linalg.norm(delta, axis=1).max()
    scaled, clients = delta / scale, len(delta)
    mean = np.average(scaled, axis=0, weights=counts)
    radius = c * np.linalg.norm(mean)

    def slope(weights: np.ndarray) -> np.ndarray:
        joined = weights @ scaled
        return scaled @ mean + radius * scaled @ joined / max(np.linalg.norm(joined), 1e-300)

    even = np.full(clients, 1.0 / clients)
    found = []
    for start in [even, *(0.5 * even + 0.5 * np.eye(clients))]:
        result = optimize.minimize(
            objective,
            start,
            args=(scaled, c, counts),
            jac=lambda weights, *_: slope(weights),
            method="SLSQP",
            bounds=[(0.0, 1.0)] * clients,
            constraints={
                "type": "eq",
                "fun": lambda w: w.sum() - 1.0,
                "jac": lambda w: np.ones_like(w),
            },
            options={"ftol": 1e-15, "maxiter": 500},
        )
        weights = np.clip(result.x, 0.0, None)
        found.append(weights / weights.sum())
    return min(found, key=lambda weights: objective(weights, scaled, c, counts))


def conflict_averse(
    delta: np.ndarray, weights: np.ndarray, c: float, counts: "Optional[np.ndarray]" = None
) -> np.ndarray:
    """U [d] of the simplex weights."""
    mean, joined = np.average(delta, axis=0, weights=counts), weights @ delta
    return (mean + c * np.linalg.norm(mean) / np.linalg.norm(joined) * joined) / (1.0 + c * c)


def pcgrad(delta: np.ndarray, counts: "Optional[np.ndarray]" = None) -> np.ndarray:
    """U [d], projecting the updates themselves."""
    projected = delta.copy()
    for i in range(len(delta)):
        for j in range(len(delta)):
            if i != j and projected[i] @ delta[j] < 0.0:
                projected[i] -= projected[i] @ delta[j] / (delta[j] @ delta[j]) * delta[j]
    return np.average(projected, axis=0, weights=counts)
