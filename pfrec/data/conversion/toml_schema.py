"""Reads the TOML schema that describes a user's own CSV files.

group = "search_id"          # optional: the column that groups rows for grouped AUC
weight = "importance"        # optional: a column of numbers from 0 on: they multiply rows' losses

[scenario]
column = "site"              # leave out where each file is a scenario, named by its stem
aliases = {FR = "fr"}        # optional: spellings that mean another scenario


[[categorical]]
name = "city"
column = "City of user"      # optional, also for numbers and tasks: the raw column, if called
                             # otherwise. Names that no variable or input can have are replaced
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

[[categorical]]
name = "history"             # the items that a user saw before
table = "item_id"            # reads that feature's table, with its encoding and cardinality
values = 20
keep = "last"                # which values of a longer list count; default: "first"
pooling = "attention"        # by how each value fits the row's item_id; default: "mean"
                             # optional, instead of a column: the item_id of the user's earlier rows
history = {user = "user_id", time = "ts", where = "click"}   # where: rows of that label alone

[[numerical]]
name = "price"
default = 0.0                # stands in for missing values under --missing_numerical=impute
normalise = "standard"       # or "minmax", or "none" (default), by each client's own training rows

[[numerical]]
name = "image"               # a vector in one cell, as "0.5|-1.25|3"; Parquet may hold lists proper
values = 3                   # how many numbers it has, exactly
separator = "|"              # the default where values is above 1

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
time = "event_time"          # instead of at random: by time, the last parts are valid and test; or
valid_from = "2025-11-08"    # from these moments on,
test_from = 2025-11-09       # as text, seconds since 1970 or TOML's dates; or
valid_days = 1               # so many of the last days (UTC) before those of test
test_days = 1
by = "search_id"             # or: all rows with one value go to one split, at random
column = "part"              # or: a column holds train, valid or test
files = true                 # or: folders or files are called train, valid and test

[file]                       # optional, for CSV: how the text is laid out
delimiter = "\\t"             # default: the one of , tab ; | that finds the columns
decimal = ","                # default: guessed; never a comma where that is the delimiter
encoding = "latin-1"         # default: "utf-8"; any that Python knows, as "gbk" or "utf-16"
quoting = "none"             # a quote is a character like any other; or "backslash", which escapes
                             # quotes; default "double": quotes in quoted values are doubled
columns = ["user", "item"]   # the columns of files without a header line
short_rows = true            # rows may lack values at their end; default: such a row is bad
missing = ["\\\\N", "?"]       # spellings of a missing value beside the empty one
"""

import codecs
import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import Any, Optional, TypeVar

from pfrec import errors
from pfrec.data import names
from pfrec.data import schema as schema_lib
from pfrec.data.conversion import history, splitting
from pfrec.data.reading import csv_stream, times, words

DEFAULT_SPLIT = {"valid": 0.1, "test": 0.2}
MAX_CARDINALITY = 2**31 - 2  # ids and the unknown id are int32
MAX_VALUES = 1024  # every row has room for all of them

_LABEL_WORDS = ("positive", "negative", "unobserved")
_TABLES = ("group", "scenario", "categorical", "numerical", "task", "split", "file", "weight")


@dataclasses.dataclass(frozen=True)
class TomlSchema:
    """What a TOML schema says.

    Attributes:
      schema: columns and tasks.
      scenario_column: the column that names a row's scenario, or None where each file is a
        scenario.
      fractions: parts of train, valid and test.
      dialect: how text files are laid out.
      aliases: from a spelling of a scenario to the one meant.
      rule: which split a row goes to; None for parts of all rows at random.
      histories: the columns of lists that are made from the log.
    """

    schema: schema_lib.Schema
    scenario_column: Optional[str]
    fractions: tuple[float, float, float]
    dialect: csv_stream.Dialect = csv_stream.CSV
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rule: Optional[splitting.Rule] = None
    histories: tuple[history.Rule, ...] = ()


def record(described: TomlSchema) -> dict[str, Any]:
    """What a dataset keeps of how its files were read, as a JSON value; see `of_record`."""
    rule = None if described.rule is None else dataclasses.asdict(described.rule)
    return {
        "scenario": described.scenario_column,
        "aliases": dict(described.aliases),
        "fractions": list(described.fractions),
        "dialect": dataclasses.asdict(described.dialect),
        "rule": rule,
        "histories": [dataclasses.asdict(one) for one in described.histories],
    }


