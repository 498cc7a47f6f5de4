"""Further days of a log: ids keep their meaning, and what was there stays as it was."""

import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from pfrec import errors
from pfrec.commands import convert
from pfrec.data.dataset import dataset, row_block

_SCHEMA = """
group = "user"
[scenario]
column = "site"
[split]
by = "user"
valid = 0.25
test = 0.25
[[categorical]]
name = "item"
vocabulary = ["a", "b"]
policy = "shared"
[[categorical]]
name = "street"
encoding = "local_vocabulary"
cardinality = 6
[[categorical]]
name = "number"
cardinality = 4
[[numerical]]
name = "price"
normalise = "standard"
[[task]]
name = "click"
"""


def _log(path, rows, days):
    """A log with items, streets and numbers of a day."""
    items, streets, numbers, sites = days
    lines = ["site,user,item,street,number,price,click"]
    for n in range(rows):
        cells = (sites[n % len(sites)], f"u{n // 4}", items[n % len(items)])
        cells += (streets[n % len(streets)], numbers[n % len(numbers)], n % 10, n % 2)
        lines.append(",".join(map(str, cells)))
    path.write_text("\n".join(lines) + "\n")


_FIRST = (["a", "b", "a"], ["x", "y", "x"], [0, 1, 2, 3], ["nl"])
_SECOND = (["b", "c", "c", "d", "a"], ["y", "z", "x", "z", "w"], [0, 5, 1], ["nl", "es"])


@pytest.fixture
def first(tmp_path):
    (tmp_path / "s.toml").write_text(_SCHEMA)
    _log(tmp_path / "day1.csv", 240, _FIRST)
    _log(tmp_path / "day2.csv", 480, _SECOND)
    schema = tmp_path / "s.toml"
    convert.convert("csv", tmp_path / "day1.csv", tmp_path / "one", schema_path=schema)
    return tmp_path / "one"


def _append(first, day="day2.csv", **flags):
    day = first.parent / day
    output = first.parent / "two"
    notes = convert.convert("csv", day, output, append=first, **flags)
    data = dataset.Dataset.open(output)
    data.verify()
    return data, notes


