"""Matrices of numbers as shades, as SVG inside a page."""

import math
from collections.abc import Sequence
from typing import Optional

from pfrec.report import drawing, markup
from pfrec.report.markup import Markup, tag


def matrix(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: "Sequence[Sequence[Optional[float]]]",
    *,
    row_axis: str = "",
    column_axis: str = "",
    largest: Optional[float] = None,
    opposed: bool = False,
    form: str = ".2f",
) -> Markup:
    """A matrix of numbers as shades: warm above 0, cold below, the fuller the farther; None is left
    empty. Each cell says its number to the pointer, and in itself where there are few.

    Args:
      title: above it.
      rows, columns: their names.
      values: by row and column.
      row_axis, column_axis: what they are.
      largest: the number that is fullest; the farthest from 0 where not given.
      opposed: whether warm and cold change places, for what is no good where it is high.
      form: of the numbers.
    """
    known = [abs(v) for row in values for v in row if v is not None and math.isfinite(v)]
    most = largest or max(known, default=0.0) or 1.0
    told = len(columns) <= 8
    wide, high = (44, 20) if told else (16, 16)
    names = drawing.distinct(rows, 26)
    left = 10 + drawing.CHARACTER * max((len(name) for name in names), default=0)
    labels = drawing.distinct(columns, 16)
    longest = max((len(label) for label in labels), default=0) * drawing.CHARACTER + 4
    # Of crowded numbers some stand for all; names stand upright.
    every = math.ceil(longest / wide) if all(label.isdecimal() for label in labels) else 1
    upright = every == 1 and longest > wide
    top = 16 + (drawing.CHARACTER * max(map(len, labels), default=0) if upright else 0)
    cells: list[Markup] = []
    for c, label in enumerate(labels):
        x = left + (c + 0.5) * wide
        turn = f"rotate(-90 {x + 4:.1f} {top - 4:.1f})" if upright else None
        anchor = "start" if upright else "middle"
        if c % every == 0:
            at = x + 4 if upright else x
            cells.append(drawing.text(at, top - 4, label, anchor, transform=turn))
    for r, name in enumerate(names):
        cells.append(drawing.text(left - 4, top + (r + 0.7) * high, name, "end"))
        for c, value in enumerate(values[r]):
            if value is None or not math.isfinite(value):
                continue
            x, y = left + c * wide, top + r * high
            number = format(value, form)
            cells.append(
                tag(
                    "rect",
                    tag("title", f"{rows[r]}, {columns[c]}: {number}"),
                    x=f"{x + 0.5:.1f}",
                    y=f"{y + 0.5:.1f}",
                    width=wide - 1,
                    height=high - 1,
                    fill="var(--warm)" if (value >= 0) != opposed else "var(--cold)",
                    fill_opacity=f"{0.04 + 0.71 * min(1.0, abs(value) / most):.3f}",
                )
            )
            if told:
                at = x + wide / 2
                cells.append(
                    drawing.text(at, y + 0.7 * high, number, "middle", style="fill:var(--text)")
                )
    width, height = left + wide * len(columns) + 8, top + high * len(rows) + 6
    axes = " · ".join(
        part
        for part in (
            row_axis and f"rows: {row_axis}",
            column_axis and f"columns: {column_axis}",
        )
        if part
    )
    chart = drawing.svg(width, height, title, cells, fixed=True)
    note = tag("p", axes, class_="note") if axes else None
    return tag(
        "figure",
        tag("figcaption", title),
        note,
        tag("div", chart, class_="scroll wide", tabindex=0, role="region", aria_label=title),
        class_="matrix",
    )


def matrices(*figures: markup.Content) -> Markup:
    """Figures beside each other, each as wide as it is."""
    return tag("div", *figures, class_="matrices")
