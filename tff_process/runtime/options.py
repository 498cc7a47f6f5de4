"""How a training is executed, as data; unlike the plan,
none of it changes what comes out of a run without faults.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Optional

RESIDENT, REFERENCE = "resident", "reference"


@dataclasses.dataclass(frozen=True)
class Options:
    """How a training is executed.

    Attributes:
      runtime: `resident` (private state stays in the workers) or `reference` (one pure TFF
        computation a round).
      max_concurrent_clients: clients that train at once; 0 takes what processors and memory bear.
      local_workers: worker processes that a simulation's clients are split over.
      client_timeout: seconds that a call on a worker may take before it counts as hung; None for no
        limit.
      on_client_failure: `retry`, `skip` or `stop`, see `executor.ClientExecutor`.
      min_clients, max_update_norm, clip_updates, newcomers: see `guard.Rules`; newcomers by their
        scenarios' names, which a run that goes on knows of itself.
      keep_rounds: complete rounds that are kept, besides the best ones.
      workers: HOST:PORT of each scenario's silo; empty for a simulation.
      tls: the directory of the driver's certificate for the tunnels to silos; None to speak to them
        in plain.
      silo_timeout: seconds to try to reach a silo that is away.
    """

    runtime: str = RESIDENT
    max_concurrent_clients: int = 0
    local_workers: int = 1
    client_timeout: Optional[float] = 3600.0
    on_client_failure: str = "retry"
    min_clients: int = 1
    max_update_norm: float = 2.0
    clip_updates: bool = False
    newcomers: "tuple[str, ...]" = ()
    keep_rounds: int = 2
    workers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tls: Optional[pathlib.Path] = None
    silo_timeout: float = 60.0
