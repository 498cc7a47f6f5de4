"""Which rows are for what: the [split] table of a TOML schema."""

from collections.abc import Mapping
from typing import Any, Optional

from pfrec import errors
from pfrec.data.conversion import splitting
from pfrec.data.conversion.toml import typed
from pfrec.data.reading import times

DEFAULT_SPLIT = {"valid": 0.1, "test": 0.2}


def rule(split: Mapping[str, Any]) -> Optional[splitting.Rule]:
    """The rule by which rows are split, or None for parts of all rows at random.

    Raises:
      PfrecError: naming the key that is unknown or of a wrong value, or those that exclude each
        other.
    """
    place, kinds = "[split]", ("time", "column", "by", "files")
    keys = ("valid_from", "test_from", "valid_days", "test_days")
    typed.known_keys(split, (*DEFAULT_SPLIT, *kinds, *keys), place)
    said = [kind for kind in kinds if kind in split]
    if len(said) > 1:
        raise errors.PfrecError(f"{place}: {' and '.join(said)} do not go together; keep one")
    if said != ["time"] and any(key in split for key in keys):
        raise errors.PfrecError(f"{place}: {', '.join(keys)} go with time alone; name its column")
    if not said or said == ["files"]:
        if split.get("files", True) is not True:
            raise errors.PfrecError(f"{place}: files must be true, or be left out")
        return splitting.Rule(splitting.FILES) if said else None
    column = typed.get(split, said[0], str, place)
    kind = {"by": splitting.GROUP, "column": splitting.COLUMN, "time": splitting.TIME}[said[0]]
    if said != ["time"]:
        return splitting.Rule(kind, column)
    given = [key for key in keys if key in split]
    if given not in ([], list(keys[:2]), list(keys[2:])):
        raise errors.PfrecError(
            f"{place}: give both valid_from and test_from, both valid_days and test_days, or none"
        )
    if not given:
        return splitting.Rule(kind, column)
    if "valid_days" in split:
        valid_days, test_days = (typed.get(split, key, int, place) for key in keys[2:])
        if min(valid_days, test_days) < 1:
            raise errors.PfrecError(f"{place}: valid_days and test_days must be at least 1")
        return splitting.Rule(kind, column, days=(valid_days, test_days))
    starts = [times.of_value(split[key]) for key in keys[:2]]
    for key, start in zip(keys, starts):
        if start is None:
            raise errors.PfrecError(
                f"{place}: {key} = {split[key]!r} is no time; write seconds since 1970 or "
                '"2023-11-14T22:26:20Z"'
            )
    valid_from, test_from = (float(start) for start in starts if start is not None)
    if valid_from >= test_from:
        raise errors.PfrecError(f"{place}: valid_from must be before test_from")
    return splitting.Rule(kind, column, starts=(valid_from, test_from))


def fractions(split: Mapping[str, Any]) -> tuple[float, float, float]:
    """The parts of train, valid and test.

    Raises:
      PfrecError: where they leave nothing for one of them.
    """
    valid, test = (
        float(typed.get(split, key, (int, float), "[split]", default))
        for key, default in DEFAULT_SPLIT.items()
    )
    if not (valid > 0 and test > 0 and valid + test < 1):
        raise errors.PfrecError(
            f"[split]: valid = {valid:g} and test = {test:g} must be above 0 and leave something "
            "to train on"
        )
    return 1 - valid - test, valid, test