def _files(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def _ids(data, scenario, feature, shards=None):
    """All ids of a feature in a scenario's rows."""
    number = [f.name for f in data.schema.categorical].index(feature)
    found = []
    for split in ("train", "valid", "test"):
        for shard in map(pathlib.Path, data.shards(scenario, split)):
            if shards is None or shard.name in shards:
                bytes_ = shard.read_bytes()
                while bytes_:
                    length = int.from_bytes(bytes_[:8], "little")
                    rows = row_block.decode(bytes_[12 : 12 + length], data.schema)
                    found.append(rows.categorical[:, number])
                    bytes_ = bytes_[16 + length :]
    return np.concatenate(found)


def test_rows_of_before_stay_byte_for_byte_and_unknown_values_have_the_unknown_id(first):
    before = _files(first)
    data, notes = _append(first)
    assert _files(first) == before
    after = _files(data.path)
    shards = {name: content for name, content in before.items() if name.endswith(".tfrecord")}
    assert shards
    assert {name: after[name] for name in shards} == shards
    assert data.schema == dataset.Dataset.open(first).schema
    assert after["nl/client_schema.json"] == before["nl/client_schema.json"]
    # 240 rows of before and half of 480; `es` is new and has its own vocabulary.
    assert sum(data.rows("nl", split) for split in ("train", "valid", "test")) == 480
    assert sum(data.rows("es", split) for split in ("train", "valid", "test")) == 240
    assert set(data.client_schema("es").categorical[1].vocabulary) == {"x", "y", "z", "w"}
    later = {f"{split}-00001-of-00002.tfrecord" for split in ("train", "valid", "test")}
    # b c c d a: two of five are known.
    assert np.bincount(_ids(data, "nl", "item", later)).tolist() == [48, 48, 144]
    assert np.bincount(_ids(data, "nl", "number", later)).tolist() == [80, 80, 0, 0, 80]
    assert any("'item': 288 of 480 values" in note for note in notes)
    assert any("'street': 144 of 240 values" in note for note in notes)
    assert "scenario es: new, 240 rows" in notes
    assert not any("no new rows" in note for note in notes)
    told = json.loads((data.path / "dataset.json").read_text())["appended"]
    assert told["features"]["item"] == {"values": 480, "new": 0, "unknown": 288}
    assert told["features"]["number"] == {"values": 480, "new": 0, "unknown": 160}
    # What a client's own vocabulary knows stays with it.
    assert "street" not in told["features"]


def test_a_scenario_without_new_rows_is_named(first):
    _log(first.parent / "day3.csv", 120, (*_SECOND[:3], ["es"]))
    _, notes = _append(first, "day3.csv")
    told = "scenario nl: no new rows"
    assert f"{told}; its earlier ones stay, without: pfrec-train --skip_scenarios=nl" in notes
    assert "scenario es: new, 120 rows" in notes


def test_without_the_earlier_rows_none_of_a_scenario_stay(first):
    _log(first.parent / "day3.csv", 120, (*_SECOND[:3], ["es"]))
    _, notes = _append(first, "day3.csv", keep_rows=False)
    assert "scenario nl: no new rows" in notes


def test_new_rows_alone_grow_vocabularies_that_start_as_before(first):
    data, notes = _append(first, keep_rows=False, unknown_ids="grow")
    item, street, number = data.schema.categorical
    assert item.vocabulary == ("a", "b", "c", "d")  # c twice as common as d
    assert item.cardinality == 4
    assert number.cardinality == 6
    known = dataset.Dataset.open(first).client_schema("nl").categorical[1].vocabulary
    own = data.client_schema("nl").categorical[1].vocabulary
    assert known == ("x", "y")
    assert own == ("x", "y", "z", "w")
    assert street.encoding == "local_vocabulary"
    # Numbers mean what they meant.
    old = dataset.Dataset.open(first).client_schema("nl").numerical
    assert data.client_schema("nl").numerical == old
    assert np.bincount(_ids(data, "nl", "item")).tolist() == [48, 48, 96, 48]
    assert any("'item': 288 of 480 values" in n and "288 have a new id" in n for n in notes)


def test_with_rows_of_before_vocabularies_grow_into_free_places_alone(first):
    data, _ = _append(first, unknown_ids="grow")
    item, _, number = data.schema.categorical
    assert (item.vocabulary, item.cardinality) == (("a", "b"), 2)  # full: id 2 is unknown
    assert number.cardinality == 6  # no old row has an unknown one
    assert data.client_schema("nl").categorical[1].vocabulary == ("x", "y", "z", "w")


@pytest.mark.parametrize("keep_rows", [True, False])
def test_who_grows_loses_no_place_where_few_ids_come(first, keep_rows):
    _log(first.parent / "day2.csv", 240, (["a"], ["x"], [0, 1], ["nl"]))
    data, notes = _append(first, keep_rows=keep_rows, unknown_ids="grow")
    assert [feature.cardinality for feature in data.schema.categorical] == [2, 6, 4]
    assert data.schema.categorical[0].vocabulary == ("a", "b")
    assert not [note for note in notes if "were not known" in note]


def test_the_largest_id_counts_whichever_file_it_is_in(first):
    days = first.parent / "days"
    days.mkdir()
    for name, number in (("a", 7), ("b", 1)):
        _log(days / f"{name}.csv", 240, (["a"], ["x"], [number], ["nl"]))
    data, _ = _append(first, day="days", unknown_ids="grow")
    assert data.schema.categorical[2].cardinality == 8


def test_appending_again_goes_on_from_there(first):
    data, _ = _append(first)
    day, third = first.parent / "day3.csv", first.parent / "three"
    _log(day, 240, (["e"], ["v"], [3], ["nl", "es"]))
    convert.convert("csv", day, third, append=data.path, unknown_ids="grow")
    found = dataset.Dataset.open(third)
    found.verify()
    assert sum(found.rows("nl", split) for split in ("train", "valid", "test")) == 600
    assert found.schema.categorical[2].cardinality == 4
    assert len(found.shards("nl", "train")) == 3
    assert len(found.shards("es", "train")) == 2
    # Rows of the second day hold the unknown number 4, which must not become a value's.
    _log(day, 240, (["e"], ["v"], [7], ["nl", "es"]))
    grow = {"append": third, "unknown_ids": "grow"}
    told = "three: 'number' cannot grow to the id 7: 160 values .* the unknown id 4.*--nokeep_rows"
    with pytest.raises(errors.PfrecError, match=told):
        convert.convert("csv", day, first.parent / "four", **grow)
    assert not (first.parent / "four").exists()
    fourth, fifth = first.parent / "four", first.parent / "five"
    convert.convert("csv", day, fourth, keep_rows=False, **grow)
    assert dataset.Dataset.open(fourth).schema.categorical[2].cardinality == 8
    # With rows that none of them is among it may grow again.
    _log(day, 240, (["e"], ["v"], [9], ["nl"]))
    convert.convert("csv", day, fifth, append=fourth, unknown_ids="grow")
    assert dataset.Dataset.open(fifth).schema.categorical[2].cardinality == 10


def test_rows_that_were_appended_without_growth_and_know_all_ids_let_the_next_grow(first):
    _log(first.parent / "day2.csv", 240, (["a"], ["x"], [0, 3], ["nl"]))
    data, _ = _append(first)
    _log(first.parent / "day3.csv", 240, (["a"], ["x"], [6, 0], ["nl"]))
    third = first.parent / "three"
    convert.convert("csv", first.parent / "day3.csv", third, append=data.path, unknown_ids="grow")
    found = dataset.Dataset.open(third)
    assert found.schema.categorical[2].cardinality == 7
    # 240 rows of the first day, half of the others' 480.
    assert np.bincount(_ids(found, "nl", "number")).tolist() == [300, 60, 60, 180, 0, 0, 120]


def test_an_id_that_test_rows_alone_have_is_no_unknown_one_to_growth(first):
    """A later month's growth would make the unknown id that of a value."""
    day = first.parent / "day2.csv"
    _log(day, 240, (["a"], ["x"], [0, 6], ["nl"]))
    tested = [line for line in day.read_text().splitlines() if line.startswith("nl,u2,")]
    with open(day, "a") as stream:
        stream.writelines(f"nl,u2,a,x,8,{n},1\n" for n in range(len(tested)))
    data, _ = _append(first, unknown_ids="grow")
    later = {split: {f"{split}-00001-of-00002.tfrecord"} for split in ("train", "valid", "test")}
    found = {split: _ids(data, "nl", "number", shard) for split, shard in later.items()}
    assert [split for split, ids in found.items() if 8 in ids] == ["test"]
    assert data.schema.categorical[2].cardinality == 9


def test_values_of_lists_are_counted_as_many_as_there_are(tmp_path):
    tags = '[[categorical]]\nname = "tags"\nvocabulary = ["s", "t"]\nvalues = 3\nseparator = "|"\n'
    (tmp_path / "s.toml").write_text(_SCHEMA.replace("[[numerical]]", tags + "[[numerical]]"))
    head = "site,user,item,street,number,price,click,tags\n"
    for day, told in (("one", ("s|t", "t")), ("two", ("s|u", ""))):
        lines = (f"nl,u{n},a,x,0,{n % 10},{n % 2},{told[n % 4 // 2]}\n" for n in range(200))
        (tmp_path / f"{day}.csv").write_text(head + "".join(lines))
    convert.convert("csv", tmp_path / "one.csv", tmp_path / "one", schema_path=tmp_path / "s.toml")
    data, _ = _append(tmp_path / "one", day="two.csv")
    told = json.loads((data.path / "dataset.json").read_text())["appended"]["features"]
    # Half of 200 rows have two values, the second of which is not known.
    assert told["tags"] == {"values": 200, "new": 0, "unknown": 100}


def test_rows_are_split_and_their_gaps_filled_as_those_of_before_unless_told(first):
    """All of a user's rows stay in one split."""
    schema, day, before = (first.parent / name for name in ("s.toml", "day1.csv", "seeded"))
    day.write_text(day.read_text() + "nl,u0,a,x,1,,1\n")
    of = {"split_seed": 7, "missing_numerical": "impute"}
    convert.convert("csv", day, before, schema_path=schema, **of)

    def again(name, **flags):
        output = first.parent / name
        convert.convert("csv", day, output, append=before, keep_rows=False, **flags)
        return dataset.Dataset.open(output), json.loads((output / "dataset.json").read_text())

    data, told = again("same")
    assert data.counts == dataset.Dataset.open(before).counts
    assert (data.split_seed, told["options"]["missing_numerical"]) == (7, "impute")
    data, told = again("other", split_seed=0)
    assert data.counts != dataset.Dataset.open(before).counts
    with pytest.raises(errors.PfrecError, match="missing_numerical=impute"):
        again("strict", missing_numerical="reject")


def test_a_schema_may_say_how_files_are_read_and_no_more(first):
    other = first.parent / "other.toml"
    other.write_text(_SCHEMA.replace('name = "price"', 'name = "prise"'))
    with pytest.raises(errors.PfrecError, match=r"is not that of .*prise"):
        _append(first, schema_path=other)
    other.write_text(_SCHEMA.replace('vocabulary = ["a", "b"]', 'vocabulary = ["a", "b", "c"]'))
    data, _ = _append(first, schema_path=other)
    assert data.schema.categorical[0].vocabulary == ("a", "b")


# As the log is laid out by then: other columns, another delimiter, other words between lists.
_RENAMED = {
    'group = "user"': 'group = "uid"',
    'by = "user"': 'by = "uid"',
    'name = "item"': 'name = "item"\ncolumn = "sku"',
    'name = "street"': 'name = "street"\ncolumn = "road"',
    'name = "price"': 'name = "price"\ncolumn = "item"',  # A name that another feature had.
    'name = "click"': 'name = "click"\ncolumn = "clicked"',
    'column = "site"': 'column = "shop"',
}


def _renamed(path, day):
    """A schema and a log that say the same in columns that are called otherwise."""
    schema, log = _SCHEMA, day.read_text()
    for old, new in _RENAMED.items():
        schema = schema.replace(old, new)
    head, _, rows = log.partition("\n")
    assert head == "site,user,item,street,number,price,click"
    (path / "renamed.toml").write_text(schema + '[file]\ndelimiter = ";"\n')
    rows = rows.replace(",", ";")
    (path / "renamed.csv").write_text("shop;uid;sku;road;number;item;clicked\n" + rows)
    return path / "renamed.toml"


@pytest.mark.parametrize("flags", [{}, {"keep_rows": False, "unknown_ids": "grow"}])
def test_columns_that_are_called_otherwise_by_now_give_the_same_dataset(first, flags):
    schema = _renamed(first.parent, first.parent / "day2.csv")
    data, notes = _append(first, "renamed.csv", schema_path=schema, **flags)
    assert [note for note in notes if "read from" in note] == [
        "item: read from 'sku', before from 'item'",
        "street: read from 'road', before from 'street'",
        "price: read from 'item', before from 'price'",
        "task click: read from 'clicked', before from 'click'",
        "the group: read from 'uid', before from 'user'",
    ]
    output = first.parent / "plain"
    convert.convert("csv", first.parent / "day2.csv", output, append=first, **flags)
    mine, plain = (_told(path) for path in (data.path, output))
    assert mine.pop("reading") != plain.pop("reading")
    assert mine.pop("split") == {**plain.pop("split"), "column": "uid"}
    warned = [line.replace("'sku'", "'item'") for line in mine.pop("warnings", [])]
    assert warned == plain.pop("warnings", [])  # In the words of the files that were read.
    assert mine == plain
    assert _files(data.path).keys() == _files(output).keys()
    unlike = [n for n, content in _files(output).items() if _files(data.path)[n] != content]
    assert unlike == ["dataset.json"]


def _told(path):
    return json.loads((path / "dataset.json").read_text())


def test_what_is_appended_next_is_read_as_the_last_rows_were_unless_told(first):
    schema = _renamed(first.parent, first.parent / "day2.csv")
    data, _ = _append(first, "renamed.csv", schema_path=schema)
    third, fourth = first.parent / "three", first.parent / "four"
    again = {"append": data.path, "on_repeated_rows": "keep"}
    convert.convert("csv", first.parent / "renamed.csv", third, **again)
    assert "places" in _told(third)["reading"]
    old = {"schema_path": first.parent / "s.toml"}
    convert.convert("csv", first.parent / "day2.csv", fourth, **again, **old)
    assert "places" not in _told(fourth)["reading"]
    shards = {
        path: {n: c for n, c in _files(path).items() if n.endswith("tfrecord")}
        for path in (third, fourth)
    }
    assert shards[third] == shards[fourth]
    assert dataset.Dataset.open(third).schema == dataset.Dataset.open(first).schema


def test_a_column_that_is_gone_is_told_with_how_to_name_the_new_one(first):
    _renamed(first.parent, first.parent / "day2.csv")
    with pytest.raises(errors.PfrecError, match=r"no columns 'click', .*`column = "):
        _append(first, "renamed.csv")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('group = "user"', "", "group is 'of a column' against 'none'"),
        ("cardinality = 6", "cardinality = 7", "'street'].cardinality is 6 against 7"),
        ('normalise = "standard"', "", "'price'].default is None against 0.0"),
        ('name = "click"', 'name = "click"\npositive = ["2"]', "'click'].positive"),
    ],
)
def test_what_values_mean_may_not_differ(first, old, new, told):
    other = first.parent / "other.toml"
    other.write_text(_SCHEMA.replace(old, new))
    with pytest.raises(errors.PfrecError, match=re.escape(told)):
        _append(first, schema_path=other)


