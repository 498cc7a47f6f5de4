"""How a training is executed, as data; unlike the plan,
none of it changes what comes out of a run without faults.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Optional

from pfrec import json_fields, run_records
from pfrec import settings as settings_lib
from pfrec.settings import setting

RESIDENT, REFERENCE = "resident", "reference"
RETRY, SKIP, STOP = "retry", "skip", "stop"
# What a run goes on with: which updates it takes, and which rounds it keeps. How long to wait, and
# for whom, is of a machine and of a day.
LASTING = ("min_clients", "max_update_norm", "clip_updates", "keep_rounds")
POLICIES = (RETRY, SKIP, STOP)


@dataclasses.dataclass(frozen=True)
class Options(settings_lib.Settings):
    """How a training is executed; what a setting is, its help says.

    A run's record holds the settings that last, `LASTING`; all else is said anew whenever the run
    goes on.

    Attributes:
      newcomers: see `guard.Rules.of`; by their scenarios' names, which a run that goes on knows of
        itself.
      workers: HOST:PORT of each scenario's silo; empty for a simulation.
      tls: the directory of the driver's certificate for the tunnels to silos; None to speak to them
        in plain.
    """

    max_concurrent_clients: int = setting(
        0, "clients that train at once; 0 takes what processors and memory bear", low=0
    )
    runtime: str = setting(
        RESIDENT,
        "where private states are: resident keeps them in the clients' workers, reference is pure "
        "TFF and moves them",
        choices=(RESIDENT, REFERENCE),
    )
    local_workers: int = setting(
        1, "worker processes that the clients of a simulation are split over", low=1
    )
    client_timeout: float = setting(
        3600.0,
        "seconds that a call on a worker may take before it counts as hung; 0 for no limit",
        low=0.0,
    )
    on_client_failure: str = setting(
        RETRY,
        "what to do where a client's worker dies, hangs or fails: try it again (up to three "
        "times), let it miss the round, or stop",
        choices=POLICIES,
    )
    min_clients: int = setting(1, "a round with fewer accepted clients is not applied", low=1)
    max_update_norm: float = setting(
        2.0,
        "an update more than this many times as large as is usual in the round, for the batches "
        "behind it, is refused, or scaled down to that where its scenario is new in a run that "
        "goes on or is small, with at most a quarter of the median one's training rows and two "
        "batches a round; 0 for no bound",
        low=0.0,
    )
    clip_updates: bool = setting(
        False, "scale any update beyond --max_update_norm down to it instead of refusing it"
    )
    keep_rounds: int = setting(2, "complete rounds that are kept, besides the best ones", low=1)
    silo_timeout: float = setting(
        60.0,
        "seconds to try to reach a silo that is away; then the client misses the round "
        "(--on_client_failure=skip) or the run stops",
        low=0.0,
    )
    newcomers: "tuple[str, ...]" = ()
    workers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tls: Optional[pathlib.Path] = None

    @classmethod
    def of_run(cls, config: "Mapping[str, Any]", run: pathlib.Path) -> "Options":
        """The lasting settings that a run was executed with last, all else by default.

        Args:
          config: the record, `run_records.read_config`.
          run: the run's directory.

        Raises:
          PfrecError: where a value does not fit.
        """
        told = config.get(run_records.OPTIONS, {})
        place = f"{run / run_records.CONFIG}: {run_records.OPTIONS}"
        with json_fields.within(place, run_records.DAMAGED):
            return cls(**{name: told[name] for name in LASTING if name in told})

    def to_json(self) -> "dict[str, Any]":
        """The lasting settings, plain data."""
        return {name: value for name, value in super().to_json().items() if name in LASTING}

    @property
    def deadline(self) -> Optional[float]:
        """Seconds that a call on a worker may take; None for no limit."""
        return self.client_timeout or None
