"""FedPer: shared base layers are averaged,
the personal layers on top of them stay with their client.

Base layers are here the experts, the projection of numerical features and the shared tables;
personal are gates, towers and, as everywhere but in FedAvg, batch normalisation.

References:
  Arivazhagan et al., "Federated Learning with Personalization Layers", arXiv 1912.00818.
"""

from __future__ import annotations

from pfrec import sharing
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry


@registry.register("fedper")
def fedper(schema: schema_lib.Schema) -> base.Algorithm:
    """FedAvg's mean over the base layers alone."""
    rules = (("expert/*/shared", "shared"), ("numeric", "shared"), *sharing.feature_rules(schema))
    return base.Algorithm(
        "fedper", sharing.SharingPolicy(rules), personal_kinds=(), aggregate=fedavg.aggregate
    )
