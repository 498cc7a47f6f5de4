"""The tasks of a TOML schema: its [[task]] tables."""

from collections.abc import Mapping
from typing import Any

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion.toml import typed
from pfrec.data.reading import words

_LABEL_WORDS = ("positive", "negative", "unobserved")


def read(entry: Mapping[str, Any], place: str) -> schema_lib.Task:
    """A [[task]] table.

    Raises:
      PfrecError: naming the key that is unknown, missing or of a wrong value.
    """
    known = ("name", "column", "given", "missing", "positive_from", *_LABEL_WORDS)
    typed.known_keys(entry, known, place)
    name = typed.get(entry, "name", str, place)
    positive_from = typed.get(entry, "positive_from", (int, float), place, None)
    missing = entry.get("missing", "bad")
    return schema_lib.Task(
        name,
        typed.get(entry, "column", str, place, name),
        typed.get(entry, "given", str, place, None),
        positive=_label_words(entry, "positive", place),
        negative=_label_words(entry, "negative", place),
        unobserved=_label_words(entry, "unobserved", place),
        positive_from=None if positive_from is None else float(positive_from),
        missing="0" if missing == 0 and not isinstance(missing, bool) else missing,
    )


def _label_words(entry: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    found = typed.get(entry, key, list, place, [])
    for word in found:
        if not isinstance(word, (str, int, float)):
            raise errors.PfrecError(f"{place}: {key}: {word!r} is not text, a number or a boolean")
    return tuple(map(words.canonical, found))
