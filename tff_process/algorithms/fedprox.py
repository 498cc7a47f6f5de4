"""FedProx: FedAvg whose clients are pulled towards the values they received.

Formula: client k minimises `F[k](w) + mu / 2 * ||w - w_received||^2` over what it shares; mu = 0 is
FedAvg.

References:
  Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020.
"""

from __future__ import annotations

import dataclasses

from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry


@dataclasses.dataclass(frozen=True)
class Settings(settings_lib.Settings, prefix="fedprox"):
    """FedProx's hyperparameters."""

    mu: float = settings_lib.setting(
        0.01, "weight of the pull towards the values received; 0 is fedavg", low=0.0
    )


@registry.register("fedprox")
def fedprox(schema: schema_lib.Schema, settings: Settings = Settings()) -> base.Algorithm:
    """FedAvg with a proximal term."""
    return dataclasses.replace(
        fedavg.fedavg(schema), name="fedprox", proximal=settings.mu, anchor=base.RECEIVED
    )
