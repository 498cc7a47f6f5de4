"""Lists of what came before: the last values of a user, never from the future."""

import pathlib
import random

import numpy as np
import pyarrow as pa
import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data import schema as schema_lib
from pfrec.data.conversion import toml_schema
from pfrec.data.converters import table
from pfrec.data.dataset import dataset, row_block

_SCHEMA = """
[scenario]
column = "site"
[[categorical]]
name = "item_id"
cardinality = 50
policy = "shared"
[[categorical]]
name = "seen"
table = "item_id"
values = 3
pooling = "attention"
history = {user = "user", time = "ts"}
[[numerical]]
name = "number"
[[task]]
name = "click"
"""


def _log(rows=300):
    draw = random.Random(1)
    return {
        "site": [draw.choice(["nl", "es"]) for _ in range(rows)],
        "user": [draw.choice(["", "a", "b", "c", "d"]) for _ in range(rows)],
        "item_id": [draw.randrange(50) for _ in range(rows)],
        "ts": [1_700_000_000 + draw.randrange(120) for _ in range(rows)],
        "click": [draw.randrange(2) for _ in range(rows)],
        "number": list(range(rows)),
    }


def _wanted(log, row, where=None):
    """What a row's list must be, by definition."""
    own = [
        (log["ts"][n], n)
        for n in range(len(log["ts"]))
        if (log["site"][n], log["user"][n]) == (log["site"][row], log["user"][row])
        and log["user"][n]
        and log["ts"][n] < log["ts"][row]
        and (where is None or log[where][n] == 1)
    ]
    items = [log["item_id"][n] for _, n in sorted(own)][-3:]
    return items + [schema_lib.NO_VALUE] * (3 - len(items))


def _found(path):
    """Per number of a row its ids."""
    data = dataset.Dataset.open(path)
    data.verify()
    found = {}
    for scenario in data.scenarios:
        for split in ("train", "valid", "test"):
            for shard in data.shards(scenario, split):
                content = pathlib.Path(shard).read_bytes()
                while content:
                    length = int.from_bytes(content[:8], "little")
                    rows = row_block.decode(content[12 : 12 + length], data.schema)
                    for number, ids in zip(rows.numerical[:, 0], rows.categorical):
                        found[int(number)] = ids.tolist()
                    content = content[16 + length :]
    return found


@pytest.mark.parametrize("where", [None, "click"])
def test_a_row_has_the_last_items_of_its_user_and_none_of_the_future(where, tmp_path):
    log = _log()
    schema = _SCHEMA
    if where:
        schema = schema.replace('time = "ts"', f'time = "ts", where = "{where}"')
    table.convert_table(pa.table(log), tmp_path / "d", schema)
    found = _found(tmp_path / "d")
    assert len(found) == 300
    for row, ids in found.items():
        assert ids == [log["item_id"][row], *_wanted(log, row, where)], row
    # What comes later changes nothing of what was: without the last half of time, the same lists.
    middle = sorted(log["ts"])[150]
    early = np.array(log["ts"]) < middle
    part = {name: [v for v, e in zip(values, early) if e] for name, values in log.items()}
    table.convert_table(pa.table(part), tmp_path / "early", schema)
    before = _found(tmp_path / "early")
    assert len(before) == early.sum()
    assert {row: found[row] for row in before} == before


def test_only_what_is_listed_counts_and_of_nobody_else(tmp_path):
    """A user whose rows are none that are listed has no list, least of all the next user's; a label
    that was not observed is no 1.
    """
    schema = _SCHEMA.replace('time = "ts"', 'time = "ts", where = "click"')
    schema = schema.replace('name = "click"', 'name = "click"\nunobserved = [-1]')
    log = {
        "site": ["nl"] * 9,
        "user": ["a", "b", "c"] * 3,
        "item_id": list(range(9)),
        "ts": [1_700_000_000 + n for n in range(9)],
        "click": [1, 0, -1, 1, 0, -1, 0, 0, 0],
        "number": list(range(9)),
    }
    table.convert_table(pa.table(log), tmp_path / "d", schema)
    found = {row: ids[1:] for row, ids in _found(tmp_path / "d").items()}
    none = [schema_lib.NO_VALUE] * 3
    assert found[3] == [0, schema_lib.NO_VALUE, schema_lib.NO_VALUE]
    assert found[6] == [0, 3, schema_lib.NO_VALUE]
    assert [found[row] for row in (1, 2, 4, 5, 7, 8)] == [none] * 6


