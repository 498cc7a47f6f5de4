"""Many kinds of bad file: each is one clear line; none a traceback, none accepted in silence."""

import gzip
import struct
import zlib

import pyarrow as pa
import pytest
from pyarrow import parquet

from pfrec import errors
from tests.pfrec.data.reading import logs

_GOOD_TEXT = b"\n".join([*logs.lines(), b""])
_HEADER = logs.lines()[0]


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
        logs.convert_log(tmp_path, content, name, on_bad_row=on_bad_row)
    assert "\n" not in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, "s.toml"])


def _columns(**changed):
    columns = {
        "site": ["ab"[i % 2] for i in range(logs.ROWS)],
        "user": [i % 9 for i in range(logs.ROWS)],
        "item": [3] * logs.ROWS,
        "word": ["w"] * logs.ROWS,
        "price": [1.5] * logs.ROWS,
        "click": [1] * logs.ROWS,
        "buy": [0] * logs.ROWS,
    }
    return {**columns, **changed}


def _parquet(folder, columns):
    parquet.write_table(pa.table(columns), folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()


_BAD_TABLES = [
    (
        "a list where a number belongs",
        {"price": [[1.0]] * logs.ROWS},
        "column 'price' holds list<.*> where numbers belong",
    ),
    (
        "a structure where text belongs",
        {"word": [{"a": 1}] * logs.ROWS},
        r"no column 'word'; columns found: .*word\.a",
    ),
    (
        "a list where a group belongs",
        {"user": [[1]] * logs.ROWS},
        "column 'user' holds list<.*> where text or numbers belong",
    ),
    (
        "a null label",
        {"click": [1] * 3 + [None] + [1] * (logs.ROWS - 4)},
        "row 3, column 'click': the label is empty",
    ),
    (
        "a null id",
        {"item": [1] * 3 + [None] + [1] * (logs.ROWS - 4)},
        "row 3, column 'item': the id is empty",
    ),
    (
        "a NaN price",
        {"price": [1.0] * 3 + [float("nan")] + [1.0] * (logs.ROWS - 4)},
        "row 3, column 'price': the value is empty or NaN",
    ),
    (
        "a null scenario",
        {"site": ["a"] * 3 + [None] + ["a"] * (logs.ROWS - 4)},
        "row 3, column 'site': the scenario is empty",
    ),
    (
        "a price that is text",
        {"price": ["1"] * 3 + ["x"] + ["1"] * (logs.ROWS - 4)},
        "row 3, column 'price': 'x' is not a number",
    ),
    (
        "dates where numbers belong",
        {"price": pa.array([1] * logs.ROWS, pa.date32())},
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
        logs.convert_log(tmp_path, content, "log.parquet", "parquet")
    assert str(raised.value).startswith(str(tmp_path / "log.parquet"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("cut", [slice(0, -8), slice(0, 400), slice(0, 0), slice(100, None)])
def test_a_damaged_parquet_file_is_one_line(tmp_path, cut):
    (tmp_path / "made").mkdir()
    content = _parquet(tmp_path / "made", _columns())[cut]
    with pytest.raises(
        errors.PfrecError, match=r"log.parquet: (not a readable|row 0: damaged) Parquet file"
    ) as raised:
        logs.convert_log(tmp_path, content, "log.parquet", "parquet")
    assert "\n" not in str(raised.value)
