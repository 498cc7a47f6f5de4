"""FedBN: FedAvg of everything but batch normalisation,
whose parameters and statistics stay with their client.

References:
  Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization",
  ICLR 2021.
"""

from __future__ import annotations

from pfrec import sharing
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry


@registry.register("fedbn")
def fedbn(schema: schema_lib.Schema) -> base.Algorithm:
    """FedAvg's mean; no rule names `batch_norm/*`, so it is private."""
    rules = (("*", "shared"), ("embedding/*", "private"), *sharing.feature_rules(schema))
    return base.Algorithm(
        "fedbn", sharing.SharingPolicy(rules), personal_kinds=(), aggregate=fedavg.aggregate
    )
