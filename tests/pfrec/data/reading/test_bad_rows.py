"""Many kinds of bad row: each is one clear line, or in quarantine; none a traceback, none accepted
in silence.
"""

import json

import pytest

from pfrec import errors
from pfrec.data.dataset import dataset
from pfrec.data.reading import csv_stream
from tests.pfrec.data.reading import logs

# Name, the bad line, the column that is named (None: the row), and what is said of it.
_BAD_ROWS = [
    ("an item id that is text", logs.cell("item", "x"), "item", "'x' is not a number"),
    (
        "an item id that is negative",
        logs.cell("item", "-1"),
        "item",
        "the id -1 is not one of 0 to 49",
    ),
    (
        "an item id just too large",
        logs.cell("item", "50"),
        "item",
        "the id 50 is not one of 0 to 49",
    ),
    ("an item id that is huge", logs.cell("item", "9" * 30), "item", "is not one of 0 to 49"),
    ("an item id with a fraction", logs.cell("item", "3.5"), "item", "the id 3.5 is not one of"),
    ("an item id that is empty", logs.cell("item", ""), "item", "the id is empty"),
    ("an item id that is NaN", logs.cell("item", "NaN"), "item", "the id is empty"),
    ("an item id that is infinite", logs.cell("item", "inf"), "item", "the id inf is not one of"),
    ("an item id in hexadecimal", logs.cell("item", "0x10"), "item", "'0x10' is not a number"),
    (
        "an item id with a thousands mark",
        logs.cell("item", '"1,000"'),
        "item",
        "'1,000' is not a number",
    ),
    ("an item id in quotes within quotes", logs.cell("item", '"""3"""'), "item", "is not a number"),
    ("a price that is text", logs.cell("price", "cheap"), "price", "'cheap' is not a number"),
    ("a price with a currency", logs.cell("price", "$5"), "price", "'.5' is not a number"),
    ("a price with a decimal comma", logs.cell("price", '"1,5"'), "price", "'1,5' is not a number"),
    ("a price with a unit", logs.cell("price", "5 EUR"), "price", "'5 EUR' is not a number"),
    ("a price with two points", logs.cell("price", "1.2.3"), "price", "'1.2.3' is not a number"),
    ("a price that is empty", logs.cell("price", ""), "price", "the value is empty or NaN"),
    ("a price that is null", logs.cell("price", "NULL"), "price", "the value is empty or NaN"),
    ("a price that is NaN", logs.cell("price", "nan"), "price", "the value is empty or NaN"),
    ("a price that is infinite", logs.cell("price", "-inf"), "price", "the value is infinite"),
    ("a price beyond 32-bit floats", logs.cell("price", "1e39"), "price", "the value is infinite"),
    ("a price beyond 64-bit floats", logs.cell("price", "1e999"), "price", "infinite"),
    ("a price of digits of another script", logs.cell("price", "٣"), "price", "is not a number"),
    ("a price with a Unicode minus", logs.cell("price", "−3"), "price", "is not a number"),
    ("a label of 2", logs.cell("click", "2"), "click", "the label is 2; labels are 0 or 1"),
    ("a label of -1", logs.cell("click", "-1"), "click", "the label is -1"),
    ("a label of one half", logs.cell("click", "0.5"), "click", "the label is 0.5"),
    ("a label that is empty", logs.cell("click", ""), "click", "the label is empty"),
    ("a label that is a word", logs.cell("click", "often"), "click", "the label is 'often'"),
    ("a label that is a fraction", logs.cell("click", "0.5"), "click", "the label is 0.5"),
    ("a conditional label that is empty", logs.cell("buy", ""), "buy", "the label is empty"),
    ("a conditional label of 3", logs.cell("buy", "3"), "buy", "the label is 3"),
    ("a group that is empty", logs.cell("user", ""), "user", "the group is empty"),
    ("a scenario that is empty", logs.cell("site", ""), "site", "the scenario is empty"),
    ("a value too few", b"a,7,3,w,1.5,1", None, "6 values where the header names 7 columns"),
    ("a value too many", b"a,7,3,w,1.5,1,0,9", None, "8 values where the header names 7 columns"),
    ("a comma at the end", b"a,7,3,w,1.5,1,0,", None, "8 values where the header names 7 columns"),
    ("one value alone", b"a", None, "1 values where the header names 7 columns"),
    ("a line of spaces", b"   ", None, "1 values where the header names 7 columns"),
    ("another delimiter", b"a;7;3;w;1.5;1;0", None, "1 values where the header names 7 columns"),
    ("a comment", b"# from here on new rows", None, "1 values where the header names 7 columns"),
    ("a quote that is never closed", b'a,7,3,"w,1.5,1,0', None, "a quote that is never closed"),
    ("text after a closing quote", b'a,7,3,"w"x,1.5,1,0', None, "text follows the closing quote"),
    (
        "a backslash before a quote",
        b'a,7,3,"w\\"x",1.5,1,0',
        None,
        "text follows the closing quote|quote that is never closed",
    ),
    ("a NUL byte", b"a,7,3,w\0,1.5,1,0", None, "holds a NUL byte"),
    ("a carriage return in a value", b"a,7,3,w\rx,1.5,1,0", None, "holds a carriage return"),
    ("a word in Latin-1", "a,7,3,été,1.5,1,0".encode("latin-1"), "word", "is not UTF-8"),
    (
        "a cut UTF-8 character",
        "a,7,3,é,1.5,1,0".encode().replace(b"\xa9", b""),
        "word",
        "is not UTF-8",
    ),
    ("an overlong UTF-8 form", b"a,7,3,\xc0\xaf,1.5,1,0", "word", "is not UTF-8"),
    ("a surrogate in UTF-8", b"a,7,3,\xed\xa0\x80,1.5,1,0", "word", "is not UTF-8"),
    ("a user in Latin-1", b"a,\xe9,3,w,1.5,1,0", "user", "is not UTF-8"),
    ("the header once more", ",".join(logs.COLUMNS).encode(), "site", "stands here again"),
]


