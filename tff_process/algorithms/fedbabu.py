"""FedBABU: the body is learned under a head that stays as it was at first,
and each client then fits a head of its own to it.

The body is what FedPer shares (experts, the projection of numerical features, shared tables). The
head, gates and towers, never moves while the body is trained, so that all clients learn features
for the same one; it is random and nobody sends it. After each stretch of the body a client fits
its own head to its own body in `head_passes` passes over the same batches: that head is evaluated
and exported, and the body never sees it.

[ours] Batch normalisation and private tables are trained with the body and stay. The source fits
heads once, after all rounds; here that is done as training goes, so that rounds can be compared.

References:
  Oh, Kim and Yun, "FedBABU: Toward Enhanced Representation for Federated Image Classification",
  ICLR 2022.
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
FIXED = "fixed/"
_HEAD_KINDS = ("gate", "tower")


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="fedbabu"):
    """FedBABU's hyperparameters."""

    head_passes: int = settings_lib.setting(
        1,
        "passes over a round's batches for the client's own head; 0 leaves it as it was at first",
        low=0,
    )


def head(layout: variables.ModelVariables) -> list[variables.VariableSpec]:
    """The variables of the head."""
    return [spec for spec in layout.specs if spec.trainable and spec.kind in _HEAD_KINDS]


class FixedHead(strategy.Strategy):
    """FedBABU's client: its own head under the variables' own names, the first one beside it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def optimizers(self, layout: variables.ModelVariables) -> Mapping[str, Sequence[str]]:
        heads = [spec.name for spec in head(layout)]
        trained = [spec.name for spec in layout.specs if spec.trainable]
        return {HEAD: heads, BODY: [name for name in trained if name not in heads]}

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        return strategy.second_copies(head(layout), FIXED)

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        layout, private, work = inputs.layout, inputs.private, inputs.work
        first, own = strategy.under(private, FIXED), [spec.name for spec in head(layout)]
        kept = {name: value for name, value in private.items() if not name.startswith(FIXED)}

        def loop() -> Any:
            model.load(inputs.incoming)
            model.load(kept)
            model.load(first)
            done = work_lib.train_steps(model, inputs.settings, work, {}, BODY)
            upload, body = model.upload(layout), model.private_state(layout)
            model.load({name: private[name] for name in own})
            for _ in range(self._settings.head_passes):
                work_lib.train_steps(model, inputs.settings, work, {}, HEAD)
            fitted = {name: value for name, value in model.slots.items() if name.startswith(HEAD)}
            state = {
                **body,
                **model.read(own),
                **{name: slot.read_value() for name, slot in fitted.items()},
                **strategy.prefixed(first, FIXED),
            }
            return state, upload, done.examples, done.loss

        return work_lib.in_graph(loop)


@registry.register("fedbabu")
def fedbabu(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedPer's sharing and mean."""
    return dataclasses.replace(fedper.fedper(schema), name="fedbabu", client=FixedHead(settings))
