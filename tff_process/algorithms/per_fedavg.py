"""Per-FedAvg, first order: the common model is one that a client's own step makes good.

Formula, for every batch after the first: `w -= step of the gradient of f at w - alpha * grad f(w)`,
where the inner gradient is that of the batch before, so that the two are of different rows, as the
source has them. Second derivatives are left out (its FO variant). What is evaluated and exported is
the client's own trained model after one inner step more, on the last batch.

[ours] The outer step is Adam's, as every client's here, the inner one plain gradient descent of all
but embedding tables. The first batch of a round has none before it and is trained on as it is.
alpha = 0 uploads FedAvg's values.

References:
  Fallah, Mokhtari and Ozdaglar, "Personalized Federated Learning with Theoretical Guarantees: A
  Model-Agnostic Meta-Learning Approach", NeurIPS 2020, algorithm 1 and section 5 (FO).
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

PLAIN = "plain/"


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="per_fedavg"):
    """Per-FedAvg's hyperparameters."""

    alpha: float = settings_lib.setting(
        0.01, "step of the inner gradient descent; 0 uploads fedavg's values", low=0.0
    )


def adapted(layout: variables.ModelVariables) -> list[variables.VariableSpec]:
    """The variables of the inner step."""
    return [spec for spec in layout.specs if spec.trainable and spec.kind != "embedding"]


class Adapted(strategy.Strategy):
    """Per-FedAvg's client: its adapted model under the variables' own names; of what is private the
    values before the inner step beside it.
    """

    def __init__(self, settings: Settings) -> None:
        self._alpha = settings.alpha

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        private = [spec for spec in adapted(layout) if spec.join == variables.PRIVATE]
        return [*strategy.personal_copies(layout), *strategy.second_copies(private, PLAIN)]

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        layout, private, alpha = inputs.layout, inputs.private, self._alpha
        names = [spec.name for spec in adapted(layout)]
        statistics = [spec.name for spec in layout.specs if not spec.trainable]
        plain = strategy.under(private, PLAIN)

        @tf.autograph.experimental.do_not_convert
        def inner(batch: Any) -> Any:
            """The gradient where the model stands, whose statistics stay as they were."""
            before = model.read(statistics)
            _, gradients = work_lib.loss_and_gradients(model, inputs.settings, batch, {})
            model.load(before)
            return tuple(
                tf.zeros_like(model.variables[name]) if gradients[name] is None else gradients[name]
                for name in names
            )

        @tf.autograph.experimental.do_not_convert
        def step(batch: Any, state: Any) -> Any:
            stands = model.read(names)
            for name, gradient in zip(names, state):
                model.variables[name].assign_sub(alpha * gradient)
            loss, gradients = work_lib.loss_and_gradients(model, inputs.settings, batch, {})
            model.load(stands)
            model.apply(gradients)
            return loss, inner(batch) if alpha else state

        def loop() -> Any:
            model.load(strategy.of_variables(model, private))
            model.load(strategy.of_optimizers(private))
            model.load(inputs.incoming)
            model.load(plain)
            none = tuple(tf.zeros_like(model.variables[name]) for name in names)
            done = work_lib.for_each_batch(model, inputs.settings, inputs.work, step, none)
            upload, before = model.upload(layout), model.read(list(plain))
            for name, gradient in zip(names, done.state):
                model.variables[name].assign_sub(alpha * gradient)
            state = {
                **model.private_state(layout),
                **model.upload(layout),
                **strategy.prefixed(before, PLAIN),
            }
            return state, upload, done.examples, done.loss

        return work_lib.in_graph(loop)


@registry.register("per_fedavg")
def per_fedavg(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg at the server."""
    return dataclasses.replace(fedavg.fedavg(schema), name="per_fedavg", client=Adapted(settings))
