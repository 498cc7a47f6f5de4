"""How the rows of a conversion are treated, whatever their format."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Options:
    """How rows are treated, whatever their format.

    Attributes:
      split_seed: seed of the hash that splits rows.
      missing_numerical: see `encoding.encode`.
      on_bad_row: `stop` at the first bad row, `skip` bad rows, or put them in `quarantine`.
      resume: whether to go on with an interrupted conversion.
      record: further settings that the rows depend on, by name, for the record.
      scenarios: the scenarios to keep; none for all.
      min_rows: scenarios with fewer rows are left out.
    """

    split_seed: int = 0
    missing_numerical: str = "reject"
    on_bad_row: str = "stop"
    resume: bool = False
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scenarios: tuple[str, ...] = ()
    min_rows: int = 0
