"""JSON from disk or wire, read entry by entry: what is not of the type or in the range that belongs
there is one error that names the file and the entry, and never a traceback further on.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from pfrec import errors

_LARGEST = 1 << 53  # Above, not every JSON reader keeps whole numbers.


class Fields:
    """The entries of a JSON object.

    Args:
      value: what was read.
      place: the file, and where in it, for messages.
      remedy: what to do about one that is damaged, as a clause.

    Raises:
      PfrecError: where it is no object; each method, where an entry is missing or another thing.
    """

    def __init__(self, value: Any, place: str, remedy: str) -> None:
        self._place, self._remedy = place, remedy
        if not isinstance(value, Mapping):
            raise self._fault(f"{_told(value)} where an object belongs")
        self._value = value

    def __contains__(self, name: str) -> bool:
        return name in self._value

    def text(self, name: str) -> str:
        """An entry that is text."""
        value = self._get(name)
        if not isinstance(value, str):
            raise self._fault(f"{name} is {_told(value)}, not text")
        return value

    def integer(self, name: str, least: int = 0, most: int = _LARGEST) -> int:
        """An entry that is a whole number from `least` to `most`."""
        value = self._get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self._fault(
                f"{name} is {_told(value)}, not a whole number from {least} to {most}"
            )
        return value

    def number(
        self,
        name: str,
        least: "Optional[float]" = None,
        most: "Optional[float]" = None,
        *,
        none: bool = False,
    ) -> "Optional[float]":
        """An entry that is a finite number from `least` to `most`, or with `none` nothing."""
        value = self._get(name)
        if value is None and none:
            return None
        good = isinstance(value, (int, float)) and not isinstance(value, bool)
        if good and isinstance(value, int) and abs(value) > _LARGEST:
            good = False
        if good and not math.isfinite(value):
            good = False
        if not good or (least is not None and value < least) or (most is not None and value > most):
            bounds = f" from {least}" * (least is not None) + f" to {most}" * (most is not None)
            raise self._fault(f"{name} is {_told(value)}, not a number{bounds}")
        return float(value)

    def integers(self, name: str, least: int = 0, most: int = _LARGEST) -> "tuple[int, ...]":
        """An entry that is a list of whole numbers from `least` to `most`."""
        value = self._get(name)
        if not isinstance(value, (list, tuple)):
            raise self._fault(f"{name} is {_told(value)}, not a list of whole numbers")
        own = Fields({str(i): item for i, item in enumerate(value)}, self._at(name), self._remedy)
        return tuple(own.integer(key, least, most) for key in own.names())

    def numbers(
        self, name: str, least: "Optional[float]" = None, most: "Optional[float]" = None
    ) -> "tuple[Optional[float], ...]":
        """An entry that is a list of finite numbers from `least` to `most`."""
        value = self._get(name)
        if not isinstance(value, (list, tuple)):
            raise self._fault(f"{name} is {_told(value)}, not a list of numbers")
        own = Fields({str(i): item for i, item in enumerate(value)}, self._at(name), self._remedy)
        return tuple(own.number(key, least, most) for key in own.names())

    def matrix(self, name: str) -> "tuple[tuple[Optional[float], ...], ...]":
        """An entry that is a list of lists of finite numbers, all of one length."""
        value = self._get(name)
        if not isinstance(value, (list, tuple)):
            raise self._fault(f"{name} is {_told(value)}, not a matrix")
        own = Fields({str(i): item for i, item in enumerate(value)}, self._at(name), self._remedy)
        rows = tuple(own.numbers(key) for key in own.names())
        if len({len(row) for row in rows}) > 1:
            raise self._fault(f"{name} has rows of different lengths")
        return rows

    def flag(self, name: str) -> bool:
        """An entry that is true or false."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._fault(f"{name} is {_told(value)}, not true or false")
        return value

    def each(self, name: str) -> "list[Fields]":
        """An entry that is a list of objects."""
        value = self._get(name)
        if not isinstance(value, (list, tuple)):
            raise self._fault(f"{name} is {_told(value)}, not a list")
        return [
            Fields(item, f"{self._at(name)}[{i}]", self._remedy) for i, item in enumerate(value)
        ]

    def texts(self, name: str, *, distinct: bool = True) -> "tuple[str, ...]":
        """An entry that is a list of texts, none of them twice where they are to be distinct."""
        value = self._get(name)
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, str) for item in value):
            raise self._fault(f"{name} is {_told(value)}, not a list of texts")
        if distinct and len(set(value)) != len(value):
            raise self._fault(f"{name} holds an entry twice")
        return tuple(value)

    def fields(self, name: str) -> "Fields":
        """An entry that is an object."""
        return Fields(self._get(name), self._at(name), self._remedy)

    def plain(self, name: str, default: Optional[Any] = None) -> Any:
        """An entry of any kind."""
        return self._value.get(name, default)

    def names(self) -> "tuple[str, ...]":
        """Of all entries."""
        return tuple(self._value)

    @property
    def value(self) -> "Mapping[str, Any]":
        """What was read."""
        return self._value

    def _at(self, name: str) -> str:
        return f"{self._place}: {name}"

    def _get(self, name: str) -> Any:
        if name not in self._value:
            raise self._fault(f"has no {name}")
        return self._value[name]

    def _fault(self, what: str) -> errors.PfrecError:
        return errors.PfrecError(f"{self._place}: {what}; {self._remedy}")


@contextlib.contextmanager
def within(place: str, remedy: str) -> "Iterator[None]":
    """Names the file and the remedy in an error about a part of it.

    Raises:
      PfrecError: where the body does.
    """
    try:
        yield
    except errors.PfrecError as error:
        raise errors.PfrecError(f"{place}: {error}; {remedy}") from error


def _told(value: Any) -> str:
    """A value in few words."""
    return repr(value)[:60]
