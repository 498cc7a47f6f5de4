"""FedAvg with local fine-tuning: each client is judged by, and served with,
the received model trained on its own rows.

The fine-tuned model is what the client's own training made of the last global model that it
received, before the next averaging: fine-tuning by as much local work as lies between two
aggregations, at no cost besides keeping it. The server's values are FedAvg's.

References:
  Cheng et al., "Fine-tuning is Fine in Federated Learning", arXiv 2108.07313.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

from pfrec import lazy
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry
from tff_process.client import strategy, variables

with lazy.imports():
    from tff_process.client import work as work_lib


class KeepTrained(strategy.Strategy):
    """Plain training whose outcome the client keeps."""

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        return strategy.personal_copies(layout)

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        shared = {spec.name for spec in inputs.layout.uploaded}
        plain = collections.OrderedDict(
            (name, value) for name, value in inputs.private.items() if name not in shared
        )
        done = work_lib.train(model, dataclasses.replace(inputs, private=plain))
        return dataclasses.replace(done, private={**done.private, **done.upload})


@registry.register("fedavg_finetune")
def fedavg_finetune(schema: schema_lib.Schema) -> base.Algorithm:
    """FedAvg at the server."""
    return dataclasses.replace(fedavg.fedavg(schema), name="fedavg_finetune", client=KeepTrained())
