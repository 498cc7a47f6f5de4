"""Algorithms by name."""

from typing import Callable

from pfrec import errors
from pfrec.data import schema as schema_lib
from tff_process import plan as plan_lib
from tff_process.algorithms import base, fedavg, fedbn, fedper, fedprox, local, pf_msmtrec

FEDERATED: "dict[str, Callable[[schema_lib.Schema, plan_lib.Plan], base.Algorithm]]" = {
    "fedavg": lambda schema, plan: fedavg.fedavg(schema),
    "fedbn": lambda schema, plan: fedbn.fedbn(schema),
    "fedper": lambda schema, plan: fedper.fedper(schema),
    "fedprox": lambda schema, plan: fedprox.fedprox(schema, plan.fedprox_mu),
    "local": lambda schema, plan: local.local(schema),
    "pf_msmtrec": lambda schema, plan: pf_msmtrec.pf_msmtrec(schema, plan.pf),
}
POOLED = ("pooled_mmoe",)
NAMES = (*FEDERATED, *POOLED)


def check(name: str) -> None:
    """Checks an algorithm's name.

    Raises:
      PfrecError: where it is unknown; the message names the known ones.
    """
    if name not in NAMES:
        raise errors.PfrecError(f"--algorithm={name}: unknown; known are {', '.join(sorted(NAMES))}")
