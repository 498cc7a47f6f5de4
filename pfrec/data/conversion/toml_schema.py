"""Reads the TOML schema that describes a user's own CSV files.

group = "search_id"          # optional: the column that groups rows for grouped AUC

[scenario]
column = "site"              # leave out where each file is a scenario, named by its stem

[[categorical]]
name = "city"
cardinality = 1000           # or vocabulary = ["Rome", "Oslo"]
encoding = "hash"            # "identity" (default), "hash", or "vocabulary" (with one: default)
policy = "shared"            # or "private" (default)

[[categorical]]
name = "street"              # private: each client makes a vocabulary of its own rows
encoding = "local_vocabulary"
cardinality = 5000           # the most values it may have; rarer ones share an id
min_count = 3                # optional: rarer values are unknown

[[categorical]]
name = "genres"              # a list in one cell, as "Comedy|Drama"; Parquet may hold lists proper
vocabulary = ["Comedy", "Drama", "Horror"]
values = 5                   # the most values that count; default 1: the cell is one value
separator = "|"              # the default where values is above 1

[[numerical]]
name = "price"
default = 0.0                # stands in for missing values under --missing_numerical=impute
normalise = "standard"       # or "minmax", or "none" (default), by each client's own training rows

[[task]]
name = "cvr"
column = "conversion"        # the label column; default: the task's name
given = "ctr"                # optional: defined on the positive rows of that task alone
positive = ["yes", 1]        # optional: the values that mean 1; default: 1, true, yes
negative = ["no", 0]         # optional: those that mean 0; default: 0, false, no. With one of the
                             # two lists alone, every value that is not in it means the other
unobserved = [-1]            # optional: values that mean that nobody knows
missing = "unobserved"       # what an empty label means where the task is defined: "bad" (default:
                             # the row is a bad one), "unobserved", or 0

[[task]]
name = "like"
column = "rating"
positive_from = 4            # numbers: 4 and above is positive, anything below negative

[split]                      # parts of all rows; the rest is train
valid = 0.1
test = 0.2

[file]                       # optional, for CSV: how the text is laid out
delimiter = "\\t"             # default: a comma
encoding = "latin-1"         # default: "utf-8"
short_rows = true            # rows may lack values at their end; default: such a row is bad
missing = ["\\\\N", "?"]       # spellings of a missing value beside the empty one
"""

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import Any, Optional

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.reading import csv_stream, words

DEFAULT_SPLIT = {"valid": 0.1, "test": 0.2}
MAX_CARDINALITY = 2**31 - 2  # ids and the unknown id are int32
MAX_VALUES = 1024  # every row has room for all of them

_LABEL_WORDS = ("positive", "negative", "unobserved")
_TABLES = ("group", "scenario", "categorical", "numerical", "task", "split", "file")


@dataclasses.dataclass(frozen=True)
class TomlSchema:
    """What a TOML schema says.

    Attributes:
      schema: columns and tasks.
      scenario_column: the column that names a row's scenario, or None where each file is a
        scenario.
      fractions: parts of train, valid and test.
      dialect: how text files are laid out.
    """

    schema: schema_lib.Schema
    scenario_column: Optional[str]
    fractions: tuple[float, float, float]
    dialect: csv_stream.Dialect = csv_stream.CSV


