"""Struct columns, lists of whole numbers with a point, small scenarios of any format, tables."""

import pathlib

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import pfrec
from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion import encoding
from pfrec.data.dataset import dataset
from pfrec.data.reading import source
from tests.pfrec.data import raw_layouts

_SCHEMA = """
[scenario]
column = "shop.site"
[[categorical]]
name = "item"
column = "shop.item.id"
cardinality = 8
[[task]]
name = "click"
"""


def _nested(rows=120):
    shops = [
        None if n == 5 else {"site": ["nl", "es"][n % 2], "item": {"id": n % 8}}
        for n in range(rows)
    ]
    return pa.table({"shop": shops, "click": [n // 3 % 2 for n in range(rows)]})


def _rows(data):
    return [sum(data.rows(s, part) for part in ("train", "valid", "test")) for s in data.scenarios]


@pytest.fixture
def schema(tmp_path):
    (tmp_path / "s.toml").write_text(_SCHEMA)
    return tmp_path / "s.toml"


def test_fields_of_structs_are_columns(schema, tmp_path):
    parquet.write_table(_nested(), tmp_path / "log.parquet", row_group_size=50)
    notes = pfrec.convert(
        "parquet", tmp_path / "log.parquet", tmp_path / "d", schema_path=schema, on_bad_row="skip"
    )
    data = dataset.Dataset.open(tmp_path / "d")
    # Row 5 has no shop, hence no scenario.
    assert any("scenario_missing: 1" in note for note in notes)
    assert _rows(data) == [59, 60]
    pfrec.convert("table", _nested(), tmp_path / "t", schema_path=schema, on_bad_row="skip")
    for shard in data.shards("es", "train"):
        same = shard.replace(str(tmp_path / "d"), str(tmp_path / "t"))
        assert pathlib.Path(shard).read_bytes() == pathlib.Path(same).read_bytes()


def test_a_column_that_no_struct_has_is_named(schema, tmp_path):
    parquet.write_table(pa.table({"click": [1]}), tmp_path / "log.parquet")
    with pytest.raises(
        errors.PfrecError, match=r"no columns 'shop\.item\.id', 'shop\.site'; columns found: click"
    ):
        pfrec.convert("parquet", tmp_path / "log.parquet", tmp_path / "d", schema_path=schema)


def test_the_public_face_takes_frames_and_tables(schema, tmp_path):
    made = _nested().flatten().flatten().filter(pa.array(np.arange(120) != 5))
    for name, given in (("arrow", made), ("pandas", made.to_pandas())):
        pfrec.convert("table", given, tmp_path / name, schema_path=schema)
    arrow, pandas = (pfrec.Dataset.open(tmp_path / name) for name in ("arrow", "pandas"))
    assert arrow.digests == pandas.digests
    with pytest.raises(errors.PfrecError, match="takes a path; pass 'table' for tables"):
        pfrec.convert("csv", made, tmp_path / "no", schema_path=schema)
    with pytest.raises(errors.PfrecError, match="takes a DataFrame or an Arrow table"):
        pfrec.convert("table", tmp_path / "log.csv", tmp_path / "no", schema_path=schema)
    with pytest.raises(errors.PfrecError, match="--schema: the table format needs one"):
        pfrec.convert("table", made, tmp_path / "no")


def test_whole_numbers_in_lists_are_written_without_a_point():
    feature = schema_lib.Categorical(
        "tags", 3, "shared", "vocabulary", ("17", "4", "a.0"), values=3, separator="|"
    )
    columns = {
        "tags": pa.array(["17.0|4", "4.00|a.0|17", ""]),
        "click": pa.array(["1", "0", "1"]),
    }
    chunk = source.RawChunk("here", np.arange(3), columns)
    schema = schema_lib.Schema((feature,), (), (schema_lib.Task("click", "click"),))
    assert encoding.encode(chunk, schema)[0].categorical.tolist() == [
        [0, 1, -1],
        [1, 2, 0],
        [-1, -1, -1],
    ]
    # A vocabulary that tells them apart is taken at its word.
    told = schema_lib.Categorical(
        "tags", 2, "shared", "vocabulary", ("17.0", "17"), values=3, separator="|"
    )
    schema = schema_lib.Schema((told,), (), (schema_lib.Task("click", "click"),))
    assert encoding.encode(chunk, schema)[0].categorical[0].tolist() == [0, 2, -1]


def test_small_scenarios_of_a_public_format_are_left_out(tmp_path):
    raw_layouts.write_movielens_1m(tmp_path / "raw")
    pfrec.convert("movielens", tmp_path / "raw", tmp_path / "all")
    whole = dataset.Dataset.open(tmp_path / "all")
    rows = {s: sum(whole.rows(s, p) for p in ("train", "valid", "test")) for s in whole.scenarios}
    least = sorted(rows.values())[1]
    notes = pfrec.convert("movielens", tmp_path / "raw", tmp_path / "some", min_rows=least)
    some = dataset.Dataset.open(tmp_path / "some")
    assert list(some.scenarios) == [s for s in whole.scenarios if rows[s] >= least]
    assert len(some.scenarios) < len(whole.scenarios)
    assert any("scenarios left out" in note for note in notes)
    assert all(some.digests[s] == whole.digests[s] for s in some.scenarios)
