"""Flags that would do nothing: each is one error that names it, so that nobody takes it for what
was done.
"""

from collections.abc import Iterable, Sequence

from absl import flags

from pfrec import command, errors
from pfrec import settings as settings_lib
from tff_process import plan as plan_lib
from tff_process.algorithms import registry

# Settings that mean something where another is one of some values alone.
_OF = {
    "schedule_end": ("schedule", (plan_lib.COSINE,)),
    "schedule_factor": ("schedule", (plan_lib.STEP,)),
    "schedule_parts": ("schedule", (plan_lib.STEP,)),
    "rank": ("template", ("additive", "hadamard")),
}
# What is of clients, which pooled algorithms do not have.
_OF_CLIENTS = (
    *("aggregations", "aggregate_every", "participation", "robust", "lazy_adam", "sharing"),
    *("max_concurrent_clients", "local_workers", "on_client_failure", "min_clients"),
    *("max_update_norm", "clip_updates"),
)


def is_given(names: "Iterable[str]") -> bool:
    """Whether the command line says a setting, by one of its names: of an alias absl notes it of
    that alone.
    """
    return not all(flags.FLAGS[name].using_default_value for name in names)


def require_used(made: plan_lib.Plan, own: "dict[str, str]") -> None:
    """Checks that what is said of differential privacy, of finishing, and of what a setting chooses
    is of a plan that has it.

    Raises:
      PfrecError: where it would do nothing; the message names the flag.
    """
    _require_chosen([made], own)
    rate = next(one for one in settings_lib.of(plan_lib.Plan) if one.name == "home_rate")
    if not made.passes_at_home and (is_given(rate.names) or rate.names & set(own)):
        raise errors.PfrecError(
            f"--home_rate={made.home_rate:g}: by it clients finish what they serve, and with "
            f"{made.name} here none does; give --home_epochs too, or leave it out"
        )
    if made.dp_epsilon:
        return
    for one in plan_lib.privacy_settings():
        if one.flag in own or is_given(one.names):
            value = own.get(one.flag, flags.FLAGS[one.flag].value)
            raise errors.PfrecError(
                f"--{one.flag}={value} without --dp_epsilon: there is no "
                "differential privacy that it could be of; give --dp_epsilon too, or leave it out"
            )


def require_used_by_one(plans: "Sequence[plan_lib.Plan]") -> None:
    """Checks that a setting that means something beside some value of another alone is given where
    one of the plans has that value.

    Raises:
      PfrecError: where none has; it names the flag.
    """
    _require_chosen(plans, [name for name in _OF if is_given([name])])


def _require_chosen(plans: "Sequence[plan_lib.Plan]", names: "Iterable[str]") -> None:
    for name in names:
        if name not in _OF:
            continue
        other, fitting = _OF[name]
        all_values = [{**made.to_json(), **made.model.to_json()} for made in plans]
        if not any(values[other] in fitting for values in all_values):
            raise errors.PfrecError(
                f"--{name}={all_values[0][name]}: is of --{other}={' or '.join(fitting)} alone, "
                f"and here --{other} is {all_values[0][other]}; give that too, or leave it out"
            )


def require_of_clients(made: plan_lib.Plan) -> None:
    """Checks that no flag of clients is given with an algorithm that has none.

    Raises:
      PfrecError: where one is; it names the flag.
    """
    if made.pooled:
        names = [*_OF_CLIENTS, *(["precision"] if made.precision == plan_lib.BFLOAT16 else [])]
        command.refuse_idle(names, f"is of clients, which {made.name} does not have")


def require_effective() -> None:
    """Checks that flags of built-in data and of silos are given with these alone.

    Raises:
      PfrecError: where one would do nothing.
    """
    f = flags.FLAGS
    if f.data != "synthetic":
        made = [name for name in f if name.startswith("synthetic_")]
        command.refuse_idle(made, "is of --data=synthetic")
    if "workers" in f and not f.workers:
        command.refuse_idle(["tls", "silo_timeout"], "is of --workers")
    elif "workers" in f:
        command.refuse_idle(
            ["local_workers"], "is of a simulation, and silos are their own workers"
        )


def require_concerned(algorithms: "Sequence[str]") -> None:
    """Checks that every algorithm's setting that the command line gives is one of these, by name:
    of another it would do nothing.

    Raises:
      PfrecError: where one is not; the message names the flag and whose it is.
    """
    defaults = [registry.default_settings(name) for name in algorithms]
    own = {one.flag for made in defaults if made is not None for one in settings_lib.of(type(made))}
    for settings, owners in registry.all_settings().items():
        for one in settings_lib.of(settings):
            # A user's module may register more than the algorithm whose flags are defined.
            if one.flag in own or one.flag not in flags.FLAGS or not is_given(one.names):
                continue
            value = flags.FLAGS[one.flag].value
            text = one.text(tuple(value) if one.many else value)
            raise errors.PfrecError(
                f"--{one.flag}={text}: is a setting of {', '.join(owners)}, and would do nothing "
                f"to {', '.join(dict.fromkeys(algorithms))}; leave it out"
            )
