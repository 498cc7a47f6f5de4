"""Ditto: beside the global model each client trains a personal one that is pulled towards the values it received.

Formula: `v[k] = argmin F[k](v) + lambda / 2 * ||v - w||^2` with w the global model of the round's start, solved by as many steps on the same
batches as the global model gets; w itself is FedAvg's. lambda = 0 makes v the model of local training alone. v is evaluated and exported.

References:
  Li et al., "Ditto: Fair and Robust Federated Learning Through Personalization", ICML 2021, algorithm 1.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from pfrec import errors
from pfrec.data import schema as schema_lib
from tff_process import client_strategy, client_work
from tff_process import layout as layout_lib
from tff_process.algorithms import base, fedavg

GLOBAL = "global/"
PERSONAL_OPTIMIZER = f"{client_work.OPTIMIZER}/personal"


@dataclasses.dataclass(frozen=True)
class Settings:
    """Ditto's knobs.

    Attributes:
      weight: lambda, of the pull towards the global model.
    """

    weight: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight < float("inf"):
            raise errors.PfrecError(f"ditto: lambda is {self.weight}; it must not be negative")


class TwoModels(client_strategy.Strategy):
    """Ditto's client: the personal model under the variables' own names, the global model's private part under `global/`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def optimizers(self, layout: layout_lib.Layout) -> "Mapping[str, Sequence[str]]":
        trained = [slot.name for slot in layout.slots if slot.trainable]
        return {client_work.OPTIMIZER: trained, PERSONAL_OPTIMIZER: trained}

    def kept(self, layout: layout_lib.Layout) -> "Sequence[client_strategy.Kept]":
        private = client_strategy.second_copies(layout.joined(layout_lib.PRIVATE), GLOBAL)
        return [*client_strategy.personal_copies(layout), *private]

    def train(
        self,
        model: client_work.ClientModel,
        layout: layout_lib.Layout,
        settings: client_work.TrainingSettings,
        incoming: client_work.Values,
        template: client_work.Values,
        private: client_work.Values,
        work: client_work.Values,
    ) -> client_work.ClientRound:
        pulled = dataclasses.replace(settings, proximal=self._settings.weight, anchor=client_work.RECEIVED)
        anchors = client_work.anchors_of(layout, pulled, incoming, template)
        private_names = [slot.name for slot in layout.joined(layout_lib.PRIVATE)]

        @tf.function
        def loop() -> Any:
            model.load(client_strategy.of_optimizers(private))
            model.load(incoming)
            model.load(client_strategy.under(private, GLOBAL))
            done = client_work.fit(model, settings, work, {})
            upload, global_private = model.upload(layout), model.read(private_names)
            model.load(client_strategy.of_variables(model, private))
            client_work.fit(model, pulled, work, anchors, PERSONAL_OPTIMIZER)
            state = {**model.private_state(layout), **model.upload(layout), **client_strategy.prefixed(global_private, GLOBAL)}
            return state, upload, done.examples, done.loss

        return client_work.ClientRound(*loop())


def ditto(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg at the server."""
    return dataclasses.replace(fedavg.fedavg(schema), name="ditto", client=TwoModels(settings))
