"""Weights of tasks and of positive rows in the loss, as a user writes them.

`buy=2, nl/buy=4` weighs the task `buy` twice, and four times in the scenario `nl`; what is not
named weighs 1.
"""

import math
import re
from collections.abc import Sequence

from pfrec import errors


def parse(text: str, flag: str) -> "dict[tuple[str, str], float]":
    """The weights that a text names, by scenario (empty for all) and task.

    Raises:
      PfrecError: where it is no such text, names a task twice, or a weight is not above 0.
    """
    found: dict[tuple[str, str], float] = {}
    for part in re.split(r"[,\s]+", text.strip()) if text.strip() else ():
        name, _, number = part.rpartition("=")
        scenario, _, task = name.rpartition("/")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not task or not 0.0 < weight < math.inf:
            raise errors.PfrecError(
                f"{flag}={text}: {part!r} is not TASK=WEIGHT or SCENARIO/TASK=WEIGHT with a weight "
                "above 0, as buy=2,nl/buy=4"
            )
        if (scenario, task) in found:
            raise errors.PfrecError(f"{flag}={text}: {name} stands twice; name it once")
        found[scenario, task] = weight
    return found


def of(text: str, flag: str, scenario: str, tasks: "Sequence[str]") -> "tuple[float, ...]":
    """A scenario's weights in the order of `tasks`; what it says of itself goes over what is said
    of all.
    """
    found = parse(text, flag)
    return tuple(found.get((scenario, task), found.get(("", task), 1.0)) for task in tasks)


def require_known(text: str, flag: str, scenarios: "Sequence[str]", tasks: "Sequence[str]") -> None:
    """Checks that all names are known.

    Raises:
      PfrecError: naming one that is not.
    """
    for scenario, task in parse(text, flag):
        if task not in tasks:
            raise errors.PfrecError(f"{flag}: no task {task!r}; there are {', '.join(tasks)}")
        if scenario and scenario not in scenarios:
            raise errors.PfrecError(
                f"{flag}: no scenario {scenario!r}; there are {', '.join(scenarios)}"
            )
