"""What the records of plans mean: those of earlier versions, and of settings left to the budget."""

from collections.abc import Container, Mapping
from typing import Any

# What settings were that are not in records of before they came, where their default is another.
BEFORE: "Mapping[str, Any]" = {"weight_decay": 0.0}
# The value of a setting that is left to the budget.
AS_THE_BUDGET = -1.0
# What settings are, without a budget and with one, that were left to it.
FOLLOWING = {"home_epochs": (0.0, 20.0), "weight_decay": (30.0, 0.0)}
# What records of earlier versions call a setting that had a meaning under a budget alone.
_FORMER = {"dp_home_rate": "home_rate", "dp_home_epochs": "home_epochs"}


def meant(record: "Mapping[str, Any]", private: "Container[str]") -> "Mapping[str, Any]":
    """The record of a plan without settings that mean nothing in it: their defaults have changed
    since some records were written, and the trainings have not.

    Args:
      record: see `plan.Plan.to_json`.
      private: names of settings that mean nothing without a budget.
    """
    if record.get("dp_epsilon"):
        return {_FORMER.get(name, name): value for name, value in record.items()}
    return {
        name: value for name, value in record.items() if name not in _FORMER and name not in private
    }


def following(name: str, value: float, dp_epsilon: float) -> float:
    """What a setting comes to that may be left to the budget."""
    return FOLLOWING[name][bool(dp_epsilon)] if value == AS_THE_BUDGET else value


def decided(record: "Mapping[str, Any]") -> "Mapping[str, Any]":
    """A record that says what its settings come to, whether that was said by a number or left to
    the budget.
    """
    epsilon = record.get("dp_epsilon", 0.0)
    given = {name: record.get(name, BEFORE.get(name, AS_THE_BUDGET)) for name in FOLLOWING}
    return {**record, **{name: following(name, given[name], epsilon) for name in given}}
