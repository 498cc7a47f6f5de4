"""Ditto: beside the global model each client trains a personal one that is pulled towards the
values it received.

Formula: `v[k] = argmin F[k](v) + lambda / 2 * ||v - w||^2` with w the global model of the round's
start, solved by as many steps on the same batches as the global model gets; w itself is FedAvg's.
lambda = 0 makes v the model of local training alone. v is evaluated and exported.

References:
  Li et al., "Ditto: Fair and Robust Federated Learning Through Personalization", ICML 2021,
  algorithm 1.
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
    from tff_process.client import work as work_lib

GLOBAL = "global/"
PERSONAL_OPTIMIZER = f"{variables.OPTIMIZER}/personal"


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="ditto"):
    """Ditto's hyperparameters."""

    weight: float = settings_lib.setting(
        0.1,
        "weight of the pull of the personal model towards the global one; 0 is local",
        low=0.0,
        flag="lambda",
    )


class TwoModels(strategy.Strategy):
    """Ditto's client: the personal model under the variables' own names,
    the global model's private part under `global/`.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def optimizers(self, layout: variables.ModelVariables) -> Mapping[str, Sequence[str]]:
        trained = [spec.name for spec in layout.specs if spec.trainable]
        return {variables.OPTIMIZER: trained, PERSONAL_OPTIMIZER: trained}

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        private = strategy.second_copies(layout.joined(variables.PRIVATE), GLOBAL)
        return [*strategy.personal_copies(layout), *private]

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        layout, private, work = inputs.layout, inputs.private, inputs.work
        pulled = dataclasses.replace(
            inputs.settings, proximal=self._settings.weight, anchor=variables.RECEIVED
        )
        anchors = inputs.anchors(pulled)
        private_names = [spec.name for spec in layout.joined(variables.PRIVATE)]

        def loop() -> Any:
            model.load(strategy.of_optimizers(private))
            model.load(inputs.incoming)
            model.load(strategy.under(private, GLOBAL))
            done = work_lib.train_steps(model, inputs.settings, work, {})
            upload, global_private = model.upload(layout), model.read(private_names)
            model.load(strategy.of_variables(model, private))
            work_lib.train_steps(model, pulled, work, anchors, PERSONAL_OPTIMIZER)
            state = {
                **model.private_state(layout),
                **model.upload(layout),
                **strategy.prefixed(global_private, GLOBAL),
            }
            return state, upload, done.examples, done.loss

        return work_lib.in_graph(loop)


@registry.register("ditto")
def ditto(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg at the server."""
    return dataclasses.replace(fedavg.fedavg(schema), name="ditto", client=TwoModels(settings))
