"""pFedMe: the global model is trained through the Moreau envelopes of the clients' losses.

Formula, for every batch: `theta = argmin f(theta) + lambda / 2 * ||theta - w||^2`, approximated by
`steps` steps on the batch, then `w -= eta * lambda * (w - theta)`; after the round the server takes
`w' = (1 - beta) * w + beta * mean of w[k]`. theta is the personal model that is evaluated and
exported; it goes on from batch to batch, and a round starts it at the received w.

[ours] The steps on theta are Adam's, as every client's here. Their length does not follow the
gradient's, so the paper's lambda = 15 and eta * lambda = 0.075, which go with plain gradient
descent, hold theta so close to w that neither moves; the defaults here were chosen on the valid
rows of one synthetic data set. Private variables belong to theta alone and take its steps. The
hyperparameter `outer` is the paper's `eta * lambda` in one: with steps = 1, lambda = 0, outer = 1
and beta = 1 this is FedAvg.

References:
  Dinh et al., "Personalized Federated Learning with Moreau Envelopes", NeurIPS 2020, algorithm 1;
  K = 5 and beta = 1 are defaults of its code.
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


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="pfedme"):
    """pFedMe's hyperparameters."""

    weight: float = settings_lib.setting(
        0.1, "weight of the pull of the personal model theta towards w", low=0.0, flag="lambda"
    )
    steps: int = settings_lib.setting(5, "K, steps on theta for every batch", low=1)
    outer: float = settings_lib.setting(
        0.5, "eta * lambda, how far w goes towards theta for every batch", low=0.0, high=1.0
    )
    beta: float = settings_lib.setting(
        1.0, "how far the server goes towards the clients' mean", above=0.0
    )


class MoreauEnvelope(strategy.Strategy):
    """pFedMe's client."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        return strategy.personal_copies(layout)

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        layout, incoming, private = inputs.layout, inputs.incoming, inputs.private
        own = self._settings
        pulled = dataclasses.replace(inputs.settings, proximal=own.weight)
        names = [spec.name for spec in layout.uploaded if spec.trainable]

        @tf.autograph.experimental.do_not_convert
        def step(batch: Any, w: Any) -> Any:
            anchors = dict(zip(names, w)) if own.weight else {}
            losses = []
            for _ in range(own.steps):
                loss, gradients = work_lib.loss_and_gradients(model, pulled, batch, anchors)
                model.apply(gradients)
                losses.append(loss)
            theta = model.read(names)
            return losses[0], tuple(
                (1.0 - own.outer) * old + own.outer * theta[name] for name, old in zip(names, w)
            )

        def loop() -> Any:
            model.load(strategy.of_variables(model, private))
            model.load(strategy.of_optimizers(private))
            model.load(incoming)
            done = work_lib.for_each_batch(
                model,
                inputs.settings,
                inputs.work,
                step,
                tuple(incoming[name] for name in names),
            )
            theta = model.upload(layout)
            # Statistics have no gradient; theta's are the client's.
            upload = collections.OrderedDict({**theta, **dict(zip(names, done.state))})
            return {**model.private_state(layout), **theta}, upload, done.examples, done.loss

        return work_lib.in_graph(loop)


@registry.register("pfedme")
def pfedme(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg's mean, approached by beta."""

    @base.of_means
    def aggregate(
        layout: variables.ModelVariables,
        tasks: tuple[str, ...],
        state: base.ServerState,
        reports: base.ClientReports,
    ) -> tuple[base.ServerState, base.Diagnostics]:
        new, diagnostics = fedavg.aggregate(layout, tasks, state, reports)
        mixed = collections.OrderedDict(
            (name, (1.0 - settings.beta) * state.common[name] + settings.beta * value)
            for name, value in new.common.items()
        )
        return dataclasses.replace(new, common=mixed), diagnostics

    return dataclasses.replace(
        fedavg.fedavg(schema), name="pfedme", aggregate=aggregate, client=MoreauEnvelope(settings)
    )