@pytest.mark.parametrize(
    ("bad", "column", "message"),
    [case[1:] for case in _BAD_ROWS],
    ids=[case[0] for case in _BAD_ROWS],
)
def test_a_bad_row_is_one_line_or_in_quarantine(tmp_path, bad, column, message):
    content = b"\n".join([*logs.lines(bad), b""])
    with pytest.raises(errors.PfrecError, match=message) as raised:
        logs.convert_log(tmp_path, content)
    place = f"{tmp_path / 'log.csv'}: line 5" + ("" if column is None else f", column '{column}'")
    assert str(raised.value).startswith(place)
    assert "\n" not in str(raised.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "s.toml"]

    logs.convert_log(tmp_path, content, on_bad_row="quarantine")
    (entry,) = [
        json.loads(line)
        for line in (tmp_path / "data" / "quarantine.jsonl").read_text().splitlines()
    ]
    assert (entry["file"], entry["line"], entry["row"]) == (str(tmp_path / "log.csv"), 5, 3)
    assert entry["text"].encode()[:2] == bad.decode(errors="replace").encode()[:2]
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())["bad_rows"]
    assert (record["rows"], list(record["reasons"].values())) == (1, [1])
    assert record["examples"] == [{key: value for key, value in entry.items() if key != "text"}]
    data = dataset.Dataset.open(tmp_path / "data")
    assert (
        sum(data.rows(s, split) for s in data.scenarios for split in ("train", "valid", "test"))
        == logs.ROWS
    )


def test_what_is_said_of_bad_rows_does_not_depend_on_chunks(tmp_path, monkeypatch):
    lines = logs.lines()
    for place, case in enumerate(_BAD_ROWS):
        if "quote" not in case[0] or "never" not in case[0]:
            lines.insert(2 + place, case[1])
    content = b"\n".join([*lines, b""])
    said = []
    for name, block_bytes in (("one", 1 << 20), ("two", 97)):
        monkeypatch.setattr(csv_stream, "BLOCK_BYTES", block_bytes)
        folder = tmp_path / name
        folder.mkdir()
        logs.convert_log(folder, content, on_bad_row="quarantine")
        said.append((folder / "data" / "quarantine.jsonl").read_text().replace(str(folder), ""))
        said.append((folder / "data" / "dataset.json").read_text().replace(str(folder), ""))
    assert said[:2] == said[2:]
    assert len(said[0].splitlines()) > 50


def test_few_examples_are_kept_of_many_bad_rows(tmp_path):
    lines = [*logs.lines(), *[logs.cell("click", "9")] * 500, *[logs.cell("item", "x")] * 2]
    logs.convert_log(tmp_path, b"\n".join([*lines, b""]), on_bad_row="skip")
    record = json.loads((tmp_path / "data" / "dataset.json").read_text())["bad_rows"]
    assert record["policy"] == "skip"
    assert record["reasons"] == {"label_not_binary": 500, "not_a_number": 2}
    assert [(e["reason"], e["line"]) for e in record["examples"]] == [
        *[("label_not_binary", 62 + i) for i in range(3)],
        *[("not_a_number", 562 + i) for i in range(2)],
    ]
    assert not (tmp_path / "data" / "quarantine.jsonl").exists()
