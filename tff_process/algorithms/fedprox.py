"""FedProx: FedAvg whose clients are pulled towards the values they received.

Formula: client k minimises `F[k](w) + mu / 2 * ||w - w_received||^2` over what it shares; mu = 0 is
FedAvg.

References:
  Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020.
"""

import dataclasses

from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg


def fedprox(schema: schema_lib.Schema, mu: float) -> base.Algorithm:
    """FedAvg with a proximal term of weight `mu`."""
    return dataclasses.replace(
        fedavg.fedavg(schema), name="fedprox", proximal=mu, anchor=base.RECEIVED
    )
