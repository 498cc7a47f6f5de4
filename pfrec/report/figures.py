"""Small charts over axes as SVG inside a page, whose colours are the page's, in light and dark."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Optional

from pfrec.report import drawing, markup
from pfrec.report.markup import Markup, tag

_SMALL, _LARGE = (280, 150), (400, 210)
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 12, 8, 22

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
      name: what it shows.
      points: ascending in x.
      style: the number of its colour and dashes.
      spread: how far it lies apart, above and below, at each point; none where empty.
    """

    name: str
    points: Sequence[Point]
    style: int = 0
    spread: Sequence[float] = ()


def legend(names: Sequence[str]) -> Markup:
    """What each style stands for."""
    entries = [
        tag(
            "span",
            tag(
                "svg",
                tag("line", x1=0, y1=5, x2=22, y2=5, **drawing.stroke(style)),
                width=22,
                height=10,
                aria_hidden="true",
            ),
            name,
        )
        for style, name in enumerate(names)
    ]
    return tag("div", entries, class_="legend")


def lines(
    title: str,
    rows: Sequence[Line],
    *,
    axis: str = "round",
    mark: Optional[float] = None,
    whole: bool = True,
    low: Optional[float] = None,
    high: Optional[float] = None,
    large: bool = False,
) -> Markup:
    """A panel with lines over a common axis.

    Args:
      title: above it.
      rows: its lines; points whose y is not finite are left out.
      axis: what is to the right.
      mark: where a vertical line stands.
      whole: whether the axis counts things, so that ticks are whole numbers.
      low, high: the ends of both axes; those of the lines where not given.
      large: whether it stands alone.
    """
    kept = [_finite(row) for row in rows]
    points = [point for row in kept for point in row.points]
    if not points:
        return drawing.panel(title, tag("p", "no values", class_="note"))
    spreads = [(y, s) for row in kept for (_, y), s in zip(row.points, row.spread)]
    ys = [y for _, y in points] + [y + s for y, s in spreads] + [y - s for y, s in spreads]
    xs = [x for x, _ in points]
    x0, x1 = drawing.ends(xs, low, high, 0.5)
    y0, y1 = drawing.ends(ys, low, high, max(abs(ys[0]) * 1e-3, 1e-4))
    place = _Places(x0, x1, y0, y1, *(_LARGE if large else _SMALL))
    drawn = [
        *_frame(place, axis, whole),
        _vertical(place, mark) if mark is not None and x0 <= mark <= x1 else None,
        *(_band(place, row) for row in kept if row.spread),
        *(_line(place, row) for row in kept),
    ]
    panel = drawing.panel(title, drawing.svg(place.width, place.height, title, drawn))
    return tag("div", panel, class_="large") if large else panel


def calibration(title: str, rows: Sequence[Line], high: float) -> Markup:
    """Observed rates over predicted ones, from 0 to `high`; the diagonal is where they agree."""
    place = _Places(0.0, high, 0.0, high, *_SMALL)
    kept = [_finite(row) for row in rows]
    drawn = [
        *_frame(place, "", whole=False),
        tag(
            "line",
            x1=place.x(0),
            y1=place.y(0),
            x2=place.x(high),
            y2=place.y(high),
            stroke="var(--dim)",
            stroke_dasharray="3 3",
        ),
        *(_line(place, row, dots=True) for row in kept),
    ]
    return drawing.panel(title, drawing.svg(place.width, place.height, title, drawn))


@dataclasses.dataclass(frozen=True)
class Dot:
    """A row of a dot chart: a value with a half width of uncertainty, 0 for none."""

    name: str
    value: float
    half_width: float = 0.0
    style: int = 0


