"""JSON of another type, range or depth is one error that names the entry."""

import pytest

from pfrec import errors, files, json_fields

VALUE = {"count": 3, "flag": True, "words": ["a", "b"], "inner": {"x": 1}, "twice": ["a", "a"]}


@pytest.mark.parametrize(
    ("read", "told"),
    [
        (lambda f: f.text("count"), "count is 3, not text"),
        (lambda f: f.text("gone"), "has no gone"),
        (lambda f: f.integer("flag"), "flag is True, not a whole number"),
        (lambda f: f.integer("count", 4), "count is 3, not a whole number from 4"),
        (lambda f: f.integer("count", 0, 2), "from 0 to 2"),
        (lambda f: f.texts("count"), "count is 3, not a list of texts"),
        (lambda f: f.texts("twice"), "twice holds an entry twice"),
        (lambda f: f.fields("words"), "where an object belongs"),
        (lambda f: f.fields("inner").text("x"), "p: inner: x is 1, not text"),
    ],
)
def test_an_entry_that_is_another_thing_is_named(read, told):
    fields = json_fields.Fields(VALUE, "p", "make it anew")
    with pytest.raises(errors.PfrecError, match=told):
        read(fields)


def test_entries_come_as_they_are():
    fields = json_fields.Fields(VALUE, "p", "make it anew")
    assert (fields.integer("count"), fields.texts("words")) == (3, ("a", "b"))
    assert fields.fields("inner").integer("x") == 1


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a": NaN}', '{"a": -Infinity}', "", "\x80", '{"a": 1'], ids=range(6)
)
def test_what_is_no_json_is_told_with_the_file(tmp_path, text):
    (tmp_path / "x.json").write_text(text, encoding="latin-1")
    with pytest.raises(errors.PfrecError, match=r"x\.json: cannot be read .*; make it anew"):
        files.read_json(tmp_path / "x.json", remedy="make it anew")
