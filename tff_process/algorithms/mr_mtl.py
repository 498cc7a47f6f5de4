"""MR-MTL, mean-regularised multi-task learning: every client keeps a model of its own
and is pulled towards the mean of all.

Formula: client k minimises `F[k](v[k]) + lambda / 2 * ||v[k] - w||^2` from where its own v[k]
stands, with w the mean of all v that it received. Only v is trained; it is sent, evaluated and
exported. lambda = 0 is local training alone.

[ours] Rows of shared tables are weighted by how often each client saw them in the mean, as in
all algorithms here.

References:
  Evgeniou and Pontil, "Regularized Multi-Task Learning", KDD 2004;
  Liu et al., "On Privacy and Personalization in Cross-Silo Federated Learning", NeurIPS 2022,
  section 4 (MR-MTL).
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
    from tff_process.client import work as work_lib


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="mr_mtl"):
    """MR-MTL's hyperparameters."""

    weight: float = settings_lib.setting(
        0.01, "weight of the pull towards the mean of all; 0 is local", low=0.0, flag="lambda"
    )


class MeanRegularised(strategy.Strategy):
    """MR-MTL's client: its own model under the variables' own names."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        return strategy.personal_copies(layout)

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        pulled = dataclasses.replace(
            inputs.settings, proximal=self._settings.weight, anchor=variables.RECEIVED
        )
        layout, anchors = inputs.layout, inputs.anchors(pulled)

        def loop() -> Any:
            model.load(inputs.private)
            done = work_lib.train_steps(model, pulled, inputs.work, anchors)
            own = model.upload(layout)
            return {**model.private_state(layout), **own}, own, done.examples, done.loss

        return work_lib.in_graph(loop)


@registry.register("mr_mtl")
def mr_mtl(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg at the server."""
    return dataclasses.replace(
        fedavg.fedavg(schema), name="mr_mtl", client=MeanRegularised(settings)
    )
