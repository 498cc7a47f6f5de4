import csv
import io

import hypothesis
import pytest
from hypothesis import strategies as st

from pfrec import errors
from pfrec.data.reading import raw_file, records

_PIECES = st.sampled_from(
    ['"', '""', ",", "\n", "\r\n", "a", "b c", "", '"x"', '"x,y"', '"p\nq"', '"p""q"', "é", "\r"]
)


def _read(path, block_bytes):
    """All records of a file, read in blocks: offset, line, fields and fault of each."""
    found = []
    for block in records.blocks(
        raw_file.RawFile(path), b",", offset=0, line=1, block_bytes=block_bytes
    ):
        inside = records.scan(block.text, b",", True)
        if block.regular:
            assert all(record.fault is None for record in inside)
        found += [
            (block.offset + r.start, block.offset + r.end, block.line + r.line, r.fields, r.fault)
            for r in inside
        ]
    return found


@hypothesis.example(pieces=["a", '"', ",", '"p\nq"', '""'], block_bytes=1)
@hypothesis.given(pieces=st.lists(_PIECES, max_size=30), block_bytes=st.integers(1, 20))
@hypothesis.settings(max_examples=300, deadline=None)
def test_records_do_not_depend_on_blocks(tmp_path_factory, pieces, block_bytes):
    path = tmp_path_factory.mktemp("records") / "f.csv"
    path.write_bytes("".join(pieces).encode())
    whole = _read(path, 1 << 20)
    assert _read(path, block_bytes) == whole
    covered = b"".join(path.read_bytes()[start:end] for start, end, *_ in whole)
    assert covered.translate(None, b"\r\n") == path.read_bytes().translate(None, b"\r\n")


_VALUES = st.lists(
    st.lists(
        st.text(st.characters(codec="utf-8", blacklist_characters="\0"), max_size=6),
        min_size=2,
        max_size=4,
    ),
    min_size=1,
)


@hypothesis.given(rows=_VALUES, line_end=st.sampled_from(["\n", "\r\n"]))
@hypothesis.settings(max_examples=200, deadline=None)
def test_what_the_csv_module_writes_has_its_records(rows, line_end):
    buffer = io.StringIO(newline="")
    # The module quotes a carriage return only where lines end in one.
    returns = any("\r" in value for row in rows for value in row)
    csv.writer(
        buffer, lineterminator=line_end, quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    ).writerows(rows)
    text = buffer.getvalue().encode()
    found = records.scan(text, b",", True)
    assert [record.fields for record in found] == [len(row) for row in rows]
    assert {record.fault for record in found} == {None}
    assert [record.line for record in found] == [
        text.count(b"\n", 0, record.start) for record in found
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'a,"b\nc,d\ne,f\n', [(0, 1, "unclosed_quote"), (1, 2, None), (2, 2, None)]),
        (b'a,"b"x\nc,d\n', [(0, 2, "text_after_quote"), (1, 2, None)]),
        (
            b'a,b"x"\nc,d\n',
            [(0, 2, None), (1, 2, None)],
        ),  # a quote inside an unquoted value is a character
        (b"a,\0\nc,d\n", [(0, 2, "nul_byte"), (1, 2, None)]),
        (b"a,b\rc,d\n\n\r\ne,f", [(0, 3, "carriage_return"), (3, 2, None)]),
        (b'"a\rb",c\r\n', [(0, 2, None)]),
        (b'""\n', [(0, 1, None)]),
        (b"", []),
    ],
)
def test_irregular_text(text, expected):
    assert [
        (record.line, record.fields, record.fault) for record in records.scan(text, b",", True)
    ] == expected


def test_a_quote_that_is_not_closed_soon_is_never_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 50)
    path = tmp_path / "f.csv"
    path.write_bytes(b'1,"open\n' + b"2,x\n" * 40 + b'3,"closed"\n')
    for block_bytes in (7, 1000):
        found = _read(path, block_bytes)
        assert len(found) == 42
        assert [fault for *_, fault in found] == ["unclosed_quote"] + [None] * 41


def test_a_file_without_line_ends_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_RECORD_BYTES", 50)
    path = tmp_path / "f.csv"
    path.write_bytes(b"x" * 500)
    with pytest.raises(errors.PfrecError, match="line 1: longer than 50 bytes; not a text file"):
        _read(path, 20)