def read(path: pathlib.Path) -> TomlSchema:
    """Reads a TOML schema.

    Raises:
      PfrecError: where the file is missing or no TOML, or has an unknown key or a wrong value;
        names the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise errors.PfrecError(f"{path}: no such file; check --schema") from None
    except (OSError, ValueError) as error:
        raise errors.PfrecError(
            f"{path}: not a readable TOML file ({' '.join(str(error).split())}); mend it"
        ) from error
    return read_text(text, place=str(path))


def read_text(text: str, *, place: str) -> TomlSchema:
    """The same from a document's text; `place` is what messages call it.

    Raises:
      PfrecError: as `read`.
    """
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib

    try:
        value = tomllib.loads(text)
    except ValueError as error:
        raise errors.PfrecError(
            f"{place}: not a readable TOML file ({' '.join(str(error).split())}); mend it"
        ) from error
    try:
        return parse(value)
    except errors.PfrecError as error:
        raise errors.PfrecError(f"{place}: {error}") from None


def parse(value: Mapping[str, Any]) -> TomlSchema:
    """The same from a parsed document; messages do not name the file.

    Raises:
      PfrecError: as `read`.
    """
    _known_keys(value, _TABLES, "top level")
    scenario = _table(value, "scenario")
    _known_keys(scenario, ("column",), "[scenario]")
    split = _table(value, "split")
    _known_keys(split, tuple(DEFAULT_SPLIT), "[split]")
    schema = schema_lib.Schema(
        categorical=tuple(
            _categorical(entry, place) for entry, place in _entries(value, "categorical")
        ),
        numerical=tuple(_numerical(entry, place) for entry, place in _entries(value, "numerical")),
        tasks=tuple(_task(entry, place) for entry, place in _entries(value, "task")),
        group=_get(value, "group", str, "top level", None),
    )
    dialect = _dialect(_table(value, "file"))
    return TomlSchema(
        schema, _get(scenario, "column", str, "[scenario]", None), _fractions(split), dialect
    )


def _dialect(table: Mapping[str, Any]) -> csv_stream.Dialect:
    place = "[file]"
    _known_keys(table, ("delimiter", "encoding", "short_rows", "missing"), place)
    delimiter = _get(table, "delimiter", str, place, ",")
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0':
        raise errors.PfrecError(
            f"{place}: delimiter = {delimiter!r} must be one ASCII character, and no quote "
            "or line end"
        )
    encoding = _get(table, "encoding", str, place, "utf-8")
    if encoding not in csv_stream.ENCODINGS:
        raise errors.PfrecError(
            f"{place}: encoding = {encoding!r} is not one of {', '.join(csv_stream.ENCODINGS)}"
        )
    short_rows = table.get("short_rows", False)
    if not isinstance(short_rows, bool):
        raise errors.PfrecError(f"{place}: short_rows = {short_rows!r} must be true or false")
    missing = _get(table, "missing", list, place, [])
    for word in missing:
        if not isinstance(word, str):
            raise errors.PfrecError(f"{place}: missing: {word!r} is not text; put it in quotes")
    return csv_stream.Dialect(delimiter, encoding, None, short_rows, tuple(missing))


def _fractions(split: Mapping[str, Any]) -> tuple[float, float, float]:
    valid, test = (
        float(_get(split, key, (int, float), "[split]", default))
        for key, default in DEFAULT_SPLIT.items()
    )
    if not (valid > 0 and test > 0 and valid + test < 1):
        raise errors.PfrecError(
            f"[split]: valid = {valid:g} and test = {test:g} must be above 0 and leave something "
            "to train on"
        )
    return 1 - valid - test, valid, test


def _categorical(entry: Mapping[str, Any], place: str) -> schema_lib.Categorical:
    _known_keys(
        entry,
        (
            "name",
            "cardinality",
            "vocabulary",
            "encoding",
            "policy",
            "min_count",
            "values",
            "separator",
        ),
        place,
    )
    name = _get(entry, "name", str, place)
    vocabulary = tuple(_get(entry, "vocabulary", list, place, []))
    for word in vocabulary:
        if not isinstance(word, str):
            raise errors.PfrecError(f"{place}: vocabulary: {word!r} is not text; put it in quotes")
        if vocabulary.count(word) > 1:
            raise errors.PfrecError(f"{place}: vocabulary: {word!r} stands twice; remove one")
    encoding = _get(entry, "encoding", str, place, "vocabulary" if vocabulary else "identity")
    if vocabulary and encoding != "vocabulary":
        raise errors.PfrecError(
            f"{place}: a vocabulary does not go with encoding = {encoding!r}; remove one of them"
        )
    if encoding == "vocabulary" and not vocabulary:
        raise errors.PfrecError(f"{place}: no key 'vocabulary'; list the known values")
    cardinality = _get(entry, "cardinality", int, place, len(vocabulary) or None)
    if cardinality is None:
        raise errors.PfrecError(
            f"{place}: no key 'cardinality'; say how many ids there are, or list a vocabulary"
        )
    if cardinality > MAX_CARDINALITY:
        raise errors.PfrecError(
            f'{place}: cardinality {cardinality} is above {MAX_CARDINALITY}; use encoding = "hash"'
        )
    min_count = _get(entry, "min_count", int, place, 1)
    if min_count != 1 and encoding != "local_vocabulary":
        raise errors.PfrecError(
            f'{place}: min_count goes with encoding = "local_vocabulary" alone; remove it'
        )
    if min_count < 1:
        raise errors.PfrecError(f"{place}: min_count = {min_count} is below 1")
    values = _get(entry, "values", int, place, 1)
    if not 1 <= values <= MAX_VALUES:
        raise errors.PfrecError(f"{place}: values = {values} is not within 1 to {MAX_VALUES}")
    separator = _get(entry, "separator", str, place, "|" if values > 1 else "")
    if separator and values == 1:
        raise errors.PfrecError(
            f"{place}: separator goes with a list; say with values how many of its values "
            "count at most"
        )
    if values > 1 and any(separator in word for word in vocabulary):
        raise errors.PfrecError(
            f"{place}: vocabulary: a word holds the separator {separator!r}; choose another with "
            "separator"
        )
    if values > 1 and any(not word or word != word.strip() for word in vocabulary):
        raise errors.PfrecError(
            f"{place}: vocabulary: a word is empty or has blanks at its ends, which values of a "
            "list never are; mend it"
        )
    policy = _get(entry, "policy", str, place, "private")
    return schema_lib.Categorical(
        name, cardinality, policy, encoding, vocabulary, min_count, values, separator
    )


def _numerical(entry: Mapping[str, Any], place: str) -> schema_lib.Numerical:
    _known_keys(entry, ("name", "default", "normalise"), place)
    name = _get(entry, "name", str, place)
    normalise = _get(entry, "normalise", str, place, "none")
    if normalise != "none":
        if "default" in entry:
            raise errors.PfrecError(
                f"{place}: default does not go with normalise: each client's own mean stands in; "
                "remove one of them"
            )
        return schema_lib.Numerical(name, None, normalise)
    default = float(_get(entry, "default", (int, float), place, 0.0))
    if not abs(default) < 3.4e38:
        raise errors.PfrecError(f"{place}: default = {default} is not a finite 32-bit float")
    return schema_lib.Numerical(name, default)


def _task(entry: Mapping[str, Any], place: str) -> schema_lib.Task:
    known = ("name", "column", "given", "missing", "positive_from", *_LABEL_WORDS)
    _known_keys(entry, known, place)
    name = _get(entry, "name", str, place)
    positive_from = _get(entry, "positive_from", (int, float), place, None)
    missing = entry.get("missing", "bad")
    return schema_lib.Task(
        name=name,
        column=_get(entry, "column", str, place, name),
        given=_get(entry, "given", str, place, None),
        **{key: _label_words(entry, key, place) for key in _LABEL_WORDS},
        positive_from=None if positive_from is None else float(positive_from),
        missing="0" if missing == 0 and not isinstance(missing, bool) else missing,
    )


def _label_words(entry: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    found = _get(entry, key, list, place, [])
    for word in found:
        if not isinstance(word, (str, int, float)):
            raise errors.PfrecError(f"{place}: {key}: {word!r} is not text, a number or a boolean")
    return tuple(map(words.canonical, found))


def _known_keys(table: Mapping[str, Any], known: tuple[str, ...], place: str) -> None:
    for key in table:
        if key not in known:
            raise errors.PfrecError(
                f"{place}: unknown key {key!r}; known keys are {', '.join(known)}"
            )


def _table(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = value.get(name, {})
    if not isinstance(table, dict):
        raise errors.PfrecError(f"{name}: must be a table; write [{name}]")
    return table


def _entries(value: Mapping[str, Any], name: str) -> list[tuple[Mapping[str, Any], str]]:
    """The tables of an array of tables, each with the place that messages name."""
    entries = value.get(name, [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise errors.PfrecError(f"{name}: must be an array of tables; write [[{name}]] before each")
    return [
        (entry, f"[[{name}]] {entry.get('name', f'number {i + 1}')}")
        for i, entry in enumerate(entries)
    ]


_REQUIRED = object()


def _get(
    table: Mapping[str, Any], key: str, kind: Any, place: str, default: Any = _REQUIRED
) -> Any:
    """A value of the expected type; TOML's true and false are no numbers."""
    if key not in table:
        if default is _REQUIRED:
            raise errors.PfrecError(f"{place}: no key {key!r}; add it")
        return default
    value = table[key]
    if not isinstance(value, kind) or isinstance(value, bool) or value == "":
        kinds = {str: "text in quotes", int: "a whole number", list: "a list"}.get(kind, "a number")
        raise errors.PfrecError(f"{place}: {key} = {value!r} must be {kinds}")
    return value
