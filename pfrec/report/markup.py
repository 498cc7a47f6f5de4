"""HTML and SVG as text in which every name is data: whatever is not `Markup` is escaped."""

import html
from collections.abc import Iterable, Sequence
from typing import Union

Content = Union[None, str, int, float, "Iterable[Content]"]

# Neither a script nor anything from elsewhere: the browser is told to refuse both.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_VOID = ("meta", "br")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def tag(name: str, /, *children: Content, **attributes: object) -> Markup:
    """An element.

    Args:
      name: of the element.
      children: `Markup` stays, other text is escaped, None is left out, lists are taken one by one.
      attributes: by name, where `_` at the end is dropped and other `_` become `-`; None is left
        out.
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{told}>")
    return Markup(f"<{name}{told}>{joined(*children)}</{name}>")


def joined(*children: Content) -> Markup:
    """Several as one; see `tag`."""
    texts = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            texts.append(str(child))
        elif isinstance(child, (str, int, float)):
            texts.append(html.escape(str(child)))
        else:
            texts.append(joined(*child))
    return Markup("".join(texts))


def table(
    header: Sequence[Content],
    rows: "Iterable[Sequence[Content]]",
    *,
    names: int = 1,
    words: bool = False,
    label: str = "",
) -> Markup:
    """A table that is scrolled sideways where the page is narrower.

    Args:
      header: of the columns.
      rows: their cells; None makes an empty one.
      names: how many columns from the left are names; the others are figures.
      words: whether they are words, which are set to the left.
      label: what the table is, for readers that do not see.
    """
    head = tag("tr", [tag("th", cell, scope="col") for cell in header])
    body = [
        tag(
            "tr",
            [
                tag("th", cell, scope="row") if place < names else tag("td", cell)
                for place, cell in enumerate(row)
            ],
        )
        for row in rows
    ]
    made = tag(
        "table",
        tag("thead", head),
        tag("tbody", body),
        class_="words" if words else f"names{names}",
    )
    return tag("div", made, class_="scroll", tabindex=0, role="region", aria_label=label or None)


def counted(number: int, one: str) -> str:
    """A number of things in words.

    Example:
      >>> counted(1, "more group"), counted(3, "more group")
      ('1 more group', '3 more groups')
    """
    return f"{number} {one}{'' if number == 1 else 's'}"


def folded(title: str, *children: Content) -> Markup:
    """What is shown once its title is pressed."""
    return tag("details", tag("summary", title), *children)


def section(title: str, *children: Content, note: str = "") -> Markup:
    """A part of a page under a heading; nothing where there are no children."""
    found = [child for child in children if child]
    if not found:
        return Markup("")
    return tag("section", tag("h2", title), tag("p", note, class_="note") if note else None, found)


def page(title: str, *children: Content) -> str:
    """A whole page."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("title", title),
        Markup(f"<style>{_STYLE}</style>"),
    )
    body = tag("body", tag("main", tag("h1", title), *children))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


# Eight colours that stay apart for most kinds of colour blindness, dark ones on light and light
# ones on dark; beyond them lines are dashed (`figures`).
_STYLE = """
:root{color-scheme:light dark;--page:#fff;--text:#1c2024;--dim:#60646c;--rule:#d9d9e0;
--panel:#f7f8fa;--c0:#0060b9;--c1:#c2410c;--c2:#0f7b4f;--c3:#9b2c8f;--c4:#8a6a00;--c5:#0e7490;
--c6:#b4234a;--c7:#5b5bd6;--warm:#d9480f;--cold:#1864ab}
@media(prefers-color-scheme:dark){:root{--page:#15171a;--text:#e8eaed;--dim:#a0a6ae;
--rule:#33383f;--panel:#1c1f24;--c0:#6cb2ff;--c1:#ff9a5c;--c2:#4fd29a;--c3:#e58adb;--c4:#e3c04d;
--c5:#5fd0e6;--c6:#ff8fa8;--c7:#a5a5ff;--warm:#ff8a4c;--cold:#6cb2ff}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;line-height:1.2;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--rule)}
h3{font-size:.95rem;margin:1rem 0 .3rem}
.note{color:var(--dim);margin:.2rem 0 .8rem;max-width:75ch}
.warn{border-left:4px solid var(--warm);padding:.3rem .8rem;background:var(--panel)}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(135px,1fr));gap:.6rem}
.card{background:var(--panel);border:1px solid var(--rule);border-radius:8px;padding:.5rem .7rem}
.card b{display:block;font-size:1.2rem;overflow-wrap:anywhere}
.card span{color:var(--dim);font-size:.85rem;overflow-wrap:anywhere}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.87rem;font-variant-numeric:tabular-nums}
th,td{padding:.2rem .6rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--rule)}
thead th{max-width:14em;overflow-wrap:break-word;vertical-align:bottom;color:var(--dim);
font-weight:600;white-space:normal}
tbody th{font-weight:400;text-align:left}
.words td,.words th,.names1 thead th:nth-child(1),.names2 thead th:nth-child(-n+2){
text-align:left}
.words td{white-space:normal;min-width:6em}
tbody th:first-child{position:sticky;left:0;background:var(--page)}
.panels{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(270px,100%),1fr));gap:.6rem}
.matrices{display:flex;flex-wrap:wrap;gap:.6rem}.matrices figure{max-width:100%}
figure+figure{margin-top:.6rem}.panels figure,.matrices figure{margin-top:0}
figure{margin:0;background:var(--panel);border:1px solid var(--rule);border-radius:8px;
padding:.4rem .5rem;min-width:0}
.matrix{width:fit-content;max-width:100%}figure .note{font-size:.8rem;margin:0 0 .4rem}
figcaption{font-size:.85rem;overflow-wrap:anywhere}
svg{display:block;max-width:100%}
.wide svg{max-width:none}
.large{max-width:560px}.narrow{max-width:440px}
.narrow+.scroll{margin-top:.8rem}.scroll+.large,.scroll+.panels,.scroll+figure{margin-top:.6rem}
svg text{fill:var(--dim);font-size:11px}
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.85rem;margin:.3rem 0 .6rem}
.legend span{display:inline-flex;align-items:center;gap:.35rem;overflow-wrap:anywhere}
details{margin:.5rem 0}td details{margin:0}
summary{cursor:pointer;color:var(--c0)}
a{color:var(--c0)}
@media(max-width:600px){main{padding:.6rem}th,td{padding:.2rem .4rem}
tbody th:first-child{max-width:38vw;white-space:normal;overflow-wrap:break-word}}
@media print{details{display:block}}
""".strip()
