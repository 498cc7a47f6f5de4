"""APFL: each client mixes a model of its own with the global one, and learns how much of which.

Formula, for every batch, with w the client's copy of the global model, v its own model and `m =
alpha * v + (1 - alpha) * w`: `w -= step of grad f(w)`, `v -= step of alpha * grad f(m)`, `alpha -=
rate * <v - w, grad f(m)>`, kept within 0 to 1. w is averaged as in FedAvg; m is evaluated and
exported. alpha = 1 is local training alone; with alpha = 0, m is the client's trained copy of
FedAvg's model.

[ours] The steps are Adam's, with moments of their own for v. Batch statistics of m are its own and
not mixed. All that is private (tables of private features) exists for w and for v.

References:
  Deng et al., "Adaptive Personalized Federated Learning", arXiv 2003.13461, algorithm 1 and
  equation 10.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pfrec import lazy
from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry
from tff_process.client import strategy, variables

with lazy.imports():
    import tensorflow as tf

    from tff_process.client import work as work_lib

ALPHA, GLOBAL, LOCAL = "alpha", "global/", "local/"
LOCAL_OPTIMIZER = f"{variables.OPTIMIZER}/local"


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="apfl"):
    """APFL's hyperparameters."""

    alpha: float = settings_lib.setting(
        0.5, "how much of the mixture is the client's own model at first", low=0.0, high=1.0
    )
    rate: float = settings_lib.setting(0.1, "step size of alpha; 0 keeps it as it is", low=0.0)


class Mixture(strategy.Strategy):
    """APFL's client: the mixture under the variables' own names, v under `local/`,
    the private part of w under `global/`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def optimizers(self, layout: variables.ModelVariables) -> Mapping[str, Sequence[str]]:
        trained = [spec.name for spec in layout.specs if spec.trainable]
        return {variables.OPTIMIZER: trained, LOCAL_OPTIMIZER: trained}

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        return [
            *strategy.personal_copies(layout),
            *strategy.second_copies([spec for spec in layout.specs if spec.trainable], LOCAL),
            *strategy.second_copies(layout.joined(variables.PRIVATE), GLOBAL),
            strategy.Kept(ALPHA, (), self._settings.alpha),
        ]

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        layout, settings, private = inputs.layout, inputs.settings, inputs.private
        trained = [spec.name for spec in layout.specs if spec.trainable]
        statistics = [spec.name for spec in layout.specs if not spec.trainable]
        private_names = [spec.name for spec in layout.joined(variables.PRIVATE)]
        before = strategy.under(private, LOCAL)

        @tf.autograph.experimental.do_not_convert
        def mixed(alpha: tf.Tensor, v: Any, w: work_lib.Values) -> dict[str, tf.Tensor]:
            return {name: alpha * own + (1.0 - alpha) * w[name] for name, own in zip(trained, v)}

        @tf.autograph.experimental.do_not_convert
        def step(batch: Any, state: Any) -> Any:
            # The network holds w from step to step; m, then v, pass through it.
            alpha, v, own_statistics = state
            loss, gradients = work_lib.loss_and_gradients(model, settings, batch, {})
            model.apply(gradients)
            w, w_statistics = model.read(trained), model.read(statistics)
            model.load({**mixed(alpha, v, w), **dict(zip(statistics, own_statistics))})
            _, at_mixture = work_lib.loss_and_gradients(model, settings, batch, {})
            dense = {
                name: tf.convert_to_tensor(slope)
                for name, slope in at_mixture.items()
                if slope is not None
            }
            own_statistics = tuple(model.read(statistics).values())
            model.load(dict(zip(trained, v)))
            model.apply({name: alpha * slope for name, slope in dense.items()}, LOCAL_OPTIMIZER)
            along = [
                tf.reduce_sum((own - w[name]) * dense[name])
                for name, own in zip(trained, v)
                if name in dense
            ]
            v = tuple(model.read(trained).values())
            model.load({**w, **w_statistics})
            return loss, (
                tf.clip_by_value(alpha - self._settings.rate * tf.add_n(along), 0.0, 1.0),
                v,
                own_statistics,
            )

        def loop() -> Any:
            model.load(strategy.of_optimizers(private))
            model.load(inputs.incoming)
            model.load(strategy.under(private, GLOBAL))
            start = (
                private[ALPHA],
                tuple(before[name] for name in trained),
                tuple(private[name] for name in statistics),
            )
            done = work_lib.for_each_batch(model, settings, inputs.work, step, start)
            alpha, v, own_statistics = done.state
            upload, w = model.upload(layout), model.read(trained)
            state = {
                **model.private_state(layout),
                **mixed(alpha, v, w),
                **dict(zip(statistics, own_statistics)),
                **strategy.prefixed(dict(zip(trained, v)), LOCAL),
                **strategy.prefixed(model.read(private_names), GLOBAL),
                ALPHA: alpha,
            }
            return state, upload, done.examples, done.loss

        return work_lib.in_graph(loop)


@registry.register("apfl")
def apfl(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg at the server."""
    return dataclasses.replace(fedavg.fedavg(schema), name="apfl", client=Mixture(settings))
