"""A small log whose rows are known, written as a user's own files, and converted."""

from pfrec.commands import convert as convert_lib
from pfrec.data.dataset import dataset
from tests.pfrec.data import rows_back

ROWS = 120
NAMES = ["site", "item", "price", "click", "ts", "part", "search"]
SCHEMA = """
[scenario]
column = "site"
[[categorical]]
name = "item"
encoding = "hash"
cardinality = 997
[[numerical]]
name = "price"
normalise = "standard"
[[task]]
name = "click"
[split]
valid = 0.2
test = 0.2
"""


def rows():
    """Its rows of text, as in `NAMES`."""
    parts = ["train", "train", "train", "valid", "test"]
    return [
        [
            *("ab"[i % 2], str(i // 3), f"{i}.5", str(i % 3 % 2)),
            *(str(1_700_000_000 + i), parts[i % 5], f"q{i // 10}"),
        ]
        for i in range(ROWS)
    ]


def csv(of, delimiter=",", header=True):
    """Lines of them."""
    lines = [*([NAMES] if header else []), *of]
    return "".join(delimiter.join(line) + "\n" for line in lines)


def convert(tmp_path, more="", schema=SCHEMA, raw="raw", **options):
    """Converts what is in a folder; the dataset and the notes.

    Args:
      tmp_path: holds the folder, and is given the schema and the dataset.
      more: text that follows the schema.
      schema: the schema's text.
      raw: the folder's name.
      options: of `convert.convert`.
    """
    (tmp_path / "s.toml").write_text(schema + more, encoding="utf-8")
    source_format = options.pop("source_format", "csv")
    notes = convert_lib.convert(
        source_format,
        tmp_path / raw,
        tmp_path / "data",
        schema_path=tmp_path / "s.toml",
        **options,
    )
    return dataset.Dataset.open(tmp_path / "data"), notes


def stored(data):
    """All rows by split, as sorted tuples of id and label."""
    return {
        split: sorted(
            (int(row.categorical[0, 0]), int(row.labels[0, 0]))
            for scenario in data.scenarios
            for path in data.shards(scenario, split)
            for row in rows_back.rows_of(path, data.schema)
        )
        for split in ("train", "valid", "test")
    }
