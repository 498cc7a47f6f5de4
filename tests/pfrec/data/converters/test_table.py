"""Tables in memory give what their files give."""

import random

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.converters import table
from pfrec.data.dataset import dataset

_SCHEMA = """
group = "user"
[scenario]
column = "site"
[[categorical]]
name = "user"
encoding = "hash"
cardinality = 64
[[numerical]]
name = "price"
normalise = "standard"
[[task]]
name = "click"
"""


def _table(rows=400):
    draw = random.Random(0)
    return pa.table(
        {
            "site": [draw.choice(["nl", "es"]) for _ in range(rows)],
            "user": [f"u{draw.randint(0, 30)}" for _ in range(rows)],
            "price": [draw.randint(1, 99) / 4 for _ in range(rows)],
            "click": [draw.randint(0, 1) for _ in range(rows)],
        }
    )


def _shards(path):
    return {p.relative_to(path): p.read_bytes() for p in sorted(path.rglob("*.tfrecord"))}


def test_a_table_and_a_frame_are_stored_as_their_file_is(tmp_path):
    made = _table()
    (tmp_path / "s.toml").write_text(_SCHEMA)
    arrow_csv.write_csv(made, tmp_path / "log.csv")
    convert.convert("csv", tmp_path / "log.csv", tmp_path / "file", schema_path=tmp_path / "s.toml")
    table.convert_table(made, tmp_path / "arrow", tmp_path / "s.toml")
    table.convert_table(made.to_pandas(), tmp_path / "pandas", _SCHEMA)
    wanted = _shards(tmp_path / "file")
    assert len(wanted) == 6
    assert _shards(tmp_path / "arrow") == wanted
    assert _shards(tmp_path / "pandas") == wanted
    assert dataset.Dataset.open(tmp_path / "pandas").source_format == "table"


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(errors.PfrecError, match="here: no column 'price'; columns found: site"):
        table.convert_table(_table().drop(["price"]), tmp_path / "d", _SCHEMA, name="here")
    frame = _table().to_pandas()
    frame.loc[7, "price"] = np.nan
    with pytest.raises(errors.PfrecError, match="table: row 7, column 'price': the value is empty"):
        table.convert_table(frame, tmp_path / "d", _SCHEMA)
    with pytest.raises(errors.PfrecError, match="neither an Arrow table nor a DataFrame"):
        table.convert_table([1, 2], tmp_path / "d", _SCHEMA)
