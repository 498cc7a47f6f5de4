"""Labels as logs hold them, and what a schema can say of them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfrec import errors
from pfrec.data.conversion import encoding, toml_schema
from pfrec.data.conversion.columns import as_labels
from pfrec.data.dataset import row_block
from pfrec.data.reading import source
from pfrec.data.schema import Numerical, Schema, Task

_X = row_block.UNOBSERVED


def _task(text):
    """The task of a schema whose last table is `text`."""
    described = toml_schema.read_text(
        f'[[numerical]]\nname = "price"\n[[task]]\nname = "t"\n{text}', place="s.toml"
    )
    return described.schema.tasks[0]


def _codes(values, text=""):
    return as_labels.codes(pa.array(values), _task(text)).tolist()


@pytest.mark.parametrize(
    ("values", "text", "wanted"),
    [
        (["1", "0"], "", [1, 0]),
        (["1.0", "0.0"], "", [1, 0]),
        ([" 1", "0 "], "", [1, 0]),
        (["1e0", "+1"], "", [1, 1]),
        (["True", "False"], "", [1, 0]),
        (["TRUE", "false"], "", [1, 0]),
        (["yes", "No"], "", [1, 0]),
        (["y", "N"], "", [1, 0]),
        ([True, False, None], "", [1, 0, as_labels.MISSING]),
        ([1, 0, None], "", [1, 0, as_labels.MISSING]),
        ([1.0, 0.0, float("nan")], "", [1, 0, as_labels.MISSING]),
        (["", "NA", "null", "NaN", "N/A"], "", [as_labels.MISSING] * 5),
        (["2", "-1", "maybe", "0.5", "1_0"], "", [as_labels.WRONG] * 5),
        (["-1", "1"], "unobserved = [-1]", [_X, 1]),
        ([-1, 1, 0], "unobserved = [-1]", [_X, 1, 0]),
        ([-1.0, 1.0], 'negative = ["-1"]\npositive = [1]', [0, 1]),
        (["-1", "1"], "negative = [-1]", [0, 1]),
        (["buy", "view", "cart"], 'positive = ["buy", "cart"]', [1, 0, 1]),
        (["Buy", "VIEW"], 'positive = ["buy"]', [1, 0]),
        (["buy", "view", "x"], 'positive = ["buy"]\nnegative = ["view"]', [1, 0, as_labels.WRONG]),
        (["buy", ""], 'positive = ["buy"]', [1, as_labels.MISSING]),
        (["buy", ""], 'positive = ["buy"]\nnegative = [""]', [1, 0]),
        (["none", "?"], 'positive = ["none"]\nunobserved = ["?"]', [1, _X]),
        ([True, False], "negative = [true]", [0, 1]),
        (["5", "4", "3.5", "0.5"], "positive_from = 4", [1, 1, 0, 0]),
        ([5, 4, 3, None], "positive_from = 4", [1, 1, 0, as_labels.MISSING]),
        (["4.5", "good"], "positive_from = 4.5", [1, as_labels.WRONG]),
        (["0", "5"], "positive_from = 4\nunobserved = [0]", [_X, 1]),
    ],
)
def test_values_of_labels(values, text, wanted):
    assert _codes(values, text) == wanted


def test_a_dictionary_column_reads_as_its_values():
    values = pa.array(["yes", None, "no"]).dictionary_encode()
    assert as_labels.codes(values, _task("")).tolist() == [1, as_labels.MISSING, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('missing = "skip"', "missing = 'skip' is not one of bad, unobserved, 0"),
        ("missing = 1", "missing = 1 is not one of"),
        ("missing = false", "missing = False is not one of"),
        ("positive_from = 4\npositive = [5]", "positive_from does not go with positive"),
        ("positive = [1]\nnegative = [1.0]", "'1' stands twice"),
        ("positive = [[1]]", "positive: .* is not text, a number or a boolean"),
        ('given = "t"', "given = 't' is not another task"),
        (
            'given = "u"\n[[task]]\nname = "u"\ngiven = "t"',
            "tasks are given each other in a circle",
        ),
    ],
)
def test_what_does_not_fit_is_named(text, message):
    with pytest.raises(errors.PfrecError, match=message):
        _task(text)


def test_what_a_schema_says_of_labels_is_kept():
    tasks = (
        Task("a", "x", None, ("yes",), ("no",), ("-1",), None, "unobserved"),
        Task("b", "y", "a", positive_from=3.5, missing="0"),
    )
    made = Schema((), (Numerical("p"),), tasks)
    assert Schema.from_json(made.to_json(), place="here") == made
    plain = Schema((), (Numerical("p"),), (Task("a", "x"),)).to_json()
    assert list(plain["tasks"]) == [{"name": "a", "column": "x", "given": None}]


def _encoded(columns, tasks):
    schema = Schema((), (Numerical("p"),), tasks)
    count = len(next(iter(columns.values())))
    table = {name: pa.array(values) for name, values in columns.items()}
    chunk = source.RawChunk("log", np.arange(count), {**table, "p": np.zeros(count)})
    return encoding.encode_good(chunk, schema)


@pytest.mark.parametrize(
    ("missing", "wanted", "good"),
    [
        ("bad", [[1, 1], [0, _X], [1, 0]], [True, True, False, True]),
        ("unobserved", [[1, 1], [0, _X], [1, _X], [1, 0]], [True] * 4),
        ("0", [[1, 1], [0, _X], [1, 0], [1, 0]], [True] * 4),
    ],
)
def test_an_empty_label_is_judged_where_its_task_is_defined(missing, wanted, good):
    columns = {"click": ["1", "0", "1", "1"], "buy": ["1", "", "", "0"]}
    found = _encoded(columns, (Task("ctr", "click"), Task("cvr", "buy", "ctr", missing=missing)))
    assert found.good.tolist() == good
    assert found.rows.labels.tolist() == wanted
    assert found.contrary == {}


def test_a_label_against_its_condition_is_counted_and_left_out():
    tasks = (Task("ctr", "click"), Task("cvr", "buy", "ctr"), Task("back", "sent", "cvr"))
    columns = {
        "click": ["1", "0", "0", "1", "x"],
        "buy": ["1", "1", "0", "0", "1"],
        "sent": ["1", "1", "1", "1", "1"],
    }
    found = _encoded(columns, tasks)
    assert found.rows.labels.tolist() == [[1, 1, 1], [0, _X, _X], [0, _X, _X], [1, 0, _X]]
    # The last row is bad, and counts nowhere.
    assert found.contrary == {"cvr": 1, "back": 3}


def test_chains_of_three_and_any_order_of_tasks():
    columns = {
        "click": ["1", "1", "1", "0"],
        "cart": ["1", "1", "0", ""],
        "buy": ["0", "1", "", ""],
    }
    tasks = (Task("buy", "buy", "cart"), Task("cart", "cart", "click"), Task("click", "click"))
    found = _encoded(columns, tasks)
    assert found.good.all()
    assert found.rows.labels.tolist() == [[0, 1, 1], [1, 1, 1], [_X, 0, 1], [_X, _X, 0]]


def test_where_the_given_label_is_unobserved_nothing_is_known():
    columns = {"click": ["-1", "1"], "buy": ["1", "1"]}
    found = _encoded(columns, (Task("ctr", "click", unobserved=("-1",)), Task("cvr", "buy", "ctr")))
    assert found.rows.labels.tolist() == [[_X, _X], [1, 1]]


def test_a_word_that_is_no_label_is_named_with_the_remedy():
    found = _encoded({"click": ["often", "1"]}, (Task("ctr", "click"),))
    assert found.good.tolist() == [False, True]
    assert found.faults[0].describe(0) == (
        "the label is 'often'; labels are 0 or 1; positive, negative, positive_from or unobserved "
        "in its [[task]] says what other values mean"
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["1", "0", "", "-1"]), st.sampled_from(["1", "0", "", "x"])),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from(["bad", "unobserved", "0"]),
)
def test_every_row_is_judged_by_itself_and_rightly(rows, missing):
    """Against the rule written out row by row."""
    tasks = (Task("ctr", "click", missing=missing), Task("cvr", "buy", "ctr", missing=missing))
    found = _encoded({"click": [r[0] for r in rows], "buy": [r[1] for r in rows]}, tasks)

    def label(word, defined):
        if word not in ("0", "1", ""):
            return None
        if not defined:
            return _X
        return {"bad": None, "unobserved": _X, "0": 0}[missing] if word == "" else int(word)

    wanted = []
    for click, buy in rows:
        first = label(click, True)
        second = label(buy, first == 1)
        wanted.append(None if first is None or second is None else [first, second])
    assert found.good.tolist() == [row is not None for row in wanted]
    assert found.rows.labels.tolist() == [row for row in wanted if row is not None]
