import pathlib

import hypothesis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from pfrec import errors
from pfrec.data.conversion import encoding
from pfrec.data.dataset import row_block
from pfrec.data.reading import column_text, source
from pfrec.data.schema import Categorical, Numerical, Schema, Task

_SCHEMA = Schema(
    (Categorical("city", 10),),
    (Numerical("price", 0.5),),
    (Task("ctr", "click"), Task("cvr", "buy", "ctr")),
    "search",
)


def _chunk(**columns):
    columns = {
        "city": np.array([3, 9]),
        "price": np.array([1.5, 2.0]),
        "click": [0, 1],
        "buy": [0, 1],
        "search": [7, 8],
        **columns,
    }
    return source.RawChunk(
        pathlib.Path("raw"), np.arange(2), {name: pa.array(v) for name, v in columns.items()}
    )


def _ids(values, feature):
    schema = Schema((feature,), (), (Task("t", "t"),))
    columns = {"x": values, "t": np.zeros(len(values))}
    rows, _ = encoding.encode(
        source.RawChunk(pathlib.Path("raw"), np.arange(len(values)), columns), schema
    )
    return rows.categorical[:, 0].tolist()


def _groups(values):
    schema = Schema((), (Numerical("n"),), (Task("t", "t"),), "g")
    zeros = np.zeros(len(values))
    columns = {"g": pa.array(values), "n": zeros, "t": zeros}
    rows, _ = encoding.encode(
        source.RawChunk(pathlib.Path("raw"), np.arange(len(values)), columns), schema
    )
    return rows.group.tolist()


def test_encodes_a_chunk():
    rows, imputed = encoding.encode(_chunk(), _SCHEMA)
    assert rows.categorical.tolist() == [[3], [9]]
    assert rows.categorical.dtype == np.int32
    assert rows.numerical.tolist() == [[1.5], [2.0]]
    assert rows.numerical.dtype == np.float32
    assert rows.labels.tolist() == [[0, row_block.UNOBSERVED], [1, 1]]
    assert rows.group.tolist() == [7, 8]
    assert imputed == {}


def test_a_chain_of_conditions_is_followed():
    schema = Schema(
        (), (Numerical("n"),), (Task("a", "a"), Task("b", "b", "a"), Task("c", "c", "b"))
    )
    columns = {"n": np.zeros(4), "a": [0, 1, 1, 0], "b": [0, 0, 1, 1], "c": [1, 1, 0, 1]}
    rows, _ = encoding.encode(source.RawChunk(pathlib.Path("raw"), np.arange(4), columns), schema)
    assert rows.labels.tolist() == [[0, 255, 255], [1, 0, 255], [1, 1, 0], [0, 255, 255]]


