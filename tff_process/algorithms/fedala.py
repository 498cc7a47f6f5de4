"""FedALA: before it trains, a client merges what it received with what it had,
element by element, with weights that it learns.

Formula, for the merged layers: `theta = own + (received - own) * W` with W in 0 to 1, `W -= rate *
grad f(theta) * (received - own)` over a share of the round's batches; the other layers take the
received values. W starts at one and is kept from round to round. What comes out of training is the
personal model: it is evaluated, exported and merged the next time. With no merged layer the
server's model is FedAvg's.

[ours] The paper merges the last p layers; here these are kinds of variable groups, by default the
towers. The paper learns W to convergence in its second round and by one pass from then on; here
each round has one pass.

References:
  Zhang et al., "FedALA: Adaptive Local Aggregation for Personalized Federated Learning", AAAI 2023,
  algorithm 1; 80% of the rows and a rate of 1 are its defaults.
"""

from __future__ import annotations

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

WEIGHTS = "merge/"
KINDS = ("embedding", "numeric", "expert", "gate", "tower")


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="fedala"):
    """FedALA's hyperparameters."""

    kinds: tuple[str, ...] = settings_lib.setting(
        ("tower",),
        "kinds of variable groups that are merged, others take the received values; none is fedavg",
        choices=KINDS,
    )
    rate: float = settings_lib.setting(1.0, "step size of the merge's weights", low=0.0)
    share: float = settings_lib.setting(
        0.8, "share of the round's batches that the weights are learned on", above=0.0, high=1.0
    )

    def merged(self, layout: variables.ModelVariables) -> list[variables.VariableSpec]:
        """The variables that are merged."""
        return [spec for spec in layout.uploaded if spec.kind in self.kinds and spec.trainable]


class AdaptiveMerge(strategy.Strategy):
    """FedALA's client."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        weights = [
            strategy.Kept(WEIGHTS + spec.name, spec.shape, 1.0)
            for spec in self._settings.merged(layout)
        ]
        return [*strategy.personal_copies(layout), *weights]

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        layout, settings, work = inputs.layout, inputs.settings, inputs.work
        incoming, private = inputs.incoming, inputs.private
        own = self._settings
        steps = tf.cast(tf.math.ceil(own.share * tf.cast(work["steps"], tf.float64)), tf.int64)
        some = {**work, "steps": steps}
        names = [spec.name for spec in own.merged(layout)]
        difference = {name: incoming[name] - private[name] for name in names}
        at_client = {spec.name: private[spec.name] for spec in layout.joined(variables.PRIVATE)}

        @tf.autograph.experimental.do_not_convert
        def merged(weights: Any) -> dict[str, tf.Tensor]:
            return {
                name: private[name] + difference[name] * weight
                for name, weight in zip(names, weights)
            }

        @tf.autograph.experimental.do_not_convert
        def learn(batch: Any, weights: Any) -> Any:
            model.load(merged(weights))
            loss, gradients = work_lib.loss_and_gradients(model, settings, batch, {})
            moved = [
                w - own.rate * tf.convert_to_tensor(gradients[name]) * difference[name]
                for name, w in zip(names, weights)
            ]
            return loss, tuple(tf.clip_by_value(w, 0.0, 1.0) for w in moved)

        def loop() -> Any:
            model.load(strategy.of_optimizers(private))
            model.load(at_client)
            model.load(incoming)
            weights = tuple(private[WEIGHTS + name] for name in names)
            if names:
                weights = work_lib.for_each_batch(model, settings, some, learn, weights).state
                # Batch statistics moved meanwhile.
                model.load(at_client)
                model.load(incoming)
                model.load(merged(weights))
            done = work_lib.train_steps(model, settings, work, {})
            upload = model.upload(layout)
            state = {
                **model.private_state(layout),
                **upload,
                **strategy.prefixed(dict(zip(names, weights)), WEIGHTS),
            }
            return state, upload, done.examples, done.loss

        return work_lib.in_graph(loop)


@registry.register("fedala")
def fedala(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg at the server."""
    return dataclasses.replace(fedavg.fedavg(schema), name="fedala", client=AdaptiveMerge(settings))
