"""What is evaluated, saved and exported is an average over the last aggregations, while training
goes on from the values themselves.

Formula, after aggregation t = 1, 2, ... with a share s of them: `served += (value - served) / (1 +
s * (t - 1))`. With s = 1 that is the mean of all aggregations; with less, later ones count more, so
that the average reaches over about the last `s * t` of them; with s = 0 it is the last value. The
first aggregation replaces what training began with, so the average has no bias towards the start,
and it reaches the farther back the longer training has lasted: what a step size that does not fall
leaves of noise in the weights is averaged out, and early rounds wait for nothing.

It is done alike for every algorithm. The server averages what it sends; a client averages,
aggregation by aggregation, what never leaves it. What is served stands where every reader of a run
looks, and what training goes on from beside it, under `trained/`.

References:
  Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization", ICML 2013, section 4
  (polynomial-decay averaging); Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
  Generalization", UAI 2018.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pfrec import lazy
from tff_process.algorithms import base
from tff_process.client import strategy, variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.client import work as work_lib

TRAINED = base.TRAINED
COUNT = "averaged"


def part(number: tf.Tensor, share: float) -> tf.Tensor:
    """How far the average goes towards the value of aggregation `number`, counted from 1;
    float32 scalar.
    """
    return 1.0 / (1.0 + share * (tf.cast(number, tf.float32) - 1.0))


def towards(
    served: base.Values, values: base.Values, portion: tf.Tensor
) -> collections.OrderedDict[str, tf.Tensor]:
    """`served + portion * (values - served)`, by name."""
    return collections.OrderedDict(
        (name, served[name] + portion * (value - served[name])) for name, value in values.items()
    )


class Averaged(strategy.Strategy):
    """Another strategy's client, whose private variables are averaged.

    Args:
      inner: what trains.
      share: s of the formula.
    """

    def __init__(self, inner: strategy.Strategy, share: float) -> None:
        self._inner, self._share = inner, share
        self.reckons_with_epochs = inner.reckons_with_epochs

    def optimizers(self, layout: variables.ModelVariables) -> Mapping[str, Sequence[str]]:
        return self._inner.optimizers(layout)

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        return [
            *self._inner.kept(layout),
            *strategy.second_copies(self._served(layout), TRAINED),
            strategy.Kept(COUNT, ()),
        ]

    def _served(self, layout: variables.ModelVariables) -> list[variables.VariableSpec]:
        """What a private state holds under a variable's own name."""
        copies = {item.name for item in self._inner.kept(layout)}
        return [
            spec for spec in layout.specs if spec.join == variables.PRIVATE or spec.name in copies
        ]

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        private = inputs.private
        trained = strategy.under(private, TRAINED)
        served = {name: private[name] for name in trained}
        rest = {
            name: value
            for name, value in private.items()
            if name not in served and not name.startswith(TRAINED) and name != COUNT
        }
        done = strategy.trained(
            self._inner, model, dataclasses.replace(inputs, private={**rest, **trained})
        )
        new = {name: done.private[name] for name in trained}
        number = private[COUNT] + 1.0
        state = {
            **done.private,
            **towards(served, new, part(number, self._share)),
            **strategy.prefixed(new, TRAINED),
            COUNT: number,
        }
        return dataclasses.replace(done, private=state)


def averaged(algorithm: base.Algorithm, share: float) -> base.Algorithm:
    """The algorithm with what is served averaged; the algorithm itself where the share is 0.

    Args:
      algorithm: any.
      share: s of the formula, 0 to 1.
    """
    if not share:
        return algorithm

    def aggregate(
        layout: variables.ModelVariables,
        tasks: tuple[str, ...],
        state: base.ServerState,
        reports: base.ClientReports,
    ) -> tuple[base.ServerState, base.Diagnostics]:
        own = {name: value for name, value in state.extra.items() if not name.startswith(TRAINED)}
        before = dataclasses.replace(base.training_state(state), extra=own)
        after, diagnostics = base.aggregated(algorithm, layout, tasks, before, reports)
        portion = part(after.round, share)
        served: dict[str, Any] = {
            name: towards(getattr(state, name), getattr(after, name), portion)
            for name in base.TRAINED_PARTS
        }
        extra = collections.OrderedDict((*after.extra.items(), *base.trained_copies(after).items()))
        return base.ServerState(round=after.round, extra=extra, **served), diagnostics

    return dataclasses.replace(
        algorithm, aggregate=aggregate, client=Averaged(algorithm.client, share), keeps_trained=True
    )
