"""Layouts, compressions and folders of a user's own files: each gives the same rows."""

import bz2
import functools
import gzip
import io
import json
import lzma
import tempfile
import zipfile

import pyarrow as pa
import pytest
from pyarrow import parquet

from pfrec import errors
from pfrec.data.converters import parquet as parquet_lib
from pfrec.data.reading import raw_file
from tests.pfrec.data.converters import small_log


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    (folder / "raw").mkdir()
    (folder / "raw" / "log.csv").write_text(small_log.csv(small_log.rows()))
    return small_log.stored(small_log.convert(folder)[0])


def _zipped(text):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inner/log.csv", text)
        archive.writestr("README.md", "about")
    return buffer.getvalue()


def _commas(rows):
    return [[row[0], row[1], row[2].replace(".", ","), *row[3:]] for row in rows]


_LAYOUTS = {
    "tab": ("log.csv", small_log.csv(small_log.rows(), "\t").encode(), ""),
    "tsv": ("log.tsv", small_log.csv(small_log.rows(), "\t").encode(), ""),
    "capitals": ("LOG.CSV", small_log.csv(small_log.rows()).encode(), ""),
    "bar": ("log.csv", small_log.csv(small_log.rows(), "|").encode(), ""),
    "semicolon": ("log.csv", small_log.csv(small_log.rows(), ";").encode(), ""),
    "decimal comma": ("log.csv", small_log.csv(_commas(small_log.rows()), ";").encode(), ""),
    "decimal comma said": (
        "x.csv",
        small_log.csv(_commas(small_log.rows()), "\t").encode(),
        'decimal = ","',
    ),
    "colon": ("log.csv", small_log.csv(small_log.rows(), ":").encode(), 'delimiter = ":"'),
    "byte order mark": ("log.csv", b"\xef\xbb\xbf" + small_log.csv(small_log.rows()).encode(), ""),
    "utf-16": ("log.csv", small_log.csv(small_log.rows()).encode("utf-16"), ""),
    "utf-16 said": (
        "log.csv",
        small_log.csv(small_log.rows()).encode("utf-16-le"),
        'encoding = "utf-16-le"',
    ),
    "gbk": ("log.csv", small_log.csv([*small_log.rows()]).encode("gbk"), 'encoding = "gbk"'),
    "windows lines": (
        "log.csv",
        small_log.csv(small_log.rows()).replace("\n", "\r\n").encode(),
        "",
    ),
    "blanks in the header": (
        "log.csv",
        small_log.csv(small_log.rows()).replace(",", ", ", 3).encode(),
        "",
    ),
    "no header": (
        "l.csv",
        small_log.csv(small_log.rows(), ",", False).encode(),
        f"columns = {json.dumps(small_log.NAMES)}",
    ),
    "no header, tabs": (
        "log.csv",
        small_log.csv(small_log.rows(), "\t", False).encode(),
        f"columns = {json.dumps(small_log.NAMES)}",
    ),
    "gz": ("log.csv.gz", gzip.compress(small_log.csv(small_log.rows()).encode()), ""),
    "bz2": ("log.csv.bz2", bz2.compress(small_log.csv(small_log.rows()).encode()), ""),
    "xz": ("log.csv.xz", lzma.compress(small_log.csv(small_log.rows()).encode()), ""),
    "zst": (
        "log.csv.zst",
        bytes(pa.compress(small_log.csv(small_log.rows()).encode(), "zstd", asbytes=True)),
        "",
    ),
    "zip": ("log.zip", _zipped(small_log.csv(small_log.rows())), ""),
    "nested": ("deep/er/log.csv", small_log.csv(small_log.rows()).encode(), ""),
}


@pytest.mark.parametrize("case", _LAYOUTS)
def test_every_layout_gives_the_same_rows(case, plain, tmp_path):
    name, content, said = _LAYOUTS[case]
    (tmp_path / "raw" / name).parent.mkdir(parents=True)
    (tmp_path / "raw" / name).write_bytes(content)
    data, _ = small_log.convert(tmp_path, f"[file]\n{said}\n" if said else "")
    assert small_log.stored(data) == plain


@pytest.mark.parametrize(
    ("quoting", "first", "rows"),
    [
        ("none", '5" nail', small_log.ROWS + 1),
        ("none", '"half', small_log.ROWS + 1),
        ("backslash", r'"5\" nail, long"', small_log.ROWS + 1),
        ("backslash", r'"a\\"', small_log.ROWS + 1),
        ("double", '"5"" nail, long"', small_log.ROWS + 1),
    ],
)
def test_quotes(quoting, first, rows, tmp_path):
    (tmp_path / "raw").mkdir()
    text = small_log.csv([["a", first, "1.5", "0", "1700000000", "train", "q0"], *small_log.rows()])
    (tmp_path / "raw" / "log.csv").write_text(text)
    data, _ = small_log.convert(tmp_path, f'[file]\nquoting = "{quoting}"\n')
    assert sum(map(len, small_log.stored(data).values())) == rows


def test_flags_go_over_the_schema(plain, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(small_log.rows(), ":", False))
    layout = {"delimiter": ":", "names": tuple(small_log.NAMES)}
    data, _ = small_log.convert(tmp_path, '[file]\ndelimiter = ","\n', layout=layout)
    assert small_log.stored(data) == plain


