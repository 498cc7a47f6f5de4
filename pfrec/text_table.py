"""Tables as a terminal shows them: columns as wide as what stands in them."""

from collections.abc import Sequence


def aligned(rows: "Sequence[Sequence[str]]", sides: str) -> "list[str]":
    """A line for each row, two blanks between the columns.

    Args:
      rows: the texts of each row, the head among them; all rows are as long.
      sides: of each column a letter: `l` where texts begin below each other, `r` where they end so.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    flush = {"l": str.ljust, "r": str.rjust}
    return [
        "  ".join(flush[side](*cell) for side, cell in zip(sides, zip(row, widths))).rstrip()
        for row in rows
    ]
