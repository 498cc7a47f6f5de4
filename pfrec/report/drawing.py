"""What every figure of a page is drawn with: names, colours, ticks, text, the frame around it."""

import math
from collections.abc import Sequence
from typing import Optional

from pfrec.report import markup
from pfrec.report.markup import Markup, tag

CHARACTER = 6.3  # width of a letter of a text of 11 pixels, about
_COLOURS = 8
_DASHES = (None, "5 3", "1.5 2.5")
_LONGEST_NAME = 34


def short(name: str, longest: int = _LONGEST_NAME) -> str:
    """A name with its middle left out where it is long: both ends tell entries apart."""
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"


def distinct(names: Sequence[str], longest: int) -> "list[str]":
    """Names as `short` makes them, each as much longer as it takes for all that differ to be told
    apart.
    """
    for length in range(longest, max(map(len, names), default=0)):
        made = [short(name, length) for name in names]
        if len(set(made)) == len(set(names)):
            return made
    return list(names)


def ends(
    values: Sequence[float], low: Optional[float], high: Optional[float], least: float
) -> "tuple[float, float]":
    """The ends of an axis, apart from each other even where all values are one."""
    first = min(values) if low is None else low
    last = max(values) if high is None else high
    return (first, last) if last > first else (first - least, last + least)


def ticks(first: float, last: float, *, whole: bool = False, about: int = 4) -> "list[float]":
    """Round numbers from `first` to `last`, both included, about so many of them."""
    step = 10.0 ** math.floor(math.log10((last - first) / about))
    step *= next(m for m in (1, 2, 5, 10) if (last - first) / (m * step) <= about)
    if whole:
        step = max(1.0, math.ceil(step))
    start = math.ceil(first / step - 1e-9)
    return [n * step for n in range(start, math.floor(last / step + 1e-9) + 1)]


def colour(style: int) -> str:
    """The colour of a line's style."""
    return f"var(--c{style % _COLOURS})"


def stroke(style: int) -> "dict[str, object]":
    """How a line of a style is drawn, as attributes."""
    return {
        "stroke": colour(style),
        "stroke_width": 1.8,
        "stroke_dasharray": _DASHES[style // _COLOURS % len(_DASHES)],
    }


def text(x: float, y: float, words: str, anchor: str, **others: object) -> Markup:
    """Words that begin, end or have their middle at a place, by `anchor`."""
    return tag("text", words, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, **others)


def svg(
    width: float, height: float, title: str, content: markup.Content, *, fixed: bool = False
) -> Markup:
    """A drawing, as wide as there is room, or `fixed`."""
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}"} if fixed else {"width": "100%"}
    return tag(
        "svg",
        content,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
        aria_label=title,
        **size,
    )


def panel(title: str, content: Markup) -> Markup:
    """A figure under its title."""
    return tag("figure", tag("figcaption", title), content)
