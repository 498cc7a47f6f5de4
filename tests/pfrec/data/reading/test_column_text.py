"""Lists of values: by hand, against Python's own `split`, and of every type of column."""

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from pfrec.data.reading import column_text


def of(values, separator="|", limit=10):
    """The lists of a column, one Python list a row."""
    found = column_text.lists(values, separator, limit)
    rows = [[] for _ in range(len(values))]
    for value, row, place in zip(
        found.values.to_pylist(), found.rows.tolist(), found.places.tolist()
    ):
        assert place == len(rows[row])
        rows[row].append(value)
    return rows


def test_text_is_cut_into_values():
    assert of(pa.array(["a|b", "", None, " c | |d ", "e"])) == [
        ["a", "b"],
        [],
        [],
        ["c", "d"],
        ["e"],
    ]
    assert of(pa.array(["a|b", "c|d"]), separator=", ") == [["a|b"], ["c|d"]]
    assert of(pa.array(["1, 2", "3"]), separator=", ") == [["1", "2"], ["3"]]


def test_only_the_first_values_are_kept():
    assert of(pa.array(["a||b|c", "d"]), limit=2) == [["a", "b"], ["d"]]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.int64()),
        pa.large_list(pa.int32()),
        pa.list_(pa.float64()),
        pa.list_(pa.string()),
    ],
    ids=str,
)
def test_lists_proper(kind):
    texts = pa.types.is_string(kind.value_type)
    given = [[3, 1], [], None, [None, 2]]
    values = [
        None if row is None else [str(v) if texts and v is not None else v for v in row]
        for row in given
    ]
    assert of(pa.array(values, kind)) == [["3", "1"], [], [], ["2"]]


def test_a_column_of_numbers_is_lists_of_one():
    assert of(pa.array([5, None, 7])) == [["5"], [], ["7"]]
    assert of(pa.array([[1, 2]], pa.list_(pa.int64(), 2))) == [["1", "2"]]


def test_lists_of_structures_are_refused():
    with pytest.raises((pa.ArrowNotImplementedError, pa.ArrowInvalid)):
        column_text.lists(pa.array([[{"a": 1}]]), "|", 3)


@hypothesis.given(st.lists(st.text(alphabet="ab |", max_size=12), max_size=8), st.integers(1, 4))
def test_as_python_splits(texts, limit):
    expected = [
        [part.strip() for part in text.split("|") if part.strip()][:limit] for text in texts
    ]
    assert of(pa.array(texts, pa.string()), limit=limit) == expected


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("1.23E+18", True),
        ("1.2345678901234568e+18", True),
        ("1E+11", True),
        ("1,23457E+18", True),
        ("a|9.1e+17|b", True),
        (" 1.23E+18 ", True),
        (None, False),
        ("", False),
        ("1234567890123456789", False),
        ("1.5e+10", False),
        ("1.23E-18", False),
        ("model 3E+12x", False),
        ("e+18", False),
    ],
)
def test_text_that_lost_digits_is_told(text, lost):
    assert column_text.rounded(pa.array(["7", text, None])).tolist() == [False, lost, False]


def test_only_floats_and_text_can_have_lost_digits():
    assert column_text.rounded(pa.array([10**18, None])) is None
    assert column_text.rounded(pa.array([True, False])) is None
    assert column_text.rounded(pa.array([2.0**53, 2.0**53 - 1, None])).tolist() == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(("kind", "exact"), [("e", 2.0**11), ("f", 2.0**24), ("d", 2.0**53)])
def test_narrower_floats_lose_digits_earlier(kind, exact):
    values = np.array([exact - 1, -exact, exact, np.nan], kind)
    assert values[0] + values.dtype.type(2) == exact  # What was exact + 1.
    lost = [False, True, True, False]
    assert column_text.rounded(values).tolist() == lost
    assert column_text.rounded(pa.array([[value] for value in values])).tolist() == lost
