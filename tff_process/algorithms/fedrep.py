"""FedRep: clients first fit their own heads to the shared representation,
then the representation to their heads.

The representation is what FedPer shares (experts, the projection of numerical features, shared
tables); the head is the rest: gates, towers, batch normalisation and private tables. In a round a
client goes over its batches `head_passes` times with the representation fixed, then once with the
head fixed. Each phase has an Adam of its own, whose moments do not move what the phase holds fixed.

The paper's experiments take ten epochs for the head; that is eleven times the local work of every
other method here, so one pass is the default and the share of work is the user's to choose.

References:
  Collins et al., "Exploiting Shared Representations for Personalized Federated Learning", ICML
  2021, algorithm 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pfrec import lazy
from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedper, registry
from tff_process.client import strategy, variables

with lazy.imports():
    from tff_process.client import work as work_lib

HEAD, BODY = f"{variables.OPTIMIZER}/head", f"{variables.OPTIMIZER}/body"


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="fedrep"):
    """FedRep's hyperparameters."""

    head_passes: int = settings_lib.setting(
        1, "passes over a round's batches for the head; 0 leaves the head as it is", low=0
    )


class HeadThenBody(strategy.Strategy):
    """FedRep's client."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def optimizers(self, layout: variables.ModelVariables) -> Mapping[str, Sequence[str]]:
        trained = [spec for spec in layout.specs if spec.trainable]
        head = [spec.name for spec in trained if spec.join == variables.PRIVATE]
        return {HEAD: head, BODY: [spec.name for spec in trained if spec.name not in head]}

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        settings, work = inputs.settings, inputs.work

        def loop() -> Any:
            model.load(inputs.incoming)
            model.load(inputs.private)
            for _ in range(self._settings.head_passes):
                work_lib.train_steps(model, settings, work, {}, HEAD)
            done = work_lib.train_steps(model, settings, work, {}, BODY)
            private, upload = model.private_state(inputs.layout), model.upload(inputs.layout)
            return private, upload, done.examples, done.loss

        return work_lib.in_graph(loop)


@registry.register("fedrep")
def fedrep(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedPer's sharing and mean, with the client's phases."""
    return dataclasses.replace(fedper.fedper(schema), name="fedrep", client=HeadThenBody(settings))