def test_files_that_are_not_read_are_named(tmp_path):
    (tmp_path / "raw" / "sub").mkdir(parents=True)
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(small_log.rows()))
    (tmp_path / "raw" / "sub" / "more.csv.gz").write_bytes(
        gzip.compress(small_log.csv(small_log.rows()).encode())
    )
    (tmp_path / "raw" / "notes.txt").write_text("x")
    (tmp_path / "raw" / "_SUCCESS").write_text("")
    (tmp_path / "raw" / "old.parquet").write_text("")
    data, notes = small_log.convert(tmp_path)
    assert sum(map(len, small_log.stored(data).values())) == 2 * small_log.ROWS
    named = next(note for note in notes if note.startswith("not read"))
    assert all(name in named for name in ("notes.txt", "_SUCCESS", "old.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.csv", bz2.compress(b"a,b\n"), "is bzip2 under another name; call it log.csv.bz2"),
        ("log.csv", lzma.compress(b"a,b\n"), "is xz under another name"),
        ("log.csv", _zipped("a,b\n"), "is a zip archive under another name"),
        ("log.csv", b"PAR1", "is a Parquet file; pass --format=parquet"),
        ("log.csv", "a,é\n".encode("latin-1"), "not UTF-8"),
        ("log.txt", b"a\n", r"holds no \*.csv or \*.tsv file; it holds log.txt"),
    ],
    # An archive's bytes hold the time: of them no name is made.
    ids=["bzip2", "xz", "zip", "parquet", "latin-1", "other"],
)
def test_what_cannot_be_read_says_what_it_is(name, content, message, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / name).write_bytes(content)
    with pytest.raises(errors.PfrecError, match=message):
        small_log.convert(tmp_path)


@pytest.mark.parametrize("source_format", ["csv", "parquet"])
def test_partition_keys_are_columns(source_format, plain, tmp_path):
    for site in "ab":
        folder = tmp_path / "raw" / "day=2023-11-14" / f"site={site}"
        folder.mkdir(parents=True)
        rows = [row[1:] for row in small_log.rows() if row[0] == site]
        if source_format == "csv":
            lines = [small_log.NAMES[1:], *rows]
            (folder / "part-0.csv").write_text("".join(",".join(line) + "\n" for line in lines))
        else:
            columns = {name: [row[i] for row in rows] for i, name in enumerate(small_log.NAMES[1:])}
            parquet.write_table(pa.table(columns), folder / "part-0.parquet")
    data, _ = small_log.convert(tmp_path, source_format=source_format)
    assert data.scenarios == ("a", "b")
    found = small_log.stored(data)
    assert sorted(row for rows in found.values() for row in rows) == sorted(
        row for rows in plain.values() for row in rows
    )


@pytest.mark.parametrize("packed", ["log.parquet.gz", "logs.zip"])
def test_packed_parquet_has_the_rows_of_plain_text(packed, plain, tmp_path, monkeypatch):
    """And is unpacked once, though its columns are looked at first and its rows read twice."""
    unpacked, unpack = [], parquet_lib._unpack
    monkeypatch.setattr(parquet_lib, "_unpack", lambda *of: unpacked.append(of[2]) or unpack(*of))
    columns = dict(zip(small_log.NAMES, map(list, zip(*small_log.rows()))))
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer, row_group_size=50)
    place = tmp_path / "raw" / packed
    place.parent.mkdir()
    if packed.endswith(".gz"):
        place.write_bytes(gzip.compress(buffer.getvalue()))
    else:
        with zipfile.ZipFile(place, "w") as archive:
            archive.writestr("inner/log.parquet", buffer.getvalue())
    data, _ = small_log.convert(tmp_path, source_format="parquet")
    assert small_log.stored(data) == plain
    assert len(unpacked) == 1


@pytest.mark.parametrize("rows", [1, 1 << 20])
def test_a_disk_with_no_room_for_a_packed_parquet_file_is_said(rows, tmp_path, monkeypatch):
    """Also of a file that would fit into a buffer, and not as damage to what is packed."""
    buffer = io.BytesIO()
    parquet.write_table(pa.table({"user": range(rows)}), buffer)
    file = raw_file.RawFile(tmp_path / "log.parquet.gz")
    file.path.write_bytes(gzip.compress(buffer.getvalue(), 1))
    monkeypatch.setattr(tempfile, "TemporaryFile", functools.partial(open, "/dev/full", "w+b"))
    for read in (parquet_lib.column_names, lambda of: list(parquet_lib.batches(of, ["user"]))):
        with pytest.raises(errors.PfrecError) as raised:
            read(file)
        assert str(raised.value) == (
            f"{file}: no room to unpack it in {tempfile.gettempdir()} (No space left on device); "
            "free some, or let TMPDIR name another folder"
        )


def test_a_packed_parquet_file_that_is_replaced_is_read_anew(tmp_path):
    place = tmp_path / "log.parquet.gz"
    for name in ("first", "second"):
        buffer = io.BytesIO()
        parquet.write_table(pa.table({name: [1]}), buffer)
        place.write_bytes(gzip.compress(buffer.getvalue()))
        assert parquet_lib.column_names(raw_file.RawFile(place)) == [name]


def test_what_is_no_parquet_file_is_named_as_it_lies_in_its_archive(tmp_path):
    (tmp_path / "raw").mkdir()
    with zipfile.ZipFile(tmp_path / "raw" / "logs.zip", "w") as archive:
        archive.writestr("log.parquet", "no such thing")
    with pytest.raises(errors.PfrecError, match=r"logs\.zip/log\.parquet: not a readable Parquet"):
        small_log.convert(tmp_path, source_format="parquet")
