"""FedRoD: on one body a head that all share and a head of the client's own, which is added to it.

Formula, for every batch: body and common head h are trained as FedAvg's; the own head p minimises
the loss of the logits `h(z) + p(z)` at the features z, with body and h held. The sum is evaluated
and exported, on the client's own trained body; the body never sees p.

The head is the last layer of every tower, which is linear: so the sum of the logits is the logit of
the summed weights, and one network serves both.

[ours] The common head is trained on the plain loss and not on one that balances classes: here a
client has the same tasks as all others, and how often a row is positive is what is to be predicted.
`head_steps` is how many steps p takes a batch; with 0 it stays zero, and what is kept is what
fedavg_finetune keeps. Uploads are FedAvg's always.

References:
  Chen and Chao, "On Bridging Generic and Personalized Federated Learning for Image Classification",
  ICLR 2022, section 4.
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

OWN_HEAD, OPTIMIZER = "own_head/", f"{variables.OPTIMIZER}/own_head"


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="fedrod"):
    """FedRoD's hyperparameters."""

    head_steps: int = settings_lib.setting(
        1, "steps on the client's own head for every batch; 0 leaves it zero", low=0
    )


def head(layout: variables.ModelVariables) -> list[variables.VariableSpec]:
    """The last layer of every tower: what gives one number."""
    return [s for s in layout.specs if s.trainable and s.kind == "tower" and s.shape[-1] == 1]


class TwoHeads(strategy.Strategy):
    """FedRoD's client: its own model under the variables' own names, its own head beside it, and
    where heads stay at home the common one too.
    """

    _COMMON = "common/"

    def __init__(self, settings: Settings) -> None:
        self._steps = settings.head_steps

    def optimizers(self, layout: variables.ModelVariables) -> Mapping[str, Sequence[str]]:
        trained = [spec.name for spec in layout.specs if spec.trainable]
        return {variables.OPTIMIZER: trained, OPTIMIZER: [spec.name for spec in head(layout)]}

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        heads = [strategy.Kept(OWN_HEAD + spec.name, spec.shape) for spec in head(layout)]
        return [
            *strategy.personal_copies(layout),
            *heads,
            *strategy.second_copies(self._at_home(layout), self._COMMON),
        ]

    def _at_home(self, layout: variables.ModelVariables) -> list[variables.VariableSpec]:
        return [spec for spec in head(layout) if spec.join == variables.PRIVATE]

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        layout, private = inputs.layout, inputs.private
        names = [spec.name for spec in head(layout)]
        own = strategy.under(private, OWN_HEAD)
        statistics = [spec.name for spec in layout.specs if not spec.trainable]

        @tf.autograph.experimental.do_not_convert
        def step(batch: Any, state: Any) -> Any:
            stands = model.read([*names, *statistics])
            p = dict(zip(names, state))
            for _ in range(self._steps):
                model.load({name: stands[name] + p[name] for name in names})
                _, gradients = work_lib.loss_and_gradients(model, inputs.settings, batch, {})
                model.apply(gradients, OPTIMIZER)
                p = {name: model.variables[name] - stands[name] for name in names}
            model.load(stands)
            loss, gradients = work_lib.loss_and_gradients(model, inputs.settings, batch, {})
            model.apply(gradients)
            return loss, tuple(p[name] for name in names)

        def loop() -> Any:
            # Its own trained body is what is served; training goes on from what was received.
            model.load(strategy.of_variables(model, private))
            model.load(strategy.of_optimizers(private))
            model.load(inputs.incoming)
            model.load(strategy.under(private, self._COMMON))
            first = tuple(own[name] for name in names)
            done = work_lib.for_each_batch(model, inputs.settings, inputs.work, step, first)
            upload = model.upload(layout)
            home = model.read([spec.name for spec in self._at_home(layout)])
            p = dict(zip(names, done.state))
            for name in names:
                model.variables[name].assign_add(p[name])
            state = {
                **model.private_state(layout),
                **model.upload(layout),
                **strategy.prefixed(p, OWN_HEAD),
                **strategy.prefixed(home, self._COMMON),
            }
            return state, upload, done.examples, done.loss

        return work_lib.in_graph(loop)


@registry.register("fedrod")
def fedrod(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg at the server."""
    return dataclasses.replace(fedavg.fedavg(schema), name="fedrod", client=TwoHeads(settings))