def of_record(schema: schema_lib.Schema, told: Any, place: str) -> TomlSchema:
    """The same from what `record` returned.

    Raises:
      PfrecError: where the value is another one.
    """
    try:
        rule = told["rule"]
        train, valid, test = map(float, told["fractions"])
        return TomlSchema(
            schema,
            told["scenario"],
            (train, valid, test),
            csv_stream.Dialect(**_tuples(told["dialect"])),
            {str(k): str(v) for k, v in told["aliases"].items()},
            None if rule is None else splitting.Rule(**_tuples(rule)),
            tuple(history.Rule(**one) for one in told.get("histories", ())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise errors.PfrecError(
            f"{place}: reading: damaged ({error!r}); pass the dataset's schema as --schema"
        ) from error


def _tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(v) if isinstance(v, list) else v for name, v in entry.items()}


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
    _known_keys(scenario, ("column", "aliases"), "[scenario]")
    aliases = _get(scenario, "aliases", dict, "[scenario]", {})
    for spelling, meant in aliases.items():
        if not isinstance(meant, str):
            raise errors.PfrecError(f"[scenario]: aliases: {spelling} = {meant!r} is not text")
    split = _table(value, "split")
    rule = _rule(split)
    categorical = [_categorical(entry, place) for entry, place in _entries(value, "categorical")]
    categorical = [_with_owner(f, categorical) if f.table else f for f in categorical]
    numerical = [_numerical(entry, place) for entry, place in _entries(value, "numerical")]
    tasks = [_task(entry, place) for entry, place in _entries(value, "task")]
    called = [f.name for f in categorical] + [c.name for c in numerical] + [t.name for t in tasks]
    made = names.internal_names(called)
    schema = schema_lib.Schema(
        categorical=tuple(
            dataclasses.replace(_named(f, made), table=made.get(f.table, f.table))
            for f in categorical
        ),
        numerical=tuple(_named(column, made) for column in numerical),
        tasks=tuple(
            dataclasses.replace(t, name=made[t.name], given=t.given and made.get(t.given, t.given))
            for t in tasks
        ),
        group=_get(value, "group", str, "top level", None),
        weight=_get(value, "weight", str, "top level", None),
    )
    dialect = _dialect(_table(value, "file"))
    column = _get(scenario, "column", str, "[scenario]", None)
    fractions = _fractions(split)
    histories = _histories(value, schema, made)
    return TomlSchema(schema, column, fractions, dialect, dict(aliases), rule, histories)


_Feature = TypeVar("_Feature", schema_lib.Categorical, schema_lib.Numerical)


def _named(feature: _Feature, made: Mapping[str, str]) -> _Feature:
    """The feature under the name that later stages can bear."""
    name = made[feature.name]
    column = feature.raw if feature.raw != name else ""
    return dataclasses.replace(feature, name=name, column=column)


def _dialect(table: Mapping[str, Any]) -> csv_stream.Dialect:
    place = "[file]"
    known = (
        *("delimiter", "encoding", "short_rows", "missing"),
        *("decimal", "quoting", "columns"),
    )
    _known_keys(table, known, place)
    delimiter = _get(table, "delimiter", str, place, "")
    if delimiter and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0'):
        raise errors.PfrecError(
            f"{place}: delimiter = {delimiter!r} must be one ASCII character, and no quote "
            "or line end"
        )
    encoding = _get(table, "encoding", str, place, "utf-8")
    try:
        codecs.lookup(encoding)
    except LookupError:
        raise errors.PfrecError(
            f"{place}: encoding = {encoding!r} is not known; utf-8, latin-1, gbk and utf-16 are, "
            "for example"
        ) from None
    decimal = _get(table, "decimal", str, place, "")
    if decimal not in ("", ".", ","):
        raise errors.PfrecError(f'{place}: decimal = {decimal!r} is not "." or ","')
    quoting = _get(table, "quoting", str, place, "double")
    if quoting not in csv_stream.QUOTINGS:
        raise errors.PfrecError(
            f"{place}: quoting = {quoting!r} is not one of {', '.join(csv_stream.QUOTINGS)}"
        )
    columns = _get(table, "columns", list, place, None)
    if columns is not None and not all(isinstance(name, str) and name for name in columns):
        raise errors.PfrecError(f"{place}: columns: must be the names of all columns, in quotes")
    short_rows = table.get("short_rows", False)
    if not isinstance(short_rows, bool):
        raise errors.PfrecError(f"{place}: short_rows = {short_rows!r} must be true or false")
    missing = _get(table, "missing", list, place, [])
    for word in missing:
        if not isinstance(word, str):
            raise errors.PfrecError(f"{place}: missing: {word!r} is not text; put it in quotes")
    named = None if columns is None else tuple(columns)
    return csv_stream.Dialect(
        delimiter, encoding, named, short_rows, tuple(missing), decimal, quoting
    )


def _rule(split: Mapping[str, Any]) -> Optional[splitting.Rule]:
    place, kinds = "[split]", ("time", "column", "by", "files")
    keys = ("valid_from", "test_from", "valid_days", "test_days")
    _known_keys(split, (*DEFAULT_SPLIT, *kinds, *keys), place)
    said = [kind for kind in kinds if kind in split]
    if len(said) > 1:
        raise errors.PfrecError(f"{place}: {' and '.join(said)} do not go together; keep one")
    if said != ["time"] and any(key in split for key in keys):
        raise errors.PfrecError(f"{place}: {', '.join(keys)} go with time alone; name its column")
    if not said or said == ["files"]:
        if split.get("files", True) is not True:
            raise errors.PfrecError(f"{place}: files must be true, or be left out")
        return splitting.Rule(splitting.FILES) if said else None
    column = _get(split, said[0], str, place)
    kind = {"by": splitting.GROUP, "column": splitting.COLUMN, "time": splitting.TIME}[said[0]]
    if said != ["time"]:
        return splitting.Rule(kind, column)
    given = [key for key in keys if key in split]
    if given not in ([], list(keys[:2]), list(keys[2:])):
        raise errors.PfrecError(
            f"{place}: give both valid_from and test_from, both valid_days and test_days, or none"
        )
    if not given:
        return splitting.Rule(kind, column)
    if "valid_days" in split:
        valid_days, test_days = (_get(split, key, int, place) for key in keys[2:])
        if min(valid_days, test_days) < 1:
            raise errors.PfrecError(f"{place}: valid_days and test_days must be at least 1")
        return splitting.Rule(kind, column, days=(valid_days, test_days))
    starts = [times.of_value(split[key]) for key in keys[:2]]
    for key, start in zip(keys, starts):
        if start is None:
            raise errors.PfrecError(
                f"{place}: {key} = {split[key]!r} is no time; write seconds since 1970 or "
                '"2023-11-14T22:26:20Z"'
            )
    valid_from, test_from = (float(start) for start in starts if start is not None)
    if valid_from >= test_from:
        raise errors.PfrecError(f"{place}: valid_from must be before test_from")
    return splitting.Rule(kind, column, starts=(valid_from, test_from))


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
            "column",
            "table",
            "keep",
            "pooling",
            "history",
        ),
        place,
    )
    name = _get(entry, "name", str, place)
    if "history" in entry and "table" not in entry:
        raise errors.PfrecError(f"{place}: history lists the values of a feature; name it as table")
    if "table" in entry:
        return _sharing(entry, name, place)
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
    values = _values(entry, place)
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
        name,
        cardinality,
        policy,
        encoding,
        vocabulary,
        min_count,
        values,
        separator,
        _get(entry, "column", str, place, ""),
        keep=_get(entry, "keep", str, place, schema_lib.FIRST),
        pooling=_get(entry, "pooling", str, place, schema_lib.MEAN),
    )