@pytest.mark.parametrize("values", [["9", "9.0", " 3 "], [9.0, 9.0, 3.0], np.array([9, 9, 3])])
def test_identity_takes_integers_however_written(values):
    assert _ids(pa.array(values), Categorical("x", 10)) == [9, 9, 3]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"city": [3, 10]}, "raw: row 1, column 'city': the id 10 is not one of 0 to 9"),
        ({"city": [-1, 0]}, "raw: row 0, column 'city': the id -1 is not one of 0 to 9"),
        ({"city": [3.5, 0]}, "raw: row 0, column 'city': the id 3.5 is not one of 0 to 9"),
        ({"city": [3, None]}, "raw: row 1, column 'city': the id is empty"),
        ({"city": ["3", "x"]}, "raw: row 1, column 'city': 'x' is not a number"),
        ({"price": [1.0, None]}, "raw: row 1, column 'price': the value is empty or NaN"),
        ({"price": [float("inf"), 1.0]}, "raw: row 0, column 'price': the value is infinite"),
        (
            {"price": [1e39, 1.0]},
            "raw: row 0, column 'price': the value is infinite as a 32-bit float",
        ),
        ({"click": [0, 2]}, "raw: row 1, column 'click': the label is 2; labels are 0 or 1"),
        ({"buy": [0.5, 1]}, "raw: row 0, column 'buy': the label is 0.5"),
        ({"buy": [0, None]}, "raw: row 1, column 'buy': the label is empty"),
        ({"search": ["a", None]}, "raw: row 1, column 'search': the group is empty"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(columns, message):
    with pytest.raises(errors.PfrecError) as raised:
        encoding.encode(_chunk(**columns), _SCHEMA)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_missing_column_is_named_with_those_found():
    chunk = source.RawChunk(pathlib.Path("raw"), np.arange(1), {"city": np.array([1])})
    with pytest.raises(errors.PfrecError, match="raw: no column 'price'; columns found: city"):
        encoding.encode(chunk, _SCHEMA)


def test_missing_numbers_are_imputed_and_counted():
    rows, imputed = encoding.encode(
        _chunk(price=[float("nan"), float("-inf")]), _SCHEMA, missing_numerical="impute"
    )
    assert rows.numerical.tolist() == [[0.5], [0.5]]
    assert imputed == {"price": 2}


def test_vocabulary_gives_the_place_or_the_unknown_id():
    feature = Categorical("x", 2, encoding="vocabulary", vocabulary=("Rome", "7"))
    assert _ids(pa.array(["7", "Rome", "Oslo", None, ""]), feature) == [1, 0, 2, 2, 2]
    assert _ids(pa.array([7, 8]), feature) == [1, 2]
    assert _ids(pd.Series(["Rome", None]), feature) == [0, 2]
    assert _ids(pd.Series([7, None]), feature) == [
        1,
        2,
    ]  # pandas stores integers beside a gap as floats


@hypothesis.given(
    st.lists(
        st.text(st.characters(blacklist_categories=("Cs",)), max_size=8), min_size=1, max_size=20
    )
)
@hypothesis.settings(max_examples=30, deadline=None)
def test_hash_is_the_one_that_serving_computes(words):
    import tensorflow as tf

    expected = tf.strings.to_hash_bucket_fast(words, 1000).numpy().tolist()
    assert _ids(pa.array(words), Categorical("x", 1000, encoding="hash")) == expected


def test_hash_takes_integers_as_decimal_text():
    import tensorflow as tf

    expected = tf.strings.to_hash_bucket_fast(["-5", "123456789012"], 97).numpy().tolist()
    feature = Categorical("x", 97, encoding="hash")
    assert _ids(np.array([-5, 123456789012]), feature) == expected
    assert _ids(pa.array([-5.0, 123456789012.0]), feature) == expected


def test_integer_groups_stay_and_text_is_hashed():
    assert _groups([5, -3]) == [5, -3]
    assert _groups(["5", "-3", "999999999999999999"]) == [5, -3, 999999999999999999]
    mixed = _groups(["5", "abc", "007", "99999999999999999999"])
    assert mixed[0] == 5
    assert len(set(mixed)) == 4
    # FarmHash Fingerprint64, modulo 2**63 - 1: stable from machine to machine.
    assert _groups(["abc"]) == [2640714258260161385]


@hypothesis.given(
    st.lists(st.sampled_from(["1", "22", "x", "y z", "01", "-4"]), min_size=2, max_size=12),
    st.integers(1, 11),
)
@hypothesis.settings(max_examples=30, deadline=None)
def test_groups_do_not_depend_on_what_stands_beside_them(values, cut):
    parts = [_groups(part) for part in (values[:cut], values[cut:]) if part]
    assert _groups(values) == [group for part in parts for group in part]


def test_a_whole_number_has_the_same_text_whatever_stands_beside_it():
    assert column_text.of(pa.array([1.0, 2.5, None, 1e300])).to_pylist() == [
        "1",
        "2.5",
        "",
        "1e+300",
    ]
    assert column_text.of(pa.array([1.0])).to_pylist() == ["1"]


def test_good_rows_are_encoded_and_bad_ones_told_once():
    chunk = _chunk(city=[3, 99], price=[None, None])
    encoded = encoding.encode_good(chunk, _SCHEMA)
    assert len(encoded.rows) == 0
    assert [(faults.reason, faults.rows.tolist()) for faults in encoded.faults] == [
        ("id_out_of_range", [1]),
        ("number_missing", [0]),
    ]
    imputed = encoding.encode_good(chunk, _SCHEMA, missing_numerical="impute")
    assert imputed.rows.numerical.tolist() == [[0.5]]
    assert imputed.imputed == {"price": 1}  # that of the bad row does not count


def _id_lists(values, feature, after=()):
    schema = Schema((Categorical("first", 3), feature, *after), (), (Task("t", "t"),))
    zeros = np.zeros(len(values))
    columns = {"first": zeros, "x": pa.array(values), "last": zeros, "t": zeros}
    return encoding.encode_good(
        source.RawChunk(pathlib.Path("raw"), np.arange(len(values)), columns), schema
    )


@pytest.mark.parametrize(
    "values", [["7|0|7", "", "3"], [[7, 0, 7], [], [3]], [["7", "0", "7"], None, ["3"]]]
)
def test_lists_of_ids(values):
    found = _id_lists(
        values, Categorical("x", 8, values=3, separator="|"), [Categorical("last", 5)]
    )
    assert found.good.all()
    assert found.rows.categorical.tolist() == [
        [0, 7, 0, 7, 0],
        [0, -1, -1, -1, 0],
        [0, 3, -1, -1, 0],
    ]


def test_lists_of_words_and_hashes():
    genres = Categorical(
        "x", 2, encoding="vocabulary", vocabulary=("war", "love"), values=2, separator="|"
    )
    found = _id_lists(["love|war|love", "crime", ""], genres)
    assert found.rows.categorical[:, 1:].tolist() == [[1, 0], [2, -1], [-1, -1]]
    hashed = _id_lists(["a b", "b"], Categorical("x", 11, encoding="hash", values=2, separator=" "))
    a, b = column_text.hash_bucket(pa.array(["a", "b"]), 11).tolist()
    assert hashed.rows.categorical[:, 1:].tolist() == [[a, b], [b, -1]]


@pytest.mark.parametrize(
    ("bad", "reason"), [("1|9|8", "the id 9 is not one of 0 to 7"), ("1|x", "'x' is not a number")]
)
def test_a_row_is_bad_where_one_of_its_values_is(bad, reason):
    found = _id_lists(["1|2", bad, "3"], Categorical("x", 8, values=3, separator="|"))
    assert found.good.tolist() == [True, False, True]
    assert found.rows.categorical[:, 1:].tolist() == [[1, 2, -1], [3, -1, -1]]
    (fault,) = found.faults
    assert fault.rows.tolist() == [1]
    assert reason in fault.message(0)


def test_a_list_where_one_value_belongs_is_named():
    with pytest.raises(errors.PfrecError, match="column 'x' holds list"):
        _id_lists([[1], [2]], Categorical("x", 8, encoding="hash"))
