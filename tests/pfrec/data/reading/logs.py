"""A small log of good rows, and what converts one made of it."""

from pfrec.commands import convert

SCHEMA = """
group = "user"
[scenario]
column = "site"
[[categorical]]
name = "item"
cardinality = 50
[[categorical]]
name = "word"
cardinality = 8
encoding = "hash"
[[numerical]]
name = "price"
[[task]]
name = "click"
[[task]]
name = "buy"
given = "click"
[split]
valid = 0.2
test = 0.2
"""
COLUMNS = ("site", "user", "item", "word", "price", "click", "buy")
GOOD = ("a", "7", "3", "w", "1.5", "1", "0")
ROWS = 60


def lines(bad=None):
    """A header and good rows; the bad line, if any, is line 5."""
    rows = [",".join(("ab"[i % 2], str(i % 9), *GOOD[2:])).encode() for i in range(ROWS)]
    if bad is not None:
        rows.insert(3, bad)
    return [",".join(COLUMNS).encode(), *rows]


def cell(column, value):
    row = list(GOOD)
    row[COLUMNS.index(column)] = value
    return ",".join(row).encode()


def convert_log(folder, content, name="log.csv", source_format="csv", **options):
    (folder / name).write_bytes(content)
    (folder / "s.toml").write_text(SCHEMA)
    convert.convert(
        source_format, folder / name, folder / "data", schema_path=folder / "s.toml", **options
    )
