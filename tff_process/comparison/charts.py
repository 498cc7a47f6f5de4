"""Charts as SVG text, drawn by Matplotlib; equal figures give equal text."""

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any, Optional

_WIDTH = 9.0  # inches
# Beyond the colours that tell lines apart they are dashed.
_COLOURS = 10


@dataclasses.dataclass(frozen=True)
class Dot:
    """A row of a dot chart: a value with a half width of uncertainty (NaN for none),
    in a colour by its kind.
    """

    label: str
    value: float
    half_width: float = float("nan")
    kind: int = 0


def dots(title: str, axis: str, rows: Sequence[Dot]) -> str:
    """A dot for each row with its uncertainty, one below the other.

    Args:
      title: of the chart.
      axis: what the values are.
      rows: top to bottom, at least one.
    """
    figure, axes = _figure(title, 1.4 + 0.32 * len(rows))
    for place, row in enumerate(rows):
        width = row.half_width if math.isfinite(row.half_width) else None
        axes.errorbar(
            row.value, place, xerr=width, fmt="o", color=f"C{0 if row.kind == 0 else 3}", capsize=3
        )
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(axis)
    axes.grid(axis="x", alpha=0.3)
    return _svg(figure)


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a line chart."""

    label: str
    points: "Sequence[tuple[float, float]]"


def lines(title: str, axis: str, up: str, rows: Sequence[Line]) -> str:
    """Lines over a common axis, with a legend beside them.

    Args:
      title: of the chart.
      axis: what is to the right.
      up: what is upwards.
      rows: at least one, with at least one point.
    """
    figure, axes = _figure(title, max(4.5, 1.0 + 0.25 * len(rows)))
    for number, row in enumerate(rows):
        style = "-" if number < _COLOURS else "--"
        axes.plot(
            *zip(*row.points),
            label=row.label,
            linestyle=style,
            marker="o" if len(row.points) == 1 else None,
        )
    axes.set_xlabel(axis)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    return _svg(figure)


def grid(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: "Sequence[Sequence[Optional[float]]]",
) -> str:
    """A matrix of numbers, darker where they are larger; None is left empty.

    Args:
      title: of the chart.
      rows, columns: their names.
      values: by row and column.
    """
    shades = [[float("nan") if value is None else value for value in row] for row in values]
    known = [value for row in values for value in row if value is not None] or [0.0]
    figure, axes = _figure(title, 1.6 + 0.4 * len(rows))
    axes.pcolormesh(shades, cmap="Blues", vmin=min(known), vmax=max(known), edgecolors="white")
    middle = (min(known) + max(known)) / 2
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            if value is not None:
                axes.text(
                    c + 0.5,
                    r + 0.5,
                    f"{value:.3g}",
                    ha="center",
                    va="center",
                    color="white" if value > middle else "black",
                )
    axes.set_xticks([c + 0.5 for c in range(len(columns))], columns)
    axes.set_yticks([r + 0.5 for r in range(len(rows))], rows)
    axes.invert_yaxis()
    return _svg(figure)


def _figure(title: str, height: float) -> "tuple[Any, Any]":
    # Not pyplot: no window system is asked for, and nothing of a figure stays behind.
    from matplotlib import figure

    made = figure.Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = made.add_subplot()
    axes.set_title(title, loc="left", fontsize="medium")
    return made, axes


def _svg(figure: Any) -> str:
    import matplotlib

    text = io.StringIO()
    # Text stays text, and identifiers do not differ from drawing to drawing.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pfrec"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
