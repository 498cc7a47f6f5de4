"""Local training alone: nothing leaves a client but its metrics."""

from __future__ import annotations

from pfrec import sharing
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base, fedavg, registry


@registry.register("local")
def local(schema: schema_lib.Schema) -> base.Algorithm:
    """No group is shared, so FedAvg's mean is over nothing."""
    del schema
    return base.Algorithm(
        "local", sharing.SharingPolicy(()), personal_kinds=(), aggregate=fedavg.aggregate
    )
