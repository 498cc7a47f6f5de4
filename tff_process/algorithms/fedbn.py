"""FedBN: FedAvg of everything but batch normalisation, whose parameters and statistics stay with their client.

References:
  Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization", ICLR 2021.
"""

from pfrec import groups
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg


def fedbn(schema: schema_lib.Schema) -> base.Algorithm:
    """FedAvg's mean; no rule names `batch_norm/*`, so it is private."""
    rules = (("*", "shared"), ("embedding/*", "private"), *groups.feature_rules(schema))
    return base.Algorithm("fedbn", groups.SharingPolicy(rules), personal_kinds=(), aggregate=fedavg.aggregate)
