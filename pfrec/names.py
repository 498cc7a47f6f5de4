"""Names that become directories, checked in one place wherever they come from: raw files, a
dataset or run on disk, or a driver.
"""

import re

from pfrec import errors

# A dash first would be taken for a flag, a dot first for a hidden or a parent directory.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST = 100
# Files of a dataset directory, beside which scenarios have theirs.
_TAKEN = ("conversion.json", "dataset.json", "quarantine.jsonl")


def is_name(text: object) -> bool:
    """Whether `text` can be a scenario's name."""
    return (
        isinstance(text, str)
        and len(text) <= _LONGEST
        and text not in _TAKEN
        and _NAME.fullmatch(text) is not None
    )


def fault(text: object) -> str:
    """What is wrong with a scenario's name that is none."""
    return (
        f"scenario {str(text)[:_LONGEST]!r} cannot be a directory's name; use at most {_LONGEST} "
        f"letters, digits, '_', '-', '.', no dot or dash first, and none of {', '.join(_TAKEN)}"
    )


def require(text: object, *, place: str) -> str:
    """The name of a scenario.

    Raises:
      PfrecError: where it cannot be a directory's.
    """
    if not isinstance(text, str) or not is_name(text):
        raise errors.PfrecError(f"{place}: {fault(text)}")
    return text
