import numpy as np
import pytest

from pfrec import errors
from pfrec.data.conversion.columns import as_numbers
from pfrec.data.reading import bad_rows, column_text, csv_stream

_KINDS = {"a": csv_stream.NUMBER, "s": csv_stream.TEXT}


def _file(tmp_path, text):
    path = tmp_path / "f.csv"
    path.write_bytes(text.encode())
    return path


def _all(path, **options):
    chunks = list(csv_stream.chunks(path, _KINDS, **options))
    numbers = np.concatenate([as_numbers.read(chunk, "a") for chunk in chunks])
    texts = [value for chunk in chunks for value in column_text.of(chunk.columns["s"]).to_pylist()]
    return (
        numbers.tolist(),
        texts,
        np.concatenate([chunk.rows for chunk in chunks]).tolist(),
        len(chunks),
    )


def test_reads_in_chunks_and_numbers_rows(tmp_path):
    path = _file(tmp_path, "s,unused,a\n" + "".join(f"t{i},x,{i}.5\n" for i in range(1000)))
    numbers, texts, rows, chunks = _all(path, block_bytes=1000)
    assert chunks > 5
    assert numbers == [i + 0.5 for i in range(1000)]
    assert texts == [f"t{i}" for i in range(1000)]
    assert rows == list(range(1000))


def test_a_late_value_that_is_no_number_neither_loses_nor_doubles_rows(tmp_path):
    path = _file(
        tmp_path, "s,a\n" + "".join(f"t,{i if i != 900 else 'oops'}\n" for i in range(1000))
    )
    rows, failed = [], None
    for chunk in csv_stream.chunks(path, _KINDS, block_bytes=1000):
        try:
            as_numbers.read(chunk, "a")
        except errors.PfrecError as error:
            failed = failed or str(error)
        rows += chunk.rows.tolist()
    assert rows == list(range(1000))
    assert failed == f"{path}: line 902, column 'a': 'oops' is not a number; mend the value"


def test_text_stays_text_and_empty_numbers_are_nan(tmp_path):
    numbers, texts, _, _ = _all(_file(tmp_path, "a,s\n1,007\n,NA\n 2 ,\n"))
    np.testing.assert_equal(numbers, [1.0, float("nan"), 2.0])
    assert texts == ["007", "NA", ""]


def test_line_numbers_count_empty_lines_and_lines_within_values(tmp_path):
    path = _file(tmp_path, '\n\na,s\n1,"two\nlines"\n\n3,x\n')
    chunks = list(csv_stream.chunks(path, _KINDS))
    assert chunks[0].origin(0) == bad_rows.Origin(str(path), 4, 0, '1,"two\nlines"')
    assert chunks[0].origin(1) == bad_rows.Origin(str(path), 7, 1, "3,x")


def test_a_byte_order_mark_and_windows_line_ends(tmp_path):
    numbers, texts, _, _ = _all(_file(tmp_path, "\ufeffa,s\r\n1,x\r\n2,y\r\n"))
    assert numbers == [1, 2]
    assert texts == ["x", "y"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty; a CSV file starts with a line of column names"),
        (b"a,b\n1,2\n", "no column 's'; columns found: a, b; mend"),
        (b"x,y\n1,2\n", "no columns 'a', 's'; columns found: x, y; mend"),
        (b"a,s,a\n1,2,3\n", "line 1: the column 'a' stands twice"),
        (b"a,s\n1,x\n\n2\n", "line 4: 1 values where the header names 2 columns"),
        (b"a,s\n1,x,9\n", "line 2: 3 values where the header names 2 columns"),
        (
            b"a,s\n1,\xff\xfe\n",
            "line 2, column 's': the value is not UTF-8; mend it, or name the file's encoding",
        ),
    ],
)
def test_a_malformed_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "f.csv"
    path.write_bytes(content)
    with pytest.raises(errors.PfrecError) as raised:
        bad_rows.BadRows("stop").add(
            [fault for chunk in csv_stream.chunks(path, _KINDS) for fault in chunk.faults]
        )
    assert str(raised.value).startswith(f"{path}:")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(errors.PfrecError, match="cannot be read"):
            list(csv_stream.chunks(path, _KINDS))
