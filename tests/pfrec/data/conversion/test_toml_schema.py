import re

import pytest

from pfrec import errors
from pfrec.data.conversion import toml_schema
from pfrec.data.reading import csv_layout
from pfrec.data.schema import Categorical, Numerical, Schema, Task

_WHOLE = """
group = "search"
[scenario]
column = "site"
[[categorical]]
name = "user"
cardinality = 1000
encoding = "hash"
[[categorical]]
name = "city"
vocabulary = ["Rome", "Oslo"]
policy = "shared"
[[numerical]]
name = "price"
default = 1
[[task]]
name = "ctr"
column = "click"
[[task]]
name = "buy"
given = "ctr"
[split]
valid = 0.25
test = 0.25
"""


def test_reads_every_key(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(_WHOLE)
    assert toml_schema.read(path) == toml_schema.TomlSchema(
        Schema(
            (
                Categorical("user", 1000, "private", "hash"),
                Categorical("city", 2, "shared", "vocabulary", ("Rome", "Oslo")),
            ),
            (Numerical("price", 1.0),),
            (Task("ctr", "click"), Task("buy", "buy", "ctr")),
            "search",
        ),
        "site",
        (0.5, 0.25, 0.25),
        csv_layout.OPEN,
    )


def test_defaults(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('[[numerical]]\nname = "x"\n[[task]]\nname = "y"\n')
    read = toml_schema.read(path)
    assert read.scenario_column is None
    assert read.schema.group is None
    assert read.fractions == pytest.approx((0.7, 0.1, 0.2))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'group = "search"',
            'grop = "search"',
            "unknown key 'grop'; known keys are group, scenario",
        ),
        (
            'column = "site"',
            'colum = "site"',
            "[scenario]: unknown key 'colum'; known keys are column",
        ),
        ("cardinality = 1000", "size = 1000", "[[categorical]] user: unknown key 'size'"),
        (
            "cardinality = 1000",
            "cardinality = 1.5",
            "[[categorical]] user: cardinality = 1.5 must be a whole number",
        ),
        ("cardinality = 1000", "cardinality = true", "cardinality = True must be a whole number"),
        ("cardinality = 1000\n", "", "[[categorical]] user: no key 'cardinality'"),
        ("cardinality = 1000", "cardinality = 3000000000", "cardinality 3000000000 is above"),
        ("cardinality = 1000", "cardinality = 0", "cardinality 0 is below 1"),
        ('encoding = "hash"', 'encoding = "hsh"', "'hsh' is not one of identity, hash, vocabulary"),
        ('encoding = "hash"', 'encoding = "vocabulary"', "no key 'vocabulary'"),
        (
            'policy = "shared"',
            'encoding = "hash"',
            "a vocabulary does not go with encoding = 'hash'",
        ),
        ('policy = "shared"', 'policy = "public"', "policy 'public' is not one of private, shared"),
        ('"Oslo"]', "5]", "vocabulary: 5 is not text"),
        ('"Oslo"]', '"Rome"]', "'Rome' stands twice"),
        ('name = "price"\n', "", "[[numerical]] number 1: no key 'name'"),
        ("default = 1", 'default = "1"', "default = '1' must be a number"),
        ("default = 1", "default = nan", "is not a finite 32-bit float"),
        ('given = "ctr"', 'given = "ctrr"', "given = 'ctrr' is not another task"),
        ("valid = 0.25", "valid = 0.8", "[split]: valid = 0.8 and test = 0.25"),
        ("valid = 0.25", "valid = 0", "must be above 0"),
        ("valid = 0.25", "train = 0.5", "[split]: unknown key 'train'"),
        ("[[numerical]]", "[numerical]", "write [[numerical]]"),
        ('[scenario]\ncolumn = "site"', 'scenario = "site"', "write [scenario]"),
        ("[split]", "[split", "not a readable TOML file"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_key(tmp_path, old, new, message):
    assert old in _WHOLE
    path = tmp_path / "s.toml"
    path.write_text(_WHOLE.replace(old, new, 1))
    with pytest.raises(errors.PfrecError, match=re.escape(message)) as raised:
        toml_schema.read(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(errors.PfrecError, match=r"none.toml: no such file; check --schema"):
        toml_schema.read(tmp_path / "none.toml")


def test_how_files_are_laid_out():
    file = {"delimiter": "\t", "encoding": "latin-1", "short_rows": True, "missing": ["\\N"]}
    value = {"numerical": [{"name": "n"}], "task": [{"name": "t"}], "file": file}
    assert toml_schema.parse(value).dialect == csv_layout.Dialect(
        "\t", "latin-1", None, True, ("\\N",), ""
    )


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ({"delimiter": "::"}, "delimiter = '::' must be one ASCII character"),
        ({"delimiter": '"'}, "must be one ASCII character, and no quote"),
        ({"encoding": "utf-99"}, "encoding = 'utf-99' is not known"),
        ({"decimal": ";"}, "decimal = ';' is not"),
        ({"quoting": "single"}, "quoting = 'single' is not one of double, backslash, none"),
        ({"columns": [1]}, "columns: must be the names of all columns"),
        ({"short_rows": 1}, "short_rows = 1 must be true or false"),
        ({"missing": [0]}, "missing: 0 is not text"),
        ({"quote": "'"}, "unknown key 'quote'"),
    ],
)
def test_a_wrong_layout_is_named(file, message):
    value = {"numerical": [{"name": "n"}], "task": [{"name": "t"}], "file": file}
    with pytest.raises(errors.PfrecError, match=message):
        toml_schema.parse(value)


def _list_schema(keys):
    return toml_schema.parse(
        {
            "categorical": [{"name": "genres", "vocabulary": ["war", "love"], **keys}],
            "task": [{"name": "click"}],
        }
    ).schema.categorical[0]


def test_a_list_has_a_number_of_values_and_a_separator():
    assert _list_schema({"values": 3}) == Categorical(
        "genres", 2, "private", "vocabulary", ("war", "love"), values=3, separator="|"
    )
    assert _list_schema({"values": 3, "separator": ", "}).separator == ", "
    assert _list_schema({}) == Categorical("genres", 2, "private", "vocabulary", ("war", "love"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"values": 0}, "[[categorical]] genres: values = 0 is not within 1 to 1024"),
        ({"values": 1025}, "values = 1025 is not within"),
        ({"values": "3"}, "values = '3' must be a whole number"),
        ({"separator": "|"}, "separator goes with a list"),
        ({"values": 2, "separator": ""}, "separator = '' must be text in quotes"),
        ({"values": 2, "separator": "o"}, "a word holds the separator 'o'"),
        (
            {"values": 2, "vocabulary": ["war", " love"]},
            "a word is empty or has blanks at its ends",
        ),
    ],
)
def test_mistakes_of_lists_are_named(keys, message):
    with pytest.raises(errors.PfrecError, match=re.escape(message)):
        _list_schema(keys)