def _keep(entry: Mapping[str, Any]) -> str:
    """Which values count where nothing is said: of a history the last ones."""
    return schema_lib.LAST if "history" in entry else schema_lib.FIRST


def _sharing(entry: Mapping[str, Any], name: str, place: str) -> schema_lib.Categorical:
    """A feature that reads another's table; `_with_owner` fills in what is the other's."""
    for key in ("cardinality", "vocabulary", "encoding", "policy", "min_count"):
        if key in entry:
            raise errors.PfrecError(
                f"{place}: {key} is that of {entry['table']!r}, whose table it reads; leave it out"
            )
    values = _values(entry, place)
    if "history" in entry and values == 1:
        raise errors.PfrecError(f"{place}: no key 'values'; say how many values a history has")
    return schema_lib.Categorical(
        name,
        1,
        values=values,
        separator=_get(entry, "separator", str, place, "|" if values > 1 else ""),
        column=_get(entry, "column", str, place, ""),
        table=_get(entry, "table", str, place),
        keep=_get(entry, "keep", str, place, _keep(entry)),
        pooling=_get(entry, "pooling", str, place, schema_lib.MEAN),
    )


def _histories(
    value: Mapping[str, Any], schema: schema_lib.Schema, made: Mapping[str, str]
) -> "tuple[history.Rule, ...]":
    """The columns that are made from the log."""
    found = []
    features = {feature.name: feature for feature in schema.categorical}
    for entry, place in _entries(value, "categorical"):
        if "history" not in entry:
            continue
        told = _get(entry, "history", dict, place)
        _known_keys(told, ("user", "time", "where"), f"{place}: history")
        feature = features[made[entry["name"]]]
        where = _get(told, "where", str, f"{place}: history", "")
        if where and where not in made:
            raise errors.PfrecError(f"{place}: history: where = {where!r} is no task")
        found.append(
            history.Rule(
                feature.raw,
                features[feature.table].raw,
                _get(told, "user", str, f"{place}: history"),
                _get(told, "time", str, f"{place}: history"),
                made[where] if where else "",
                feature.values,
            )
        )
    return tuple(found)


