"""Tables in memory give what their files give."""

import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.converters import table
from pfrec.data.dataset import dataset
from pfrec.data.reading import column_text

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
    with pytest.raises(
        errors.PfrecError, match="a list is neither a pandas DataFrame nor an Arrow"
    ):
        table.convert_table([1, 2], tmp_path / "d", _SCHEMA)


@pytest.mark.parametrize(
    ("column", "values", "reason"),
    [
        ("price", [*[1.0] * 399, "dear"], "Could not convert 'dear'"),
        ("user", [*["u"] * 399, 7], "Expected bytes, got a 'int' object"),
        ("user", [2**70] * 400, "too large"),
        ("user", ["\ud800"] * 400, "surrogates not allowed"),
        ("price", pd.arrays.SparseArray([1.0] * 400), "dtype"),
    ],
)
def test_a_column_of_several_types_is_named_where_it_is_read(tmp_path, column, values, reason):
    """What is not read may hold anything."""
    frame = _table().to_pandas()
    table.convert_table(frame.assign(other=values), tmp_path / "unread", _SCHEMA)
    wrong = frame.assign(**{column: values})
    with pytest.raises(
        errors.PfrecError, match=f"table: column '{column}'.*{reason}.*; make it a plain"
    ):
        table.convert_table(wrong, tmp_path / "d", _SCHEMA)
    assert not (tmp_path / "d").exists()


def test_a_column_that_stands_twice_is_refused_where_it_is_read(tmp_path):
    made = _table()
    spare = made.append_column("other", made["user"]).append_column("other", made["click"])
    twice = made.append_column("price", made["price"])
    for given, name in ((spare, "arrow"), (spare.to_pandas(), "pandas")):
        table.convert_table(given, tmp_path / name, _SCHEMA)
    for given in (twice, twice.to_pandas()):
        with pytest.raises(errors.PfrecError, match="table: the column 'price' stands twice; rena"):
            table.convert_table(given, tmp_path / "d", _SCHEMA)


def test_ranges_that_pandas_cut_are_no_text(tmp_path):
    frame = _table().to_pandas()
    frame["user"] = pd.cut(frame["price"], 5)
    with pytest.raises(errors.PfrecError, match=r"column 'user' holds .*interval.* where text"):
        table.convert_table(frame, tmp_path / "d", _SCHEMA)


def test_a_table_need_not_have_the_labels_that_may_be_unobserved(tmp_path):
    schema = _SCHEMA + '[[task]]\nname = "buy"\nmissing = "unobserved"\n'
    table.convert_table(_table(), tmp_path / "d", schema)
    data = dataset.Dataset.open(tmp_path / "d")
    assert data.observed("nl", "train", "buy") == 0
    assert data.observed("nl", "train", "click") == data.rows("nl", "train") > 0


def test_ids_that_floats_do_not_tell_apart_are_warned_of(tmp_path):
    """As pandas makes of 19 digits where one is missing; of fewer a float is the number itself."""
    made, ids, schema = _table(), np.arange(400), _SCHEMA.replace('group = "user"', "")
    for start, told in ((10**18, 1), (10**15, 0)):
        user = pd.Series(start + ids, dtype="Int64").mask(ids == 7).astype("float64")
        frame = made.to_pandas().assign(user=user)
        notes = table.convert_table(frame, tmp_path / str(start), schema)
        warned = dataset.Dataset.open(tmp_path / str(start)).warnings
        assert [f"WARNING: {line}" for line in warned] == list(notes)
        assert len(warned) == told
    notes = table.convert_table(made.to_pandas().assign(user=10**18 + ids), tmp_path / "i", schema)
    assert not notes
    user = pd.Series(10.0**18 + ids)
    (note,) = table.convert_table(made.to_pandas().assign(user=user), tmp_path / "f", schema)
    assert note.startswith(
        "WARNING: 'user': 400 rows with an id as a floating-point number from 2^53 on (float32 "
        "from 2^24, float16 from 2^11), where floats no longer tell whole numbers apart"
    )
    lists = [[float(10**18)], [], None, [1.0, float(2**53)]]
    assert column_text.rounded(pa.array(lists)).tolist() == [True, False, False, True]
