"""FedRep: clients first fit their own heads to the shared representation, then the representation to their heads.

The representation is what FedPer shares (experts, the projection of numerical features, shared tables); the head is the rest: gates,
towers, batch normalisation and private tables. In a round a client goes over its batches `head_passes` times with the representation
fixed, then once with the head fixed. Each phase has an Adam of its own, whose moments do not move what the phase holds fixed.

The paper's experiments take ten epochs for the head; that is eleven times the local work of every other method here, so one pass is the
default and the share of work is the user's to choose.

References:
  Collins et al., "Exploiting Shared Representations for Personalized Federated Learning", ICML 2021, algorithm 1.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from pfrec import errors
from pfrec.data import schema as schema_lib
from tff_process import client_strategy, client_work
from tff_process import layout as layout_lib
from tff_process.algorithms import base, fedper

HEAD, BODY = f"{client_work.OPTIMIZER}/head", f"{client_work.OPTIMIZER}/body"


@dataclasses.dataclass(frozen=True)
class Settings:
    """FedRep's knobs.

    Attributes:
      head_passes: passes over a round's batches for the head; 0 leaves the head as it is.
    """

    head_passes: int = 1

    def __post_init__(self) -> None:
        if self.head_passes < 0:
            raise errors.PfrecError(f"fedrep: head_passes is {self.head_passes}; it must not be negative")


class HeadThenBody(client_strategy.Strategy):
    """FedRep's client."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def optimizers(self, layout: layout_lib.Layout) -> "Mapping[str, Sequence[str]]":
        trained = [slot for slot in layout.slots if slot.trainable]
        head = [slot.name for slot in trained if slot.join == layout_lib.PRIVATE]
        return {HEAD: head, BODY: [slot.name for slot in trained if slot.name not in head]}

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

        @tf.function
        def loop() -> Any:
            model.load(incoming)
            model.load(private)
            for _ in range(self._settings.head_passes):
                client_work.fit(model, settings, work, {}, HEAD)
            done = client_work.fit(model, settings, work, {}, BODY)
            return model.private_state(layout), model.upload(layout), done.examples, done.loss

        return client_work.ClientRound(*loop())


def fedrep(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedPer's sharing and mean, with the client's phases."""
    return dataclasses.replace(fedper.fedper(schema), name="fedrep", client=HeadThenBody(settings))
