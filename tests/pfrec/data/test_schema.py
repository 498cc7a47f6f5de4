"""Where ids stand in a row, what a schema refuses,
and that its JSON says it all and no more than needed.
"""

import dataclasses
import json

import numpy as np
import pytest

from pfrec import errors
from pfrec.data.dataset import pipeline, row_block
from pfrec.data.schema import Categorical, Numerical, Schema, Task

LISTS = Schema(
    (
        Categorical("user", 9),
        Categorical("tags", 4, values=3, separator="|"),
        Categorical("city", 5),
    ),
    (Numerical("price"),),
    (Task("click", "click"),),
    group="user",
)


def test_places_of_ids_by_hand():
    assert LISTS.id_columns == 5
    assert LISTS.id_places == (slice(0, 1), slice(1, 4), slice(4, 5))
    # Five ids, a number, a label, a group.
    assert LISTS.row_bytes == 20 + 4 + 1 + 8


def test_rows_with_lists_survive_a_record():
    rows = row_block.Rows(
        np.array([[1, 0, 3, -1, 2], [8, -1, -1, -1, 4]], np.int32),
        np.ones((2, 1), np.float32),
        np.ones((2, 1), np.uint8),
        np.arange(2),
    )
    record = row_block.encode(rows)
    np.testing.assert_array_equal(row_block.decode(record, LISTS).categorical, rows.categorical)
    np.testing.assert_array_equal(
        pipeline.decode_blocks([record], LISTS)["categorical"], rows.categorical
    )


def test_json_keeps_lists_and_says_nothing_of_single_values():
    value = json.loads(json.dumps(LISTS.to_json()))
    assert Schema.from_json(value, place="here") == LISTS
    assert [("values" in entry, "separator" in entry) for entry in value["categorical"]] == [
        (False,) * 2,
        (True,) * 2,
        (False,) * 2,
    ]


@pytest.mark.parametrize(
    "wrong", [{"values": 0}, {"values": 2}, {"separator": "|"}, {"values": -1, "separator": "|"}]
)
def test_lists_need_a_number_of_values_and_a_separator(wrong):
    with pytest.raises(errors.PfrecError, match="tags: values = "):
        dataclasses.replace(LISTS, categorical=(Categorical("tags", 4, **wrong),))