def _with_owner(
    feature: schema_lib.Categorical, features: "list[schema_lib.Categorical]"
) -> schema_lib.Categorical:
    owner = next((f for f in features if f.name == feature.table and not f.table), None)
    if owner is None:
        # What is wrong with the table's name is told by the schema.
        return feature
    return dataclasses.replace(
        feature,
        cardinality=owner.cardinality,
        policy=owner.policy,
        encoding=owner.encoding,
        vocabulary=owner.vocabulary,
        min_count=owner.min_count,
    )


def _numerical(entry: Mapping[str, Any], place: str) -> schema_lib.Numerical:
    _known_keys(entry, ("name", "default", "normalise", "column", "values", "separator"), place)
    name = _get(entry, "name", str, place)
    raw = _get(entry, "column", str, place, "")
    normalise = _get(entry, "normalise", str, place, "none")
    values = _values(entry, place)
    separator = _get(entry, "separator", str, place, "|" if values > 1 else "")
    if values > 1 and normalise != "none":
        raise errors.PfrecError(
            f"{place}: normalise does not go with a vector, which the model normalises; remove it"
        )
    if normalise != "none":
        if "default" in entry:
            raise errors.PfrecError(
                f"{place}: default does not go with normalise: each client's own mean stands in; "
                "remove one of them"
            )
        return schema_lib.Numerical(name, None, normalise, column=raw)
    default = float(_get(entry, "default", (int, float), place, 0.0))
    if not abs(default) < 3.4e38:
        raise errors.PfrecError(f"{place}: default = {default} is not a finite 32-bit float")
    return schema_lib.Numerical(name, default, column=raw, values=values, separator=separator)


def _values(entry: Mapping[str, Any], place: str) -> int:
    """How many values a row has."""
    values = _get(entry, "values", int, place, 1)
    if not 1 <= values <= MAX_VALUES:
        raise errors.PfrecError(f"{place}: values = {values} is not within 1 to {MAX_VALUES}")
    return int(values)


def _task(entry: Mapping[str, Any], place: str) -> schema_lib.Task:
    known = ("name", "column", "given", "missing", "positive_from", *_LABEL_WORDS)
    _known_keys(entry, known, place)
    name = _get(entry, "name", str, place)
    positive_from = _get(entry, "positive_from", (int, float), place, None)
    missing = entry.get("missing", "bad")
    return schema_lib.Task(
        name,
        _get(entry, "column", str, place, name),
        _get(entry, "given", str, place, None),
        positive=_label_words(entry, "positive", place),
        negative=_label_words(entry, "negative", place),
        unobserved=_label_words(entry, "unobserved", place),
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
        kinds = {dict: "a table", str: "text in quotes", int: "a whole number", list: "a list"}.get(
            kind, "a number"
        )
        raise errors.PfrecError(f"{place}: {key} = {value!r} must be {kinds}")
    return value
