"""What of a plan does not fit together, whatever data it is for: told as it is made."""

from typing import Any

from pfrec import errors, loss_weights
from pfrec.models.config import ModelConfig
from tff_process import plan_records
from tff_process.algorithms import base
from tff_process.client import strategy
from tff_process.privacy import soundness

LOSS, METRICS, ROW_COUNTS = "loss", "metrics", "row_counts"
WITHHELD = (LOSS, METRICS, ROW_COUNTS)
_BITS = (8, 16, strategy.FULL_BITS)

# Of what is no `setting`: what it must be, and what to give.
_KINDS: "tuple[tuple[str, Any, str], ...]" = (
    ("algorithm", (str, base.Algorithm), 'give a name, as "fedavg", or an Algorithm'),
    ("seed", int, "give a whole number"),
    ("model", ModelConfig, "give a pfrec.models.config.ModelConfig"),
    ("sharing", tuple, 'give pairs, as (("gate/*", "private"),)'),
    ("withhold", tuple, f"give some of {', '.join(WITHHELD)}, as ({LOSS!r},)"),
    ("init_from", str, "give the path of a run as text"),
    ("continues", bool, "give True or False"),
)


def as_tuples(value: Any) -> Any:
    """Lists, also within, as tuples: plans are keys of what is kept for them; a list is none."""
    return tuple(map(as_tuples, value)) if isinstance(value, (list, tuple)) else value


def check(plan: Any) -> None:
    """Checks a `plan.Plan` as it was given.

    Raises:
      PfrecError: where two of its settings do not go together, or one has a value, or what is no
        setting a type, that it cannot have.
    """
    _check_kinds(plan)
    if plan.seed < 0:
        raise errors.PfrecError(f"seed is {plan.seed}; it must not be negative")
    if plan.upload_bits not in _BITS:
        raise errors.PfrecError(f"upload_bits is {plan.upload_bits}; it must be 8, 16 or 32")
    if plan.upload_bits < strategy.FULL_BITS and plan.pooled:
        raise errors.PfrecError(
            f"--upload_bits with {plan.name}: all rows are in one place and nothing is sent; "
            "leave it out"
        )
    for name in plan_records.FOLLOWING:
        value = getattr(plan, name)
        if plan_records.AS_THE_BUDGET < value < 0:
            raise errors.PfrecError(
                f"{name} is {value:g}; it must be at least 0, or "
                f"{plan_records.AS_THE_BUDGET:g} for what goes with the budget"
            )
    if plan.home_epochs > 0 and plan.pooled:
        raise errors.PfrecError(
            f"--home_epochs with {plan.name}: all rows are in one place, and no client is "
            "there to finish at home; leave it out, in a comparison by an entry of its own for "
            "who does, as fedavg:home_epochs=20"
        )
    if plan.secure_sums:
        soundness.check_secure_sums(plan)
    loss_weights.parse(plan.task_weights, "task_weights")
    loss_weights.parse(plan.positive_weights, "positive_weights")
    for name in plan.withhold:
        if name not in WITHHELD:
            raise errors.PfrecError(f"withhold: {name!r} is not one of {', '.join(WITHHELD)}")
    if plan.dp_epsilon:
        soundness.check_plan(plan)


def _check_kinds(plan: Any) -> None:
    for name, kind, remedy in _KINDS:
        errors.require_kind(getattr(plan, name), kind, f"plan: {name}", remedy)
    for rule in plan.sharing:
        if not isinstance(rule, tuple) or [type(part) for part in rule] != [str, str]:
            raise errors.PfrecError(
                f'plan: sharing has {rule!r}; give pairs, as (("gate/*", "private"),)'
            )