def dots(title: str, rows: Sequence[Dot]) -> Markup:
    """A dot for each row with its uncertainty, one below the other; those that are not finite are
    left out.
    """
    kept = [row for row in rows if math.isfinite(row.value)]
    if not kept:
        return drawing.panel(title, tag("p", "no values", class_="note"))
    widths = [row.half_width if math.isfinite(row.half_width) else 0.0 for row in kept]
    first, last = drawing.ends(
        [row.value + sign * width for row, width in zip(kept, widths) for sign in (-1, 1)],
        None,
        None,
        1e-3,
    )
    span, high = 350, 34
    bottom = 4 + high * len(kept)

    def across(value: float) -> float:
        return round(22 + (span - 44) * (value - first) / (last - first), 1)

    drawn: list[Markup] = []
    for value in drawing.ticks(first, last):
        x = across(value)
        drawn.append(tag("line", x1=x, y1=4, x2=x, y2=bottom, stroke="var(--rule)"))
        drawn.append(drawing.text(x, bottom + 14, f"{value:.4g}", "middle"))
    for place, (row, width) in enumerate(zip(kept, widths)):
        # Its name stands above it, so that a narrow page holds both.
        y = 4 + high * place
        name = drawing.short(row.name, 46)
        drawn.append(drawing.text(2, y + 11, name, "start", style="fill:var(--text)"))
        colour = drawing.colour(row.style)
        ends = across(row.value - width), across(row.value + width)
        drawn.append(tag("line", x1=ends[0], y1=y + 22, x2=ends[1], y2=y + 22, stroke=colour))
        told = f"{row.name}: {row.value:.4f}" + (f" ± {width:.4f}" if width else "")
        point = tag("title", told)
        drawn.append(tag("circle", point, cx=across(row.value), cy=y + 22, r=4, fill=colour))
    chart = drawing.svg(span, bottom + 20, title, drawn)
    return tag("div", drawing.panel(title, chart), class_="narrow")


def panels(*figures: markup.Content) -> Markup:
    """Figures beside each other, as many as the page is wide."""
    return tag("div", *figures, class_="panels")


class _Places:
    """Where values stand in a panel."""

    def __init__(self, x0: float, x1: float, y0: float, y1: float, width: int, height: int) -> None:
        self.x0, self.x1, self.y0, self.y1 = x0, x1, y0, y1
        self.width, self.height = width, height

    def x(self, value: float) -> float:
        part = (value - self.x0) / (self.x1 - self.x0)
        return round(_LEFT + part * (self.width - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        part = (value - self.y0) / (self.y1 - self.y0)
        return round(self.height - _BOTTOM - part * (self.height - _TOP - _BOTTOM), 1)


def _finite(row: Line) -> Line:
    kept = [number for number, (_, y) in enumerate(row.points) if math.isfinite(y)]
    return dataclasses.replace(
        row,
        points=[row.points[number] for number in kept],
        spread=[row.spread[number] for number in kept] if row.spread else (),
    )


def _frame(place: _Places, axis: str, whole: bool) -> "list[Markup]":
    drawn = []
    for value in drawing.ticks(place.y0, place.y1):
        y = place.y(value)
        drawn.append(
            tag("line", x1=_LEFT, y1=y, x2=place.width - _RIGHT, y2=y, stroke="var(--rule)")
        )
        drawn.append(drawing.text(_LEFT - 4, y + 4, f"{value:.4g}", "end"))
    base = place.height - _BOTTOM
    for value in drawing.ticks(place.x0, place.x1, whole=whole):
        x = place.x(value)
        drawn.append(tag("line", x1=x, y1=base, x2=x, y2=base + 3, stroke="var(--dim)"))
        drawn.append(drawing.text(x, place.height - 7, f"{value:.4g}", "middle"))
    drawn.append(drawing.text(2, place.height - 7, axis, "start"))
    return drawn


def _line(place: _Places, row: Line, *, dots: bool = False) -> Markup:
    drawn: list[Markup] = []
    if len(row.points) > 1:
        path = " ".join(f"{place.x(x)},{place.y(y)}" for x, y in row.points)
        drawn.append(
            tag(
                "polyline",
                tag("title", row.name),
                points=path,
                fill="none",
                stroke_linejoin="round",
                **drawing.stroke(row.style),
            )
        )
    if dots or len(row.points) == 1:
        drawn += [
            tag(
                "circle",
                tag("title", f"{row.name}: {x:.4g}, {y:.4g}"),
                cx=place.x(x),
                cy=place.y(y),
                r=2.5,
                fill=drawing.colour(row.style),
            )
            for x, y in row.points
        ]
    return markup.joined(drawn)


def _band(place: _Places, row: Line) -> Markup:
    above = [(x, y + s) for (x, y), s in zip(row.points, row.spread)]
    below = [(x, y - s) for (x, y), s in zip(row.points, row.spread)]
    path = " ".join(f"{place.x(x)},{place.y(y)}" for x, y in [*above, *reversed(below)])
    return tag("polygon", points=path, fill=drawing.colour(row.style), fill_opacity=0.15)


def _vertical(place: _Places, mark: float) -> Markup:
    x = place.x(mark)
    return tag(
        "line",
        tag("title", f"the chosen round, {mark:g}"),
        x1=x,
        y1=_TOP,
        x2=x,
        y2=place.height - _BOTTOM,
        stroke="var(--dim)",
        stroke_dasharray="2 3",
    )
