"""What differs between the record of a run's plan and a plan, for messages."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pfrec import settings as settings_lib
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process import plan_records


def first(before: "Mapping[str, Any]", plan: plan_lib.Plan) -> str:
    """What differs first between the record of a plan (`Plan.to_json`) and a plan; empty where
    nothing.

    Settings that the record does not hold, being older than they are, had their defaults, or what
    their class says of such records; those that mean nothing in it (`plan.privacy_settings`) do not
    differ. An automatic precision is what the record came to.
    """
    if plan.precision == plan_lib.AUTO:
        precision = before.get("precision", plan_lib.FLOAT32)
        plan = dataclasses.replace(plan, precision=precision)
    own = type(plan.settings).from_json({}).to_json() if plan.settings else None
    model = ModelConfig.from_json({}).to_json()
    defaults = {**plan_lib.Plan(plan.algorithm).to_json(), **plan_records.BEFORE}
    return settings_lib.first_difference(
        plan_records.decided(plan_lib.meant(before)),
        plan_records.decided(plan_lib.meant(plan.to_json())),
        {**defaults, "settings": own, "model": model},
    )
