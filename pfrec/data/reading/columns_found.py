"""Which columns raw data have."""

from collections.abc import Collection, Iterable

from pfrec import errors


def require_all(place: object, found: Collection[str], wanted: Iterable[str], remedy: str) -> None:
    """Checks that all columns are there which are read.

    Args:
      place: whose they are, for the message.
      found: those there are.
      wanted: those that are read.
      remedy: what to do where one is missing, as a clause.

    Raises:
      PfrecError: naming `place`, the missing columns and those found.
    """
    missing = sorted(set(wanted).difference(found))
    if missing:
        what = "column" if len(missing) == 1 else "columns"
        raise errors.PfrecError(
            f"{place}: no {what} {', '.join(map(repr, missing))}; columns found: "
            f"{', '.join(found)}; {remedy}"
        )
