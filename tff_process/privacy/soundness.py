"""What would make a guarantee untrue, of a budget or of secure sums, and so is refused."""

from typing import Any

from pfrec import errors
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base
from tff_process.algorithms import robust as robust_lib
from tff_process.client import strategy

ROW: str = "row"
GROUP: str = "group"
UNITS: "tuple[str, ...]" = (ROW, GROUP)


def check_plan(plan: Any) -> None:
    """Checks the settings of a plan with a budget.

    Args:
      plan: a `plan.Plan`.

    Raises:
      PfrecError: where one does not go with differential privacy; the message says why.
    """
    reasons = {
        "lazy_adam": (plan.lazy_adam, "which rows of a table move would tell who is in a batch"),
        "dropout": (plan.model.dropout > 0.0, "is not offered; noise does what it is for"),
        "template": (
            plan.model.template != "none",
            "task components train on the same rows without noise",
        ),
        "task_weights": (
            bool(plan.task_weights),
            "a row's gradient is clipped, whatever its weight",
        ),
        "positive_weights": (
            bool(plan.positive_weights),
            "a row's gradient is clipped, whatever its weight",
        ),
        "init_from (of an agreement --continues)": (
            plan.continues,
            "what the finished run spent of the same rows is in another run's budget",
        ),
        "algorithm": (
            plan.pooled,
            f"{plan.name} trains where all rows are, so that nothing leaves a scenario but rows",
        ),
    }
    for name, (unsound, why) in reasons.items():
        if unsound:
            raise errors.PfrecError(f"--dp_epsilon and --{name}: {why}; leave one of them out")


def check_secure_sums(plan: Any) -> None:
    """Refuses what needs single updates, or sums that differ in who is in them.

    Args:
      plan: a `plan.Plan` with secure sums.

    Raises:
      PfrecError: where a setting does not go with them; the message says why.
    """
    for wrong, told in (
        (plan.pooled, f" with {plan.name}: all rows are in one place and nothing is sent"),
        (
            plan.upload_bits < strategy.FULL_BITS,
            " and --upload_bits: rounded changes have a scale of each client's own, and only "
            "what has one scale can be summed",
        ),
        (
            plan.robust != robust_lib.NONE,
            f" and --robust={plan.robust}: the server sees no single update to limit",
        ),
        (
            plan.participation < 1.0,
            " and --participation below 1: from sums over different clients single updates "
            "follow; let all take part",
        ),
        (
            bool(plan.init_from) or plan.continues,
            " and --init_from: what clients go on from is not bound to the masks; train anew",
        ),
        (
            plan.dp_epsilon > 0,
            " and --dp_epsilon: this combination is not there; under a budget single updates "
            "are noised already",
        ),
    ):
        if wrong:
            raise errors.PfrecError(f"--secure_sums{told}")


def check_schema(schema: schema_lib.Schema, unit: str = ROW) -> None:
    """Checks that the pieces of `per_example` are all that the model of a schema is made of.

    Raises:
      PfrecError: where rows have weights, two features share a table, or a list is pooled by
        attention; where groups are protected and there are none.
    """
    if unit == GROUP and schema.group is None:
        raise errors.PfrecError(
            "--dp_unit=group: the schema names no group; convert the data with `group` in the "
            "schema, the column of the users, or leave --dp_unit out"
        )
    if schema.weight is not None:
        raise errors.PfrecError(
            f"--dp_epsilon: rows have weights ({schema.weight}), and a row's gradient is clipped, "
            "whatever its weight; convert without, or leave --dp_epsilon out"
        )
    for feature in schema.categorical:
        if feature.table or feature.pooling == schema_lib.ATTENTION:
            raise errors.PfrecError(
                f"--dp_epsilon: {feature.name} reads the table of {feature.owner}, and the norm of "
                "a row's gradient is known for tables that one feature reads; leave the feature or "
                "--dp_epsilon out"
            )


def check_algorithm(algorithm: base.Algorithm, uploads: int, unit: str = ROW) -> None:
    """Checks that what an algorithm's clients send depends on their rows through one training
    alone, which is what noise is put into.

    Args:
      algorithm: which one.
      uploads: how many variables leave.
      unit: of `UNITS`.

    Raises:
      PfrecError: where it does not.
    """
    if not uploads:
        raise errors.PfrecError(
            f"--dp_epsilon with {algorithm.name}: nothing that is trained leaves, so there is "
            "nothing to protect; leave --dp_epsilon out"
        )
    if unit == GROUP and algorithm.proximal:
        raise errors.PfrecError(
            f"--dp_unit=group with {algorithm.name}: how its pull compares to a sum over groups "
            "depends on how many there are, which does not leave; take fedavg, or a weight of 0"
        )
    if (kind := type(algorithm.client)) is not strategy.Strategy:
        more = "train more than what they send, on the same rows"
        if not kind.__module__.startswith("tff_process."):
            more = "train by a Strategy of its own, which may train more than what they send"
        raise errors.PfrecError(
            f"--dp_epsilon with {algorithm.name}: its clients {more}, and noise in what they send "
            f"would not cover that ({kind.__name__}). The home model of fedavg, fedprox or "
            "pf_msmtrec takes its place: choose one of these"
        )
