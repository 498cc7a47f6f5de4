"""FedDyn: every client's loss is changed as training goes, so that the clients' minima and that of
all rows become one.

Formula: client k minimises `F[k](w) - <g[k], w> + alpha / 2 * ||w - x||^2` from the received x, and
then sets `g[k] -= alpha * (w[k] - x)`. The server keeps `s -= 1 / N * (sum over those present of
(w[k] - x))`, N all clients, and sends `x' = mean of w[k] - s`. s is the source's h / alpha.

[ours] The changed loss has a gradient, and it is what Adam is given: the correction enters before
Adam. The mean, and the sum in s, weigh clients by rows. s is applied as far as
`--feddyn_server` says: in the source the whole of it, which with few and short rounds, as here,
carries the server far beyond the clients before the g[k], in steps of alpha, have grown to hold
them back. Rows of shared tables are FedAvg's: no client holds a g of a row that it never met.
alpha = 0 is FedAvg, whose server keeps no s.

References:
  Acar et al., "Federated Learning Based on Dynamic Regularization", ICLR 2021, algorithm 1.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from pfrec import lazy
from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry
from tff_process.client import strategy, variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.client import work as work_lib

LINEAR, DRIFT = "linear/", "drift/"


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="feddyn"):
    """FedDyn's hyperparameters."""

    alpha: float = settings_lib.setting(
        0.1, "weight of the pull towards the values received; 0 is fedavg", low=0.0
    )
    server: float = settings_lib.setting(
        0.1, "how much of its correction the server applies, 1 in the source", low=0.0, high=1.0
    )


def regularised(layout: variables.ModelVariables) -> list[variables.VariableSpec]:
    """The variables that FedDyn changes the loss by."""
    return [spec for spec in layout.uploaded if spec.trainable and not spec.counts_rows]


class Dynamic(strategy.Strategy):
    """FedDyn's client: beside FedAvg's state the linear part of its loss."""

    def __init__(self, settings: Settings) -> None:
        self._alpha = settings.alpha

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        return [strategy.Kept(LINEAR + spec.name, spec.shape) for spec in regularised(layout)]

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        layout, private, alpha = inputs.layout, inputs.private, self._alpha
        linear = strategy.under(private, LINEAR)
        kept = {name: value for name, value in private.items() if not name.startswith(LINEAR)}

        @tf.autograph.experimental.do_not_convert
        def step(batch: Any, state: Any) -> Any:
            loss, gradients = work_lib.loss_and_gradients(model, inputs.settings, batch, {})
            if alpha:
                for name, own in linear.items():
                    pull = alpha * (model.variables[name] - inputs.incoming[name]) - own
                    own_gradient = gradients[name]
                    gradients[name] = pull if own_gradient is None else own_gradient + pull
            model.apply(gradients)
            return loss, state

        def loop() -> Any:
            model.load(inputs.incoming)
            model.load(kept)
            done = work_lib.for_each_batch(model, inputs.settings, inputs.work, step, ())
            upload = model.upload(layout)
            after = {
                name: own - alpha * (upload[name] - inputs.incoming[name])
                for name, own in linear.items()
            }
            state = {**model.private_state(layout), **strategy.prefixed(after, LINEAR)}
            return state, upload, done.examples, done.loss

        return work_lib.in_graph(loop)


def initial_extra(layout: variables.ModelVariables, clients: int) -> base.Values:
    """s, zero."""
    del clients
    return collections.OrderedDict(
        (DRIFT + spec.name, tf.zeros(spec.shape)) for spec in regularised(layout)
    )


@registry.register("feddyn")
def feddyn(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg's mean, less the drift."""

    @base.of_means
    def aggregate(
        layout: variables.ModelVariables,
        tasks: tuple[str, ...],
        state: base.ServerState,
        reports: base.ClientReports,
    ) -> tuple[base.ServerState, base.Diagnostics]:
        new, diagnostics = fedavg.aggregate(layout, tasks, state, reports)
        if not settings.alpha:
            return new, diagnostics
        share = tf.reduce_mean(tf.cast(reports.present, tf.float32))
        common, extra = collections.OrderedDict(new.common), collections.OrderedDict(state.extra)
        for spec in regularised(layout):
            moved = new.common[spec.name] - state.common[spec.name]
            # The server's own correction is no client's move: the mean is of what clients trained.
            drift = state.extra[DRIFT + spec.name] - share * moved
            extra[DRIFT + spec.name] = drift
            common[spec.name] = new.common[spec.name] - settings.server * drift
        return dataclasses.replace(new, common=common, extra=extra), diagnostics

    return dataclasses.replace(
        fedavg.fedavg(schema),
        name="feddyn",
        aggregate=aggregate,
        client=Dynamic(settings),
        initial_extra=initial_extra,
    )
