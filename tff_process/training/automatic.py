"""What `--precision=auto` comes to: float32 or bfloat16, which is then the plan's.

A rule and no measurement, so that the same plan on the same processor makes the same run. It is
applied once, where a run begins: its config.json, agreements and silos know of one of the two
alone, and a run that is resumed, there or on another machine, has what it began with.
"""

import dataclasses
import os
import pathlib
from typing import Optional

from pfrec import run_records
from pfrec.models import precision
from tff_process import plan as plan_lib

# The narrowest experts whose products were faster in bfloat16 (docs/performance.md).
WIDTH = 512


def resolved(plan: plan_lib.Plan, begun: "Optional[pathlib.Path]") -> plan_lib.Plan:
    """The plan with a precision that is not automatic.

    Args:
      plan: what was asked for.
      begun: the directory of the run, where it goes on.

    Raises:
      PfrecError: where its record is damaged.
    """
    if plan.precision != plan_lib.AUTO:
        return plan
    if begun is not None and (begun / run_records.CONFIG).exists():
        record = run_records.read_config(begun)["plan"]
        return dataclasses.replace(plan, precision=record.get("precision", plan_lib.FLOAT32))
    against = why_not(plan)
    chosen = plan_lib.FLOAT32 if against else plan_lib.BFLOAT16
    return dataclasses.replace(plan, precision=chosen)


def why_not(plan: plan_lib.Plan) -> str:
    """Why a plan is not trained in bfloat16 where that is left to a rule; empty where it is."""
    if plan.pooled:
        return "pooled algorithms have no other"
    if plan.dp_epsilon:
        return "gradients of single rows were not measured in bfloat16"
    if not precision.available(precision.BFLOAT16):
        return "this processor has no bfloat16 products"
    if os.environ.get("TF_ENABLE_ONEDNN_OPTS", "").lower() in ("0", "false"):
        return "oneDNN, which has the bfloat16 products, is turned off"
    if max(plan.model.expert_units) < WIDTH:
        return f"experts narrower than {WIDTH} gain nothing by bfloat16"
    return ""


def told(asked: plan_lib.Plan, plan: plan_lib.Plan, resumes: bool) -> str:
    """What an automatic precision came to, as a line; empty where it was asked for by name.

    Args:
      asked: with it.
      plan: what `resolved` made of it.
      resumes: whether it is that of a run that goes on.
    """
    if asked.precision != plan_lib.AUTO:
        return ""
    why = "as the run began"
    if not resumes:
        why = why_not(asked) or f"experts of {WIDTH} and wider train faster by it on this processor"
    return f"precision: {plan.precision}, {why}"
