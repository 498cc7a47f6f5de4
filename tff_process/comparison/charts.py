"""Charts as SVG text, drawn by Matplotlib; equal figures give equal text."""

import dataclasses
import io
import math
from collections.abc import Sequence
from typing import Any, Optional

from pfrec.report import drawing

_WIDTH = 9.0  # inches
# Beyond the colours that tell lines apart they are dashed.
_COLOURS = 10
# More columns than this leave no room for a number in a cell.
_MOST_NUMBERS = 12


@dataclasses.dataclass(frozen=True)
class Dot:
    """A row of a dot chart: a value with a half width of uncertainty (NaN for none),
    in a colour by its kind.
    """

    label: str
    value: float
    half_width: float = float("nan")
    kind: int = 0


def dots(title: str, axis: str, rows: Sequence[Dot], kinds: Sequence[str] = ()) -> str:
    """A dot for each row with its uncertainty, one below the other.

    Args:
      title: of the chart.
      axis: what the values are.
      rows: top to bottom, at least one.
      kinds: what each kind is, for the legend; those that no row is of are left out.
    """
    figure, axes = _figure(title, 1.4 + 0.32 * len(rows))
    for place, row in enumerate(rows):
        width = row.half_width if math.isfinite(row.half_width) else None
        axes.errorbar(row.value, place, xerr=width, fmt="o", color=_kind(row.kind), capsize=3)
    axes.set_yticks(range(len(rows)), [drawing.short(row.label) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(axis)
    axes.grid(axis="x", alpha=0.3)
    used = {row.kind for row in rows}
    for kind, name in enumerate(kinds):
        if kind in used:
            axes.plot([], [], "o", color=_kind(kind), label=name)
    if kinds:
        _legend(axes)
    return _svg(figure)


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a line chart.

    Attributes:
      label: what it shows.
      points: ascending in x.
      spread: how far it lies apart, above and below, at each point; none where empty.
    """

    label: str
    points: "Sequence[tuple[float, float]]"
    spread: Sequence[float] = ()


def lines(title: str, axis: str, up: str, rows: Sequence[Line], *, whole: bool = False) -> str:
    """Lines over a common axis, with a legend beside them.

    Args:
      title: of the chart.
      axis: what is to the right.
      up: what is upwards.
      rows: at least one, with at least one point.
      whole: whether the axis counts things, as rounds, so that its ticks are whole numbers.
    """
    figure, axes = _figure(title, max(4.5, 1.0 + 0.25 * len(rows)))
    for number, row in enumerate(rows):
        x, y = zip(*row.points)
        (drawn,) = axes.plot(
            x,
            y,
            label=drawing.short(row.label),
            linestyle="-" if number < _COLOURS else "--",
            marker="o" if len(row.points) == 1 else None,
        )
        if row.spread:
            low = [value - wide for value, wide in zip(y, row.spread)]
            high = [value + wide for value, wide in zip(y, row.spread)]
            axes.fill_between(x, low, high, color=drawn.get_color(), alpha=0.15, linewidth=0)
    if whole:
        from matplotlib import ticker

        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.set_xlabel(axis)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    _legend(axes)
    return _svg(figure)


def grid(
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    values: "Sequence[Sequence[Optional[float]]]",
    *,
    row_axis: str = "",
    column_axis: str = "",
    around_zero: bool = False,
) -> str:
    """A matrix of numbers, darker where they are larger; None is left empty. Where there are too
    many columns for numbers in the cells, a bar says what the shades are.

    Args:
      title: of the chart.
      rows, columns: their names.
      values: by row and column.
      row_axis, column_axis: what the rows and the columns are.
      around_zero: whether what is below 0 has another colour than what is above.
    """
    shades = [[float("nan") if value is None else value for value in row] for row in values]
    known = [value for row in values for value in row if value is not None] or [0.0]
    low, high = min(known), max(known)
    if around_zero:
        high = max(abs(low), abs(high)) or 1.0
        low = -high
    figure, axes = _figure(title, 1.9 + (0.4 if len(rows) <= 20 else 0.22) * len(rows))
    mesh = axes.pcolormesh(
        shades, cmap="RdBu" if around_zero else "Blues", vmin=low, vmax=high, edgecolors="white"
    )
    if len(columns) <= _MOST_NUMBERS:
        _numbers(axes, values, low, high, around_zero)
    else:
        figure.colorbar(mesh, ax=axes)
    step = -(-len(columns) // 40)
    names = [drawing.short(column, 18) for column in columns]
    upright = max(map(len, names), default=0) * len(columns) > 90
    axes.set_xticks(
        [c + 0.5 for c in range(0, len(columns), step)],
        names[::step],
        rotation=90 if upright else 0,
    )
    axes.set_yticks([r + 0.5 for r in range(len(rows))], [drawing.short(row) for row in rows])
    axes.set_xlabel(column_axis)
    axes.set_ylabel(row_axis)
    axes.invert_yaxis()
    return _svg(figure)


def _numbers(
    axes: Any,
    values: "Sequence[Sequence[Optional[float]]]",
    low: float,
    high: float,
    around_zero: bool,
) -> None:
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            if value is None:
                continue
            # White on what is dark: the upper half, or both ends.
            dark = abs(value) > 0.6 * high if around_zero else value > (low + high) / 2
            axes.text(
                c + 0.5,
                r + 0.5,
                f"{value:.3g}",
                ha="center",
                va="center",
                color="white" if dark else "black",
            )


def _kind(kind: int) -> str:
    return f"C{0 if kind == 0 else 3}"


def _legend(axes: Any) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)


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
