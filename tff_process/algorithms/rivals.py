"""The hyperparameters of all baselines, one settings dataclass each."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tff_process.algorithms import apfl as apfl_lib
from tff_process.algorithms import ditto as ditto_lib
from tff_process.algorithms import fedala as fedala_lib
from tff_process.algorithms import fedamp as fedamp_lib
from tff_process.algorithms import fedbabu as fedbabu_lib
from tff_process.algorithms import fedhca2 as fedhca2_lib
from tff_process.algorithms import fedrep as fedrep_lib
from tff_process.algorithms import mr_mtl as mr_mtl_lib
from tff_process.algorithms import pfedme as pfedme_lib
from tff_process.algorithms import server_optimizer as server_optimizer_lib


@dataclasses.dataclass(frozen=True)
class Rivals:
    """The settings of each baseline, by its module."""

    fedrep: fedrep_lib.Settings = fedrep_lib.Settings()
    ditto: ditto_lib.Settings = ditto_lib.Settings()
    pfedme: pfedme_lib.Settings = pfedme_lib.Settings()
    apfl: apfl_lib.Settings = apfl_lib.Settings()
    fedamp: fedamp_lib.Settings = fedamp_lib.Settings()
    fedala: fedala_lib.Settings = fedala_lib.Settings()
    fedhca2: fedhca2_lib.Settings = fedhca2_lib.Settings()
    fedbabu: fedbabu_lib.Settings = fedbabu_lib.Settings()
    mr_mtl: mr_mtl_lib.Settings = mr_mtl_lib.Settings()
    server_optimizer: server_optimizer_lib.Settings = server_optimizer_lib.Settings()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Rivals":
        """The inverse of `dataclasses.asdict`, also after a trip through JSON."""
        made: dict[str, Any] = {}
        for name, default in vars(cls()).items():
            made[name] = type(default)(
                **{key: tuple(v) if isinstance(v, list) else v for key, v in value[name].items()}
            )
        return cls(**made)
