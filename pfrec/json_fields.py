"""JSON from disk or wire, read entry by entry: what is not of the type or in the range that belongs
there is one error that names the file and the entry, and never a traceback further on.
"""

from collections.abc import Mapping
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

    def texts(self, name: str, *, distinct: bool = True) -> "tuple[str, ...]":
        """An entry that is a list of texts, none of them twice where they are to be distinct."""
        value = self._get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._fault(f"{name} is {_told(value)}, not a list of texts")
        if distinct and len(set(value)) != len(value):
            raise self._fault(f"{name} holds an entry twice")
        return tuple(value)

    def fields(self, name: str) -> "Fields":
        """An entry that is an object."""
        return Fields(self._get(name), f"{self._place}: {name}", self._remedy)

    def plain(self, name: str, default: Optional[Any] = None) -> Any:
        """An entry of any kind."""
        return self._value.get(name, default)

    def names(self) -> "tuple[str, ...]":
        """Of all entries."""
        return tuple(self._value)

    def _get(self, name: str) -> Any:
        if name not in self._value:
            raise self._fault(f"has no {name}")
        return self._value[name]

    def _fault(self, what: str) -> errors.PfrecError:
        return errors.PfrecError(f"{self._place}: {what}; {self._remedy}")


def _told(value: Any) -> str:
    """A value in few words."""
    return repr(value)[:60]
