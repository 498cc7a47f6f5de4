"""Many kinds of bad file: each is one clear line, or a row in quarantine; none a traceback,
none accepted in silence.
"""

import gzip
import json
import struct
import zlib

import pyarrow as pa
import pytest
from pyarrow import parquet

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.dataset import dataset
from pfrec.data.reading import csv_stream

_SCHEMA = """
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
_COLUMNS = ("site", "user", "item", "word", "price", "click", "buy")
_GOOD = ("a", "7", "3", "w", "1.5", "1", "0")
_ROWS = 60


def _lines(bad=None):
    """A header and good rows; the bad line, if any, is line 5."""
    rows = [",".join(("ab"[i % 2], str(i % 9), *_GOOD[2:])).encode() for i in range(_ROWS)]
    if bad is not None:
        rows.insert(3, bad)
    return [",".join(_COLUMNS).encode(), *rows]


def _cell(column, value):
    row = list(_GOOD)
    row[_COLUMNS.index(column)] = value
    return ",".join(row).encode()


# Name, the bad line, the column that is named (None: the row), and what is said of it.
_BAD_ROWS = [
    ("an item id that is text", _cell("item", "x"), "item", "'x' is not a number"),
    ("an item id that is negative", _cell("item", "-1"), "item", "the id -1 is not one of 0 to 49"),
    ("an item id just too large", _cell("item", "50"), "item", "the id 50 is not one of 0 to 49"),
    ("an item id that is huge", _cell("item", "9" * 30), "item", "is not one of 0 to 49"),
    ("an item id with a fraction", _cell("item", "3.5"), "item", "the id 3.5 is not one of"),
    ("an item id that is empty", _cell("item", ""), "item", "the id is empty"),
    ("an item id that is NaN", _cell("item", "NaN"), "item", "the id is empty"),
    ("an item id that is infinite", _cell("item", "inf"), "item", "the id inf is not one of"),
    ("an item id in hexadecimal", _cell("item", "0x10"), "item", "'0x10' is not a number"),
    (
        "an item id with a thousands mark",
        _cell("item", '"1,000"'),
        "item",
        "'1,000' is not a number",
    ),
    ("an item id in quotes within quotes", _cell("item", '"""3"""'), "item", "is not a number"),
    ("a price that is text", _cell("price", "cheap"), "price", "'cheap' is not a number"),
    ("a price with a currency", _cell("price", "$5"), "price", "'.5' is not a number"),
    ("a price with a decimal comma", _cell("price", '"1,5"'), "price", "'1,5' is not a number"),
    ("a price with a unit", _cell("price", "5 EUR"), "price", "'5 EUR' is not a number"),
    ("a price with two points", _cell("price", "1.2.3"), "price", "'1.2.3' is not a number"),
    ("a price that is empty", _cell("price", ""), "price", "the value is empty or NaN"),
    ("a price that is null", _cell("price", "NULL"), "price", "the value is empty or NaN"),
    ("a price that is NaN", _cell("price", "nan"), "price", "the value is empty or NaN"),
    ("a price that is infinite", _cell("price", "-inf"), "price", "the value is infinite"),
    ("a price beyond 32-bit floats", _cell("price", "1e39"), "price", "the value is infinite"),
    ("a price beyond 64-bit floats", _cell("price", "1e999"), "price", "infinite"),
    ("a price of digits of another script", _cell("price", "٣"), "price", "is not a number"),
    ("a price with a Unicode minus", _cell("price", "−3"), "price", "is not a number"),
    ("a label of 2", _cell("click", "2"), "click", "the label is 2; labels are 0 or 1"),
    ("a label of -1", _cell("click", "-1"), "click", "the label is -1"),
    ("a label of one half", _cell("click", "0.5"), "click", "the label is 0.5"),
    ("a label that is empty", _cell("click", ""), "click", "the label is empty"),
    ("a label that is a word", _cell("click", "often"), "click", "the label is 'often'"),
    ("a label that is a fraction", _cell("click", "0.5"), "click", "the label is 0.5"),
    ("a conditional label that is empty", _cell("buy", ""), "buy", "the label is empty"),
    ("a conditional label of 3", _cell("buy", "3"), "buy", "the label is 3"),
    ("a group that is empty", _cell("user", ""), "user", "the group is empty"),
    ("a scenario that is empty", _cell("site", ""), "site", "the scenario is empty"),
    ("a value too few", b"a,7,3,w,1.5,1", None, "6 values where the header names 7 columns"),
    ("a value too many", b"a,7,3,w,1.5,1,0,9", None, "8 values where the header names 7 columns"),
    ("a comma at the end", b"a,7,3,w,1.5,1,0,", None, "8 values where the header names 7 columns"),
    ("one value alone", b"a", None, "1 values where the header names 7 columns"),
    ("a line of spaces", b"   ", None, "1 values where the header names 7 columns"),
    ("another delimiter", b"a;7;3;w;1.5;1;0", None, "1 values where the header names 7 columns"),
    ("a comment", b"# from here on new rows", None, "1 values where the header names 7 columns"),
    ("a quote that is never closed", b'a,7,3,"w,1.5,1,0', None, "a quote that is never closed"),
    ("text after a closing quote", b'a,7,3,"w"x,1.5,1,0', None, "text follows the closing quote"),
    (
        "a backslash before a quote",
        b'a,7,3,"w\\"x",1.5,1,0',
        None,
        "text follows the closing quote|quote that is never closed",
    ),
    ("a NUL byte", b"a,7,3,w\0,1.5,1,0", None, "holds a NUL byte"),
    ("a carriage return in a value", b"a,7,3,w\rx,1.5,1,0", None, "holds a carriage return"),
    ("a word in Latin-1", "a,7,3,été,1.5,1,0".encode("latin-1"), "word", "is not UTF-8"),
    (
        "a cut UTF-8 character",
        "a,7,3,é,1.5,1,0".encode().replace(b"\xa9", b""),
        "word",
        "is not UTF-8",
    ),
    ("an overlong UTF-8 form", b"a,7,3,\xc0\xaf,1.5,1,0", "word", "is not UTF-8"),
    ("a surrogate in UTF-8", b"a,7,3,\xed\xa0\x80,1.5,1,0", "word", "is not UTF-8"),
    ("a user in Latin-1", b"a,\xe9,3,w,1.5,1,0", "user", "is not UTF-8"),
    ("the header once more", ",".join(_COLUMNS).encode(), "site", "stands here again"),
]


def _convert(folder, content, name="log.csv", source_format="csv", **options):
    (folder / name).write_bytes(content)
    (folder / "s.toml").write_text(_SCHEMA)
    convert.convert(
        source_format, folder / name, folder / "data", schema_path=folder / "s.toml", **options
    )


@pytest.mark.parametrize(
    ("bad", "column", "message"),
    [case[1:] for case in _BAD_ROWS],
    ids=[case[0] for case in _BAD_ROWS],
)
def test_a_bad_row_is_one_line_or_in_quarantine(tmp_path, bad, column, message):
    content = b"\n".join([*_lines(bad), b""])
    with pytest.raises(errors.PfrecError, match=message) as raised:
        _convert(tmp_path, content)
    place = f"{tmp_path / 'log.csv'}: line 5" + ("" if column is None else f", column '{column}'")
    assert str(raised.value).startswith(place)
    assert "\n" not in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "s.toml"]

    _convert(tmp_path, content, on_bad_row="quarantine")
    (entry,) = [
        json.loads(line)
        for line in (tmp_path / "data" / "quarantine.jsonl").read_text().splitlines()
    ]
    assert (entry["file"], entry["line"], entry["row"]) == (str(tmp_path / "log.csv"), 5, 3)
    assert entry["text"].encode()[:2] == bad.decode(errors="replace").encode()[:2]
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())["bad_rows"]
    assert (record["rows"], list(record["reasons"].values())) == (1, [1])
    assert record["examples"] == [{key: value for key, value in entry.items() if key != "text"}]
    data = dataset.Dataset.open(tmp_path / "data")
    assert (
        sum(data.rows(s, split) for s in data.scenarios for split in ("train", "valid", "test"))
        == _ROWS
    )


_GOOD_TEXT = b"\n".join([*_lines(), b""])
_HEADER = _lines()[0]


def _gzip_with_bad_sum():
    content = bytearray(gzip.compress(_GOOD_TEXT))
    content[-8:-4] = struct.pack("<I", zlib.crc32(b"something else"))
    return bytes(content)


_BAD_FILES = [
    (
        "an empty file",
        "log.csv",
        b"",
        "log.csv: empty; a CSV file starts with a line of column names",
    ),
    ("empty lines alone", "log.csv", b"\n\n\r\n", "log.csv: empty"),
    ("a byte order mark alone", "log.csv", b"\xef\xbb\xbf", "log.csv: empty"),
    ("a header alone", "log.csv", _HEADER + b"\n", "log.csv: no rows at all; check"),
    (
        "a header without a column",
        "log.csv",
        _GOOD_TEXT.replace(b"price", b"cost"),
        "no column 'price'; columns found: site, user, item",
    ),
    (
        "a header in capitals",
        "log.csv",
        _GOOD_TEXT.replace(_HEADER, _HEADER.upper()),
        "no columns .*'item'.*; columns found: SITE",
    ),
    (
        "a column twice",
        "log.csv",
        _GOOD_TEXT.replace(b"word", b"item"),
        "line 1: the column 'item' stands twice",
    ),
    ("no header", "log.csv", _GOOD_TEXT.split(b"\n", 1)[1], "no columns? 'item'.*|stands twice"),
    (
        "an open quote in the header",
        "log.csv",
        b'"' + _GOOD_TEXT,
        "line 1: a value opens with a quote that is never closed",
    ),
    (
        "a header in Latin-1",
        "log.csv",
        _GOOD_TEXT.replace(b"word", b"\xe9"),
        "line 1: the line of column names is not UTF-8",
    ),
    (
        "old Macintosh line ends",
        "log.csv",
        _GOOD_TEXT.replace(b"\n", b"\r"),
        "its lines end in carriage returns alone",
    ),
    (
        "another delimiter throughout",
        "log.csv",
        _GOOD_TEXT.replace(b",", b":"),
        "no columns .*'item'.*columns found: site:user",
    ),
    (
        "a web page",
        "log.csv",
        b"<!DOCTYPE html>\n<html><body>404</body></html>\n",
        "no columns .*'item'.*columns found: <!DOCTYPE html>",
    ),
    (
        "a pointer of Git LFS",
        "log.csv",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        "no columns .*'item'.*columns found: version https",
    ),
    ("zeros", "log.csv", bytes(3000), "holds a NUL byte|no columns"),
    (
        "a gzip file named csv",
        "log.csv",
        gzip.compress(_GOOD_TEXT),
        "log.csv: is gzip under another name; call it log.csv.gz",
    ),
    ("text named gz", "log.csv.gz", _GOOD_TEXT, "log.csv.gz: damaged or not decompressible"),
    (
        "a cut gzip file",
        "log.csv.gz",
        gzip.compress(_GOOD_TEXT)[:-20],
        "log.csv.gz: damaged or not decompressible",
    ),
    (
        "a gzip file with a wrong sum",
        "log.csv.gz",
        _gzip_with_bad_sum(),
        "log.csv.gz: damaged or not decompressible",
    ),
    ("an empty gzip file", "log.csv.gz", gzip.compress(b""), "log.csv.gz: empty"),
]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [case[1:] for case in _BAD_FILES],
    ids=[case[0] for case in _BAD_FILES],
)
@pytest.mark.parametrize("on_bad_row", ["stop", "quarantine"])
def test_a_bad_file_is_one_line(tmp_path, name, content, message, on_bad_row):
    with pytest.raises(errors.PfrecError, match=message) as raised:
        _convert(tmp_path, content, name, on_bad_row=on_bad_row)
    assert "\n" not in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "s.toml"])


def _columns(**changed):
    columns = {
        "site": ["ab"[i % 2] for i in range(_ROWS)],
        "user": [i % 9 for i in range(_ROWS)],
        "item": [3] * _ROWS,
        "word": ["w"] * _ROWS,
        "price": [1.5] * _ROWS,
        "click": [1] * _ROWS,
        "buy": [0] * _ROWS,
    }
    return {**columns, **changed}


def _parquet(folder, columns):
    parquet.write_table(pa.table(columns), folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()


_BAD_TABLES = [
    (
        "a list where a number belongs",
        {"price": [[1.0]] * _ROWS},
        "column 'price' holds list<.*> where numbers belong",
    ),
    (
        "a structure where text belongs",
        {"word": [{"a": 1}] * _ROWS},
        r"no column 'word'; columns found: .*word\.a",
    ),
    (
        "a list where a group belongs",
        {"user": [[1]] * _ROWS},
        "column 'user' holds list<.*> where text or numbers belong",
    ),
    (
        "a null label",
        {"click": [1] * 3 + [None] + [1] * (_ROWS - 4)},
        "row 3, column 'click': the label is empty",
    ),
    (
        "a null id",
        {"item": [1] * 3 + [None] + [1] * (_ROWS - 4)},
        "row 3, column 'item': the id is empty",
    ),
    (
        "a NaN price",
        {"price": [1.0] * 3 + [float("nan")] + [1.0] * (_ROWS - 4)},
        "row 3, column 'price': the value is empty or NaN",
    ),
    (
        "a null scenario",
        {"site": ["a"] * 3 + [None] + ["a"] * (_ROWS - 4)},
        "row 3, column 'site': the scenario is empty",
    ),
    (
        "a price that is text",
        {"price": ["1"] * 3 + ["x"] + ["1"] * (_ROWS - 4)},
        "row 3, column 'price': 'x' is not a number",
    ),
    (
        "dates where numbers belong",
        {"price": pa.array([1] * _ROWS, pa.date32())},
        "column 'price' holds date32.* where numbers belong",
    ),
]


@pytest.mark.parametrize(
    ("changed", "message"),
    [case[1:] for case in _BAD_TABLES],
    ids=[case[0] for case in _BAD_TABLES],
)
def test_a_bad_parquet_column_is_one_line(tmp_path, changed, message):
    (tmp_path / "made").mkdir()
    content = _parquet(tmp_path / "made", _columns(**changed))
    with pytest.raises(errors.PfrecError, match=message) as raised:
        _convert(tmp_path, content, "log.parquet", "parquet")
    assert str(raised.value).startswith(str(tmp_path / "log.parquet"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("cut", [slice(0, -8), slice(0, 400), slice(0, 0), slice(100, None)])
def test_a_damaged_parquet_file_is_one_line(tmp_path, cut):
    (tmp_path / "made").mkdir()
    content = _parquet(tmp_path / "made", _columns())[cut]
    with pytest.raises(
        errors.PfrecError, match=r"log.parquet: (not a readable|row 0: damaged) Parquet file"
    ) as raised:
        _convert(tmp_path, content, "log.parquet", "parquet")
    assert "\n" not in str(raised.value)


def test_what_is_said_of_bad_rows_does_not_depend_on_chunks(tmp_path, monkeypatch):
    lines = _lines()
    for place, case in enumerate(_BAD_ROWS):
        if "quote" not in case[0] or "never" not in case[0]:
            lines.insert(2 + place, case[1])
    content = b"\n".join([*lines, b""])
    said = []
    for name, block_bytes in (("one", 1 << 20), ("two", 97)):
        monkeypatch.setattr(csv_stream, "BLOCK_BYTES", block_bytes)
        folder = tmp_path / name
        folder.mkdir()
        _convert(folder, content, on_bad_row="quarantine")
        said.append((folder / "data" / "quarantine.jsonl").read_text().replace(str(folder), ""))
        said.append((folder / "data" / "dataset.json").read_text().replace(str(folder), ""))
    assert said[:2] == said[2:]
    assert len(said[0].splitlines()) > 50


def test_few_examples_are_kept_of_many_bad_rows(tmp_path):
    lines = [*_lines(), *[_cell("click", "9")] * 500, *[_cell("item", "x")] * 2]
    _convert(tmp_path, b"\n".join([*lines, b""]), on_bad_row="skip")
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())["bad_rows"]
    assert record["policy"] == "skip"
    assert record["reasons"] == {"label_not_binary": 500, "not_a_number": 2}
    assert [(e["reason"], e["line"]) for e in record["examples"]] == [
        *[("label_not_binary", 62 + i) for i in range(3)],
        *[("not_a_number", 562 + i) for i in range(2)],
    ]
    assert not (tmp_path / "data" / "quarantine.jsonl").exists()
