"""What a gatekeeper enforces: the terms of an agreement, worked out for the silo
(`own_computations`).
"""

import dataclasses
from collections.abc import Mapping
from typing import Optional

from tensorflow_federated.proto.v0 import executor_pb2

from tff_process.privacy import mechanism
from tff_process.silos import receivable as receivable_lib
from tff_process.silos import values
from tff_process.sums import masks as masks_lib


@dataclasses.dataclass(frozen=True)
class Limits:
    """How often something may leave under an agreement.

    Attributes:
      most: answers of a label, by label; those of other labels are not counted.
      trainings: how many trainings may begin.
      counted_as: of labels whose answers count as several of another, that one and how many.
    """

    most: "Mapping[str, int]"
    trainings: int
    counted_as: "Mapping[str, tuple[str, int]]" = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Terms:
    """What a gatekeeper enforces.

    Attributes:
      plan_digest: of the plan, for the driver to compare.
      agreement_digest: of the whole agreement, for the ledger.
      receivable: what a driver may send.
      computations: the silo's own, by the names of `labels.CALLS`; of what is not here none is run.
      answers: the types of what leaves, by label.
      limits: how often.
      budget: of differential privacy, that reports spend; None where there is none.
      noise: what noise follows from beside all that comes in, by a digest: the silo's secret and
        how this version draws.
      masks: of the silo, for reports that leave for a sum; None where they leave as they are.
    """

    plan_digest: str
    agreement_digest: str
    receivable: receivable_lib.Receivable
    computations: "Mapping[str, executor_pb2.Value]"
    answers: "Mapping[str, values.Spec]"
    limits: Limits
    budget: Optional[mechanism.Budget] = None
    noise: str = ""
    masks: Optional[masks_lib.Masks] = None
