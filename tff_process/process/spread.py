"""How far apart the clients' values lie, as one factor.

Formula, with the consensus G: `P[k] <- G + s * (P[k] - G)` for all clients and all personal values
alike. A factor below 1 draws the clients together, as suits scenarios that have much in common; one
above 1 drives them further apart than their training went, as suits those that have little, whose
differences every aggregation wears down. G, their mean, stays where it is. What is served and what
training goes on from are moved alike.

Which s is tried and taken after every round: `training.spreading`. The sharing q of an algorithm
that keeps one in its state (`algorithms.base.SHARING`) then follows it: `q' = q / s` within bounds.
Where clients belong further apart than aggregations let them, they take less from one another from
then on, down to nearly local training; and at most as much as the settings say.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

import numpy as np

from tff_process.algorithms import base

# What is tried beside 1.
FACTORS = (0.0, 0.5, 0.75, 1.25, 1.5)
# The least of q, which a few rounds lead back from, and the factor that the smaller ones count as.
LEAST_SHARING, LEAST_FACTOR = 1 / 64, 0.5

OD = collections.OrderedDict
State = Mapping[str, Any]


def moved(mean: Any, difference: Any, factor: Any) -> Any:
    """The formula, for arrays and tensors alike: what a client's values become.

    Args:
      mean: G.
      difference: P - G.
      factor: s, a scalar of their type.
    """
    return mean + factor * difference


def scaled(
    state: State, factor: float, members: Mapping[str, np.ndarray], *, trained: bool = True
) -> State:
    """A server's state with the clients' differences from the consensus times a factor.

    Args:
      state: arrays by name in the parts `personal` [clients, ...], `consensus` [...] and `extra`.
      factor: s of the formula.
      members: bool [clients], by the names of values that not all clients take part in: the others
        stay where they are, as they have no labels of the task.
      trained: whether what training goes on from is moved too, or what is served alone.
    """

    def parts(values: State, own: str, consensus: State, common: str) -> Any:
        found = OD()
        for name in state["personal"]:
            if own + name in values:
                value, mean = np.asarray(values[own + name]), np.asarray(consensus[common + name])
                after = moved(mean, value - mean, value.dtype.type(factor))
                if name in members:
                    here = members[name].reshape([-1] + [1] * (value.ndim - 1))
                    after = np.where(here, after, value)
                found[own + name] = after
        return found

    extra = state["extra"]
    changed = {"personal": parts(state["personal"], "", state["consensus"], "")}
    if trained:
        own = parts(extra, f"{base.TRAINED}personal/", extra, f"{base.TRAINED}consensus/")
        changed["extra"] = OD((name, own.get(name, value)) for name, value in extra.items())
    return OD((part, changed.get(part, value)) for part, value in state.items())


def followed(state: State, factor: float) -> State:
    """A server's state whose sharing follows the factor that was taken; the state itself where it
    keeps none.

    Args:
      state: as of `scaled`; q is float32.
      factor: s of the formula.
    """
    extra = state["extra"]
    if factor == 1.0 or base.SHARING not in extra:
        return state
    sharing = np.clip(extra[base.SHARING] / max(factor, LEAST_FACTOR), LEAST_SHARING, 1.0)
    changed = OD(extra)
    changed[base.SHARING] = np.float32(sharing)
    return OD((part, changed if part == "extra" else value) for part, value in state.items())
