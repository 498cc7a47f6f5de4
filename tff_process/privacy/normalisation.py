"""What a released model normalises by: constants, so that no row is told by them."""

from typing import Optional

_CONSTANTS = {"moving_mean": 0, "moving_variance": 1}


def constant_of(variable: str) -> Optional[int]:
    """What a statistic of normalisation holds under a budget, by its variable's name; None where it
    is none.
    """
    return _CONSTANTS.get(variable.rpartition("/")[2])
