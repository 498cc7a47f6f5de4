"""What single values in text mean: missing, a whole number, true or false.

One answer for inference, conversion and every format.
"""

import functools
import re
from typing import Any, Optional

TRUE = ("1", "true", "yes", "y", "t")
FALSE = ("0", "false", "no", "n", "f")

# A number as Arrow reads one; Python's float() would also take 1_000.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Above this, float64 no longer tells neighbouring integers apart.
_LARGEST_EXACT = 2.0**53


@functools.lru_cache(maxsize=1)
def nulls() -> "tuple[str, ...]":
    """The spellings of a missing value: those of Arrow's CSV reader, which are pandas' too."""
    from pyarrow import csv as arrow_csv

    return tuple(arrow_csv.ConvertOptions().null_values)


def number(text: str) -> Optional[float]:
    """The number that a text is, or None."""
    text = text.strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def canonical(value: Any) -> str:
    """A value as a word to compare: without blanks around it, in lower case, whole numbers without
    a point (`1.0` is `1`).
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    found = float(value) if isinstance(value, (int, float)) else number(value)
    if found is None:
        return str(value).strip().casefold()
    return str(int(found)) if found == found // 1 and abs(found) < _LARGEST_EXACT else repr(found)


def is_null(value: Any) -> bool:
    """Whether a value is a missing one."""
    if value is None or (isinstance(value, float) and value != value):
        return True
    return isinstance(value, str) and value.strip() in nulls()