def test_an_empty_value_is_not_listed(tmp_path):
    schema = _SCHEMA.replace("cardinality = 50", 'vocabulary = ["p", "q"]')
    log = {
        "site": ["nl"] * 5,
        "user": ["a"] * 5,
        "item_id": ["p", "q", "", "q", "p"],
        "ts": [1_700_000_000 + n for n in range(5)],
        "click": [0, 1, 0, 1, 0],
        "number": list(range(5)),
    }
    table.convert_table(pa.table(log), tmp_path / "d", schema)
    # The third takes no place among the last three.
    assert _found(tmp_path / "d")[4][1:] == [0, 1, 1]


def test_files_in_any_order_and_in_pieces_give_the_same_lists(tmp_path):
    log = _log()
    (tmp_path / "s.toml").write_text(_SCHEMA)
    (tmp_path / "logs").mkdir()
    for part in range(3):
        lines = [",".join(log)]
        lines += [",".join(map(str, row)) for row in list(zip(*log.values()))[part::3]]
        (tmp_path / "logs" / f"{2 - part}.csv").write_text("\n".join(lines) + "\n")
    convert.convert("csv", tmp_path / "logs", tmp_path / "d", schema_path=tmp_path / "s.toml")
    found = _found(tmp_path / "d")
    # Of equal times the order of reading decides, so the sets of items alone are compared.
    for row, ids in found.items():
        if len(set(log["ts"])) == len(log["ts"]):
            assert ids[1:] == _wanted(log, row)
        early = [n for n in range(300) if log["ts"][n] < log["ts"][row]]
        assert {i for i in ids[1:] if i >= 0} <= {log["item_id"][n] for n in early}


def test_local_vocabularies_are_those_of_the_table(tmp_path):
    schema = _SCHEMA.replace(
        'cardinality = 50\npolicy = "shared"', 'encoding = "local_vocabulary"\ncardinality = 20'
    )
    table.convert_table(pa.table(_log()), tmp_path / "d", schema)
    for scenario in ("nl", "es"):
        item, seen = dataset.Dataset.open(tmp_path / "d").client_schema(scenario).categorical
        assert item.vocabulary == seen.vocabulary
        assert len(item.vocabulary) == 20


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('table = "item_id"', 'table = "item"', "table = 'item' is no other categorical feature"),
        ('table = "item_id"', 'table = "seen"', "table = 'seen' is no other categorical feature"),
        ('table = "item_id"\n', "", "history lists the values of a feature"),
        ("values = 3\n", "", "no key 'values'"),
        ("values = 3", "values = 3\ncardinality = 7", "cardinality is that of 'item_id'"),
        ('time = "ts"', 'time = "ts", where = "buy"', "where = 'buy' is no task"),
        (', time = "ts"', "", "no key 'time'"),
        ('pooling = "attention"', 'pooling = "sum"', "pooling = 'sum' is mean or attention"),
        ("values = 3", 'values = 3\nkeep = "best"', "keep = 'best' is first or last"),
    ],
)
def test_what_is_wrong_is_named(old, new, told):
    with pytest.raises(errors.PfrecError, match=told):
        toml_schema.read_text(_SCHEMA.replace(old, new), place="here")


def test_the_last_values_of_a_list_count(tmp_path):
    schema = _SCHEMA.replace(
        'history = {user = "user", time = "ts"}', 'keep = "last"\nseparator = " "'
    ).replace('pooling = "attention"', "")
    log = {**_log(), "seen": ["1 2 3 4 5", "7", "", " 8  9 "] * 75}
    table.convert_table(pa.table(log), tmp_path / "d", schema)
    found = _found(tmp_path / "d")
    wanted = [[3, 4, 5], [7, -1, -1], [-1, -1, -1], [8, 9, -1]]
    assert all(ids[1:] == wanted[row % 4] for row, ids in found.items())
