"""Charts as SVG text: stable, small, and drawn without any other package."""

import dataclasses
import html
import math
from collections.abc import Sequence
from typing import Optional

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 860, 250, 30, 24, 56
_COLOURS = ("#1b6ca8", "#c0392b", "#2d8659", "#8e5ea2", "#d98324", "#5d6d7e", "#b03a76", "#7a6a2b")


@dataclasses.dataclass(frozen=True)
class Dot:
    """A row of a dot chart: a value with a half width of uncertainty (NaN for none), in a colour by its kind."""

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
    reach = [r.half_width if math.isfinite(r.half_width) else 0.0 for r in rows]
    low = min(r.value - h for r, h in zip(rows, reach))
    high = max(r.value + h for r, h in zip(rows, reach))
    place = _scale(low, high, _LEFT, _WIDTH - _RIGHT)
    bottom = _TOP + _ROW * len(rows)
    parts = _axis(place, bottom, axis)
    for number, row in enumerate(rows):
        y, colour = _TOP + _ROW * number + _ROW // 2, _COLOURS[row.kind % len(_COLOURS)]
        parts.append(_text(_LEFT - 10, y + 4, row.label, "end"))
        if reach[number]:
            left, right = place(row.value - reach[number]), place(row.value + reach[number])
            parts.append(f'<line x1="{left:.1f}" y1="{y}" x2="{right:.1f}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{place(row.value):.1f}" cy="{y}" r="4.5" fill="{colour}"/>')
    return _document(title, bottom + 46, parts)


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a line chart."""

    label: str
    points: "Sequence[tuple[float, float]]"


def lines(title: str, axis: str, up: str, rows: Sequence[Line]) -> str:
    """Lines over a common axis, named at their right ends in a legend.

    Args:
      title: of the chart.
      axis: what is to the right.
      up: what is upwards.
      rows: at least one, with at least one point.
    """
    points = [point for row in rows for point in row.points]
    left, right, height = 70, _WIDTH - 230, 330
    place = _scale(min(x for x, _ in points), max(x for x, _ in points), left, right, 0.0)
    rise = _scale(min(y for _, y in points), max(y for _, y in points), _TOP + height, _TOP)
    parts = _axis(place, _TOP + height, axis)
    for tick in rise.ticks:
        y = rise(tick)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#e4e4e4"/>')
        parts.append(_text(left - 8, y + 4, f"{tick:.6g}", "end"))
    parts.append(_text(left, _TOP - 8, up, "start"))
    for number, row in enumerate(rows):
        colour = _COLOURS[number % len(_COLOURS)]
        dash = ' stroke-dasharray="5 3"' if number >= len(_COLOURS) else ""
        path = " ".join(f"{place(x):.1f},{rise(y):.1f}" for x, y in row.points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>')
        y = _TOP + 8 + 17 * number
        parts.append(f'<line x1="{right + 14}" y1="{y}" x2="{right + 36}" y2="{y}" stroke="{colour}" stroke-width="2.4"{dash}/>')
        parts.append(_text(right + 42, y + 4, row.label, "start"))
    return _document(title, max(_TOP + height + 46, _TOP + 24 + 17 * len(rows)), parts)


def grid(title: str, rows: Sequence[str], columns: Sequence[str], values: "Sequence[Sequence[Optional[float]]]") -> str:
    """A matrix of numbers, darker where they are larger; None is left empty.

    Args:
      title: of the chart.
      rows, columns: their names.
      values: by row and column.
    """
    size_x, size_y = 74, 28
    known = [v for row in values for v in row if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    parts = [_text(_LEFT + size_x * (c + 0.5), _TOP - 8, name, "middle") for c, name in enumerate(columns)]
    for r, name in enumerate(rows):
        y = _TOP + size_y * r
        parts.append(_text(_LEFT - 10, y + 18, name, "end"))
        for c, value in enumerate(values[r]):
            if value is None:
                continue
            share = (value - low) / (high - low) if high > low else 0.5
            red, green, blue = (round(255 - share * (255 - full)) for full in (27, 108, 168))
            x = _LEFT + size_x * c
            parts.append(
                f'<rect x="{x}" y="{y}" width="{size_x - 2}" height="{size_y - 2}" fill="#{red:02x}{green:02x}{blue:02x}"/>'
            )
            parts.append(_text(x + size_x / 2 - 1, y + 18, f"{value:.3g}", "middle", "#ffffff" if share > 0.6 else "#222222"))
    return _document(title, _TOP + size_y * len(rows) + 20, parts, max(_WIDTH, _LEFT + size_x * len(columns) + 20))


@dataclasses.dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float
    ticks: "tuple[float, ...]"

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def _scale(low: float, high: float, start: float, end: float, margin: float = 0.05) -> _Scale:
    if high <= low:
        low, high = low - 0.5 * abs(low or 1.0), high + 0.5 * abs(high or 1.0)
    low, high = low - margin * (high - low), high + margin * (high - low)
    rough = (high - low) / 5
    power = 10 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    ticks = tuple(step * number for number in range(first, math.floor(high / step) + 1))
    return _Scale(low, high, start, end, ticks)


def _axis(place: _Scale, bottom: int, name: str) -> "list[str]":
    parts = []
    for tick in place.ticks:
        x = place(tick)
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#e4e4e4"/>')
        parts.append(_text(x, bottom + 16, f"{tick:.6g}", "middle"))
    parts.append(_text((place.start + place.end) / 2, bottom + 36, name, "middle"))
    return parts


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#222222") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{html.escape(text)}</text>'


def _document(title: str, height: float, parts: Sequence[str], width: float = _WIDTH) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="12">'
    back = f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>'
    name = f'<text x="14" y="24" font-size="15" font-weight="bold" fill="#222222">{html.escape(title)}</text>'
    return "\n".join([head, back, name, *parts, "</svg>"]) + "\n"
