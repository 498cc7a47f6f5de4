"""Algorithms by name."""

from typing import Callable

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.models import networks
from tff_process import plan as plan_lib
from tff_process.algorithms import (
    apfl,
    base,
    ditto,
    fedala,
    fedamp,
    fedavg,
    fedavg_finetune,
    fedbabu,
    fedbn,
    fedhca2,
    fedper,
    fedprox,
    fedrep,
    local,
    mr_mtl,
    pf_msmtrec,
    pfedme,
    server_optimizer,
)

FEDERATED: "dict[str, Callable[[schema_lib.Schema, plan_lib.Plan], base.Algorithm]]" = {
    "apfl": lambda schema, plan: apfl.apfl(schema, plan.rivals.apfl),
    "ditto": lambda schema, plan: ditto.ditto(schema, plan.rivals.ditto),
    "fedadam": lambda schema, plan: server_optimizer.server_optimizer(
        schema, server_optimizer.ADAM, plan.rivals.server_optimizer
    ),
    "fedala": lambda schema, plan: fedala.fedala(schema, plan.rivals.fedala),
    "fedamp": lambda schema, plan: fedamp.fedamp(schema, plan.rivals.fedamp),
    "fedavg": lambda schema, plan: fedavg.fedavg(schema),
    "fedavg_finetune": lambda schema, plan: fedavg_finetune.fedavg_finetune(schema),
    "fedbabu": lambda schema, plan: fedbabu.fedbabu(schema, plan.rivals.fedbabu),
    "fedbn": lambda schema, plan: fedbn.fedbn(schema),
    "fedhca2": lambda schema, plan: fedhca2.fedhca2(schema, plan.rivals.fedhca2),
    "fedper": lambda schema, plan: fedper.fedper(schema),
    "fedprox": lambda schema, plan: fedprox.fedprox(schema, plan.fedprox_mu),
    "fedrep": lambda schema, plan: fedrep.fedrep(schema, plan.rivals.fedrep),
    "fedyogi": lambda schema, plan: server_optimizer.server_optimizer(
        schema, server_optimizer.YOGI, plan.rivals.server_optimizer
    ),
    "local": lambda schema, plan: local.local(schema),
    "mr_mtl": lambda schema, plan: mr_mtl.mr_mtl(schema, plan.rivals.mr_mtl),
    "pf_msmtrec": lambda schema, plan: pf_msmtrec.pf_msmtrec(
        schema, plan.pf, plan.local_epochs / plan.aggregations
    ),
    "pfedme": lambda schema, plan: pfedme.pfedme(schema, plan.rivals.pfedme),
}
POOLED = ("pooled_mmoe", *networks.POOLED)
NAMES = (*FEDERATED, *POOLED)


def check(name: str) -> None:
    """Checks an algorithm's name.

    Raises:
      PfrecError: where it is unknown; the message names the known ones.
    """
    if name not in NAMES:
        raise errors.PfrecError(
            f"--algorithm={name}: unknown; known are {', '.join(sorted(NAMES))}"
        )