_LOG = """
[scenario]
column = "site"
[[categorical]]
name = "item"
vocabulary = ["a", "b"]
[[categorical]]
name = "seen"
table = "item"
values = 2
history = {user = "user", time = "number"}
[[task]]
name = "click"
"""


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (
            'history = {user = "user", time = "number", where = "click"}',
            "seen holds the last 2 earlier values of rows whose click is 1, in .*one the last 2",
        ),
        (
            'column = "street"\nkeep = "last"\nseparator = " "',
            "seen holds what a column of the file lists, in .*one the last 2 e",
        ),
    ],
)
def test_what_a_history_lists_may_not_differ(tmp_path, other, told):
    _log(tmp_path / "day1.csv", 240, _FIRST)
    own = 'history = {user = "user", time = "number"}'
    for name, line in (("own", own), ("other", other)):
        (tmp_path / f"{name}.toml").write_text(_LOG.replace(own, line))
    one, schema = tmp_path / "one", tmp_path / "own.toml"
    convert.convert("csv", tmp_path / "day1.csv", one, schema_path=schema)
    _append(one, "day1.csv", schema_path=schema, keep_rows=False)
    shutil.rmtree(tmp_path / "two")
    with pytest.raises(errors.PfrecError, match=told):
        _append(one, "day1.csv", schema_path=tmp_path / "other.toml")


def test_what_cannot_be_appended_to_is_told(first, tmp_path):
    with pytest.raises(errors.PfrecError, match="--append: is for a user's own files"):
        convert.convert("movielens", first.parent, tmp_path / "two", append=first)
    with pytest.raises(errors.PfrecError, match="go with --append alone"):
        convert.convert("csv", first.parent, tmp_path / "two", keep_rows=False)
    told = json.loads((first / "dataset.json").read_text())
    del told["reading"]
    (first / "dataset.json").write_text(json.dumps(told))
    with pytest.raises(errors.PfrecError, match="does not say how its files were read"):
        _append(first)
