"""The one error that pfrec shows to a user as a single line."""

import re
from typing import Any

_ROOTS = re.compile(r"\d+ root error\(s\) found\. \(0\) ")
_TAIL = re.compile(r"\s*(?:\[\[|Hint: )")
_NODE = re.compile(r"\{\{(?:function_)?node [^}]*\}\}|\[Op:\w+\]")


class PfrecError(Exception):
    """Something a user can mend: bad input, a bad flag, a damaged file.

    The message names the place and the remedy. Commands print it as one line, without a traceback,
    and exit with status 1.
    """


def require_kind(value: object, kind: Any, place: str, remedy: str) -> None:
    """Checks the type of what a program hands over.

    Args:
      value: what it hands over.
      kind: the type that it must have, or several.
      place: what it is, for the message.
      remedy: what to give instead.

    Raises:
      PfrecError: where it is of another one.
    """
    if not isinstance(value, kind):
        raise PfrecError(f"{place} is a {type(value).__name__}; {remedy}")


def readable(details: str) -> str:
    """An error of TensorFlow's in one line: what went wrong, without the graph's nodes and hints,
    which tell a user nothing.

    Example:
      >>> readable("2 root error(s) found.\\n (0) DATA_LOSS: corrupted record at 12\\n\\t [[{{node
      Next}}]]\\nHint: ...")
      'DATA_LOSS: corrupted record at 12'
    """
    line = _TAIL.split(_ROOTS.sub("", " ".join(details.split())), maxsplit=1)[0]
    line = " ".join(_NODE.sub("", line).split())
    return line if len(line) <= 400 else line[:400] + "..."
