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

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import Any, Optional, TypeVar

from pfrec import errors
from pfrec.data import names
from pfrec.data import schema as schema_lib
from pfrec.data.conversion import history, places, splitting
from pfrec.data.conversion.toml import feature_tables, file_table, split_table, task_tables, typed
from pfrec.data.reading import csv_layout

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
      elsewhere: whether values stand in other columns than those by which the dataset knows them
        that the rows are appended to.
    """

    schema: schema_lib.Schema
    scenario_column: Optional[str]
    fractions: tuple[float, float, float]
    dialect: csv_layout.Dialect = csv_layout.CSV
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rule: Optional[splitting.Rule] = None
    histories: tuple[history.Rule, ...] = ()
    elsewhere: bool = False


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
        **({"places": places.of(described.schema)} if described.elsewhere else {}),
    }


def of_record(schema: schema_lib.Schema, told: Any, place: str) -> TomlSchema:
    """The same from what `record` returned.

    Raises:
      PfrecError: where the value is another one.
    """
    try:
        rule = told["rule"]
        train, valid, test = map(float, told["fractions"])
        elsewhere = "places" in told
        return TomlSchema(
            places.moved(schema, told["places"]) if elsewhere else schema,
            told["scenario"],
            (train, valid, test),
            csv_layout.Dialect(**_tuples(told["dialect"])),
            {str(k): str(v) for k, v in told["aliases"].items()},
            None if rule is None else splitting.Rule(**_tuples(rule)),
            tuple(history.Rule(**one) for one in told.get("histories", ())),
            elsewhere,
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
    typed.known_keys(value, _TABLES, "top level")
    scenario = typed.table(value, "scenario")
    typed.known_keys(scenario, ("column", "aliases"), "[scenario]")
    aliases = typed.get(scenario, "aliases", dict, "[scenario]", {})
    for spelling, meant in aliases.items():
        if not isinstance(meant, str):
            raise errors.PfrecError(f"[scenario]: aliases: {spelling} = {meant!r} is not text")
    split = typed.table(value, "split")
    rule = split_table.rule(split)
    categorical = [
        feature_tables.categorical(entry, place)
        for entry, place in typed.entries(value, "categorical")
    ]
    categorical = [feature_tables.with_owner(f, categorical) if f.table else f for f in categorical]
    numerical = [
        feature_tables.numerical(entry, place) for entry, place in typed.entries(value, "numerical")
    ]
    tasks = [task_tables.read(entry, place) for entry, place in typed.entries(value, "task")]
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
        group=typed.get(value, "group", str, "top level", None),
        weight=typed.get(value, "weight", str, "top level", None),
    )
    dialect = file_table.dialect(typed.table(value, "file"))
    column = typed.get(scenario, "column", str, "[scenario]", None)
    fractions = split_table.fractions(split)
    histories = feature_tables.histories(value, schema, made)
    return TomlSchema(schema, column, fractions, dialect, dict(aliases), rule, histories)


_Feature = TypeVar("_Feature", schema_lib.Categorical, schema_lib.Numerical)


def _named(feature: _Feature, made: Mapping[str, str]) -> _Feature:
    """The feature under the name that later stages can bear."""
    name = made[feature.name]
    column = feature.raw if feature.raw != name else ""
    return dataclasses.replace(feature, name=name, column=column)
