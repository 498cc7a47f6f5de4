"""JSON of another type, range or depth is one error that names the entry."""

import pathlib

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


def test_json_is_parsed_in_one_place():
    """What a server answers may hold NaN, and what `store` packs has a digest of its own."""
    root = pathlib.Path(__file__).resolve().parents[2]
    parsing = {
        path.relative_to(root).as_posix()
        for package in ("pfrec", "tff_process", "export")
        for path in (root / package).rglob("*.py")
        if "json.load" in path.read_text(encoding="utf-8")
    }
    answers = {"export/client/client.py", "export/checks/rest_server.py"}
    assert parsing == {"pfrec/files.py", "pfrec/store.py", *answers}


def test_numbers_and_matrices_are_lists_of_finite_numbers():
    told = json_fields.Fields(
        {"n": [1, 2.5], "bad": [1, "x"], "m": [[1, 2], [3, 4]], "odd": [[1], []], "yes": True},
        *("file.json", "mend it"),
    )
    assert told.numbers("n") == (1.0, 2.5)
    assert told.matrix("m") == ((1.0, 2.0), (3.0, 4.0))
    assert told.flag("yes") is True
    for read in (
        lambda: told.numbers("bad"),
        lambda: told.numbers("n", 0.0, 2.0),
        lambda: told.numbers("yes"),
        lambda: told.matrix("n"),
        lambda: told.matrix("odd"),
        lambda: told.flag("n"),
    ):
        with pytest.raises(errors.PfrecError, match=r"file\.json.*mend it"):
            read()
