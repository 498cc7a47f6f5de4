"""Values of a parsed TOML document, each of the expected type, or an error that names its key."""

from collections.abc import Mapping
from typing import Any

from pfrec import errors


def known_keys(table: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    """Checks that a table has no other keys than `known`.

    Raises:
      PfrecError: naming the key, and the known ones.
    """
    for key in table:
        if key not in known:
            raise errors.PfrecError(
                f"{place}: unknown key {key!r}; known keys are {', '.join(known)}"
            )


def table(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A table of a document; empty where it is left out.

    Raises:
      PfrecError: where it is no table.
    """
    found = value.get(name, {})
    if not isinstance(found, dict):
        raise errors.PfrecError(f"{name}: must be a table; write [{name}]")
    return found


def entries(value: Mapping[str, Any], name: str) -> list[tuple[Mapping[str, Any], str]]:
    """The tables of an array of tables, each with the place that messages name.

    Raises:
      PfrecError: where it is no array of tables.
    """
    found = value.get(name, [])
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise errors.PfrecError(f"{name}: must be an array of tables; write [[{name}]] before each")
    return [
        (entry, f"[[{name}]] {entry.get('name', f'number {i + 1}')}")
        for i, entry in enumerate(found)
    ]


_REQUIRED = object()


def get(table: Mapping[str, Any], key: str, kind: Any, place: str, default: Any = _REQUIRED) -> Any:
    """A value of the expected type; TOML's true and false are no numbers.

    Args:
      table: where it stands.
      key: its key.
      kind: the type, or types, as `isinstance` takes them.
      place: what messages call the table.
      default: what a missing key means; without one, the key must be there.

    Raises:
      PfrecError: where it is missing, of another type or an empty text.
    """
    if key not in table:
        if default is _REQUIRED:
            raise errors.PfrecError(f"{place}: no key {key!r}; add it")
        return default
    value = table[key]
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        kinds = {dict: "a table", str: "text in quotes", int: "a whole number", list: "a list"}.get(
            kind, "a number"
        )
        raise errors.PfrecError(f"{place}: {key} = {value!r} must be {kinds}")
    return value
