"""Writes a first TOML schema of CSV or Parquet files: types, cardinalities, missing rates and
warnings, for a person to edit.
"""

import dataclasses
import json
import math
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data.conversion import column_statistics, toml_schema
from pfrec.data.conversion.toml import feature_tables, split_table
from pfrec.data.converters import parquet
from pfrec.data.reading import (
    column_names,
    column_text,
    csv_layout,
    csv_stream,
    dialects,
    folder,
    raw_file,
    source,
    times,
    words,
)

# Rows read in all; a guess does not get better with more.
MAX_ROWS = 2_000_000
# A column that alone ranks a label this well is more likely its consequence than its cause.
TELLING_AUC = 0.95

_MAX_WORDS = 50
_MAX_SCENARIOS = 200
_FEW_ROWS = 100
# Ratings of at most so many steps.
_STEPS = 11
# Seconds since 1970: no log is older than the web.
_OLDEST = 6e8

_Column = column_statistics.ColumnStatistics


@dataclasses.dataclass(frozen=True)
class Hints:
    """What the user knows; the rest is guessed.

    Attributes:
      tasks: label columns; none for a guess.
      scenario: the scenario's column, or None for a guess.
      group: the column that groups rows, or None for a guess.
      dialect: how text files are laid out, as far as it is known.
    """

    tasks: Sequence[str] = ()
    scenario: Optional[str] = None
    group: Optional[str] = None
    dialect: csv_layout.Dialect = csv_layout.OPEN


def infer(
    source_format: str,
    path: pathlib.Path,
    schema_path: Optional[pathlib.Path] = None,
    hints: Hints = Hints(),
) -> str:
    """The text of a first schema.

    Args:
      source_format: `csv` or `parquet`.
      path: the file or folder.
      schema_path: must be None; a schema is what comes out.
      hints: what need not be guessed.

    Raises:
      PfrecError: where the files cannot be read, have no common columns, or show no label.
    """
    if source_format not in ("csv", "parquet"):
        raise errors.PfrecError(
            f"--infer_schema: the {source_format} format has its own schema; it is for csv and "
            "parquet"
        )
    if schema_path is not None:
        raise errors.PfrecError(
            "--schema does not go with --infer_schema, which writes one; leave it out"
        )
    endings, what = folder.CSV_ENDINGS, "CSV"
    if source_format == "parquet":
        endings, what = folder.PARQUET_ENDINGS, "Parquet"
    inputs, notes = folder.find(path, endings, what)
    found = _Found(len(inputs), notes)
    columns = _columns(source_format, inputs, hints.dialect, found)
    text = _text(columns, str(inputs[0].file), hints, found)
    toml_schema.read_text(text, place="inferred schema")  # what is written is what can be read
    return text


@dataclasses.dataclass
class _Found:
    """What was found beside the columns: files, comments for the user, rows that could not be read,
    and the layout of text as lines of TOML.
    """

    files: int
    notes: "list[str]"
    faulty: int = 0
    layout: "list[str]" = dataclasses.field(default_factory=list)


def _columns(
    source_format: str,
    inputs: Sequence[folder.Input],
    dialect: csv_layout.Dialect,
    found: _Found,
) -> "list[_Column]":
    """The columns that all files have, counted over the first rows of each."""
    import pyarrow as pa

    files = [
        dialects.settled(entry.file, dialect, ())
        if source_format == "csv"
        else (entry.file, dialect)
        for entry in inputs
    ]
    headers = [
        csv_layout.header(file, own) if source_format == "csv" else parquet.column_names(file.path)
        for file, own in files
    ]
    headers = [[*header, *entry.keys] for header, entry in zip(headers, inputs)]
    everywhere = set(headers[0]).intersection(*headers)
    names = list(dict.fromkeys(name for name in headers[0] if name and name in everywhere))
    if not names:
        raise errors.PfrecError(
            f"{files[0][0]}: no column that all files have; infer a schema of files of one layout"
        )
    some = sorted({name for header in headers for name in header if name} - everywhere)
    if some:
        found.notes.append(f"only in some files, left out: {', '.join(some)}")
    if source_format == "csv":
        found.layout = _layout({(own, file.encoding) for file, own in files})
    columns = [_Column(name) for name in names]
    for (file, own), entry in zip(files, inputs):
        rows = 0
        for chunk in _read(source_format, file, own, [n for n in names if n not in entry.keys]):
            found.faulty += sum(len(faults.rows) for faults in chunk.faults)
            for column in columns:
                values = chunk.columns.get(column.name)
                if values is None:
                    values = pa.array([entry.keys[column.name]] * len(chunk), pa.string())
                try:
                    if column_text.holds_lists(values):
                        column.add_lists(values)
                    else:
                        column.add(_pointed(column_text.of(column_text.canonical(values)), own))
                except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
                    raise errors.PfrecError(
                        f"{file}: column {column.name!r} holds {values.type}, which no feature "
                        "can; write the file without it"
                    ) from None
            rows += len(chunk)
            if rows >= MAX_ROWS // len(files):
                break
    if not columns[0].rows:
        what = f"{found.faulty:,} rows that cannot be read" if found.faulty else "no rows"
        raise errors.PfrecError(f"{files[0][0]}: {what}; a schema is inferred from rows")
    for column in columns:
        column.settle()
    return columns


def _layout(found: "set[tuple[csv_layout.Dialect, str]]") -> "list[str]":
    """The layout of all files as lines of TOML, where it is one and not the usual."""
    if len(found) != 1:
        return []
    dialect, encoding = next(iter(found))
    said = []
    if dialect.delimiter != ",":
        said.append(f"delimiter = {_quoted(dialect.delimiter)}")
    if dialect.decimal == ",":
        said.append('decimal = ","')
    if encoding or dialect.encoding != "utf-8":
        said.append(f"encoding = {_quoted(encoding or dialect.encoding)}")
    if dialect.quoting != "double":
        said.append(f"quoting = {_quoted(dialect.quoting)}")
    if dialect.names is not None:
        said.append(f"columns = [{', '.join(map(_quoted, dialect.names))}]")
    return said


def _read(
    source_format: str,
    file: raw_file.RawFile,
    dialect: csv_layout.Dialect,
    names: Sequence[str],
) -> Iterator[source.RawChunk]:
    if source_format == "csv":
        return csv_stream.chunks(file, dict.fromkeys(names, csv_stream.TEXT), dialect)
    return parquet.batches(file.path, names)


def _pointed(texts: Any, dialect: csv_layout.Dialect) -> Any:
    """Texts with numbers written with a point."""
    from pyarrow import compute

    if dialect.decimal != ",":
        return texts
    return compute.replace_substring_regex(texts, r"^([+-]?[0-9]+),([0-9]+)$", r"\1.\2")


def _text(columns: "list[_Column]", place: str, hints: Hints, found: _Found) -> str:
    labels = _labels(columns, place, hints)
    scenario = _scenario(columns, labels, hints, place)
    group = _group(columns, hints, place)
    when = [c for c in columns if c not in labels and _is_time(c)]
    lines = [
        f"# A first guess from {columns[0].rows:,} rows of {found.files} file(s). Edit it: nothing "
        "here knows what a column means."
    ]
    lines += [f"# NOTE: {note}" for note in found.notes]
    if found.faulty:
        lines.append(f"# WARNING: {found.faulty:,} rows could not be read; see --on_bad_row.")
    if group is not None:
        lines += ["", f"group = {_quoted(group.name)}  # groups rows for grouped AUC"]
    lines += ["", "[scenario]", *_scenario_lines(scenario)]
    for column in labels:
        lines += ["", *_task(column, labels)]
    taken = {column.name for column in (*labels, *([] if scenario is None else [scenario]))}
    features = 0
    for column in columns:
        if column.name in taken:
            continue
        warnings = _warnings(column, labels, when, hints)
        body = _feature(column)
        if warnings:
            lines += ["", *(f"# WARNING: {w}" for w in warnings), *(f"# {line}" for line in body)]
        else:
            lines += ["", *body]
            features += 1
    if not features:
        raise errors.PfrecError(
            f"{place}: no column that could be a feature; write the schema by hand"
        )
    lines += ["", "[split]  # parts of all rows; the rest is train"]
    lines += [f"{name} = {value}" for name, value in split_table.DEFAULT_SPLIT.items()]
    lines += [
        f"# time = {_quoted(c.name)}  # the last rows by time instead of any: as it is served"
        for c in when[:1]
    ]
    if group is not None and column_names.is_group(group.name, column_names.SEARCHES):
        lines.append(f"by = {_quoted(group.name)}  # no {group.name} is cut in two")
    if found.layout:
        lines += ["", "[file]", *found.layout]
    return "\n".join(lines) + "\n"


def _named(columns: "list[_Column]", name: str, flag: str, place: str) -> _Column:
    found = next((column for column in columns if column.name == name), None)
    if found is None:
        there = ", ".join(column.name for column in columns)
        raise errors.PfrecError(f"{place}: no column {name!r} for {flag}; columns found: {there}")
    return found


def _labels(columns: "list[_Column]", place: str, hints: Hints) -> "list[_Column]":
    """The label columns: those the user names, or those that are named as labels and hold truth
    values, or the last with truth values, or a rating.
    """
    if hints.tasks:
        labels = [_named(columns, name, "--tasks", place) for name in hints.tasks]
        for column in labels:
            if not column.binary and not _is_rating(column):
                raise errors.PfrecError(
                    f"{place}: column {column.name!r} of --tasks holds neither two truth values "
                    "nor a rating; say positive, negative or positive_from in a schema by hand"
                )
        return labels
    labels = [c for c in columns if c.binary and column_names.is_label(c.name)]
    labels = labels or [c for c in columns if _is_rating(c) and not any(c.binary for c in columns)]
    labels = labels or [column for column in columns if column.binary][-1:]
    if not labels:
        raise errors.PfrecError(
            f"{place}: no column of 0 and 1 that could be a label; a task needs one: derive it "
            "first, or name a rating with --tasks, then infer the schema"
        )
    return labels


def _is_rating(column: _Column) -> bool:
    named = bool(column_names.RATINGS.intersection(column_names.tokens(column.name)))
    return named and column.numbers and not column.longest and 2 < column.distinct <= _STEPS


def _task(column: _Column, labels: "list[_Column]") -> "list[str]":
    """The TOML table of a label."""
    if _is_rating(column) and not column.binary:
        start = column.largest * 0.8
        positives = sum(n for word, n in column.counted.items() if float(word) >= start)
        return [
            *("[[task]]", f"name = {_quoted(column.name)}"),
            f"positive_from = {start:g}  # of {column.largest:g}: rate "
            f"{positives / column.present:.4f}",
        ]
    said = ["[[task]]", f"name = {_quoted(column.name)}  # rate {_rate(column):.4f}"]
    said += column.truth or ()
    given = _given(column, labels)
    if column.missing and given is None:
        said.append(
            f'missing = "unobserved"  # missing {column.missing / column.rows:.2%}; or 0, or "bad"'
        )
    if given is not None:
        mark = "" if column.missing else "# "
        said.append(
            f"{mark}given = {_quoted(given.name)}  # 1 only where {given.name} is; defined there "
            "alone"
        )
    return said


def _rate(column: _Column) -> float:
    """The part of positives among the rows whose label is known."""
    unknown = 0
    if column.truth and "unobserved" in column.truth[0]:
        unknown = sum(n for word, n in column.counted.items() if words.canonical(word) == "-1")
    return column.positives / max(column.present - unknown, 1)


def _given(column: _Column, labels: "list[_Column]") -> Optional[_Column]:
    """The label that this one is given: it is 1, and present, only where that one is 1."""
    if not column.binary:
        return None
    own = [(words.is_null(v), words.canonical(v) in words.TRUE) for v in column.kept]
    for other in labels:
        if other is column or not other.binary or other.positives <= column.positives:
            continue
        above = [words.canonical(value) in words.TRUE for value in other.kept]
        fits = all(a or not positive for a, (_, positive) in zip(above, own))
        if fits and (
            not column.missing or all(not (a and gone) for a, (gone, _) in zip(above, own))
        ):
            return other
    return None


def _scenario(
    columns: "list[_Column]", labels: "list[_Column]", hints: Hints, place: str
) -> Optional[_Column]:
    if hints.scenario is not None:
        return _named(columns, hints.scenario, "--scenario", place)
    for column in columns:
        few = not column.longest and 1 < column.distinct <= _MAX_SCENARIOS and not column.capped
        names = column_names.tokens(column.name)
        if few and column not in labels and len(names) == 1 and names[0] in column_names.SCENARIOS:
            return column
    return None


def _scenario_lines(column: Optional[_Column]) -> "list[str]":
    if column is None:
        return ["# each file is a scenario, named by its stem"]
    said = [f"column = {_quoted(column.name)}"]
    if column.missing:
        said.append(f"# missing {column.missing / column.rows:.2%}: such rows are bad ones")
    spellings: dict[str, list[str]] = {}
    for word in sorted(column.counted, key=lambda word: -column.counted[word]):
        spellings.setdefault(word.strip().casefold(), []).append(word)
    alike = {w: first for first, *rest in spellings.values() for w in rest if w.strip() != first}
    if alike:
        pairs = ", ".join(f"{_quoted(w)} = {_quoted(meant)}" for w, meant in sorted(alike.items()))
        said.append(f"aliases = {{{pairs}}}  # spellings of one scenario?")
    small = [w for w, count in column.counted.items() if count < _FEW_ROWS and w not in alike]
    if small:
        said.append(f"# of few rows: {', '.join(map(repr, sorted(small)[:8]))}; see --min_rows")
    return said


def _group(columns: "list[_Column]", hints: Hints, place: str) -> Optional[_Column]:
    if hints.group is not None:
        return _named(columns, hints.group, "--group", place)
    fitting = [c for c in columns if not c.missing and not c.longest and not c.unlike]
    for kinds in (column_names.SEARCHES, column_names.PEOPLE):
        for column in fitting:
            if column_names.is_group(column.name, kinds):
                return column
    return None


def _is_time(column: _Column) -> bool:
    """Whether it holds moments or days, by its name and its values."""
    if column.longest or not column.counted:
        return False
    named = column_names.TIMES.intersection(column_names.tokens(column.name))
    found = times.seconds(list(column.counted)[:1000])
    return bool(named) and bool(np.all(found > _OLDEST))


def _warnings(
    column: _Column, labels: "list[_Column]", when: "list[_Column]", hints: Hints
) -> list[str]:
    """Why the column should not be a feature as it is."""
    found = []
    if column.distinct == 0:
        return ["is always empty; left out"]
    if column.distinct == 1 and not column.missing:
        return [f"is always {next(iter(column.counted))!r}; left out"]
    if column in when:
        return ["holds times, which new rows exceed: no feature as it is, but [split] can use it"]
    if _is_vector(column):
        return [
            f"holds lists of up to {column.longest} numbers: a vector, if every row has so many; "
            "left out"
        ]
    if column_names.is_label(column.name) and (column.binary or _is_rating(column)):
        return ["is called and looks like a label; left out: it is no feature of another label"]
    if column_names.is_label(column.name) and column.numbers and column.distinct <= _MAX_WORDS:
        return ["is called like an outcome; left out"]
    named = column_names.is_identifier(column.name)
    if column.unlike and not _separator(column) and (column.whole or not column.numbers):
        kind = "an identifier" if named else "an identifier in disguise"
        found.append(f"has a value of its own in nearly every row: {kind}; left out")
        return found
    for label in labels:
        auc = column_statistics.telling(column, label) if label.binary else 0.0
        if auc >= TELLING_AUC:
            found.append(
                f"alone ranks {label.name} with AUC {auc:.3f}: an outcome rather than a "
                "feature? left out"
            )
    return found


def _is_vector(column: _Column) -> bool:
    """Whether its lists are of numbers that are no ids."""
    return bool(column.longest and column.numbers and (column.capped or not column.whole))


def _feature(column: _Column) -> list[str]:
    """The TOML table of a column, with comments."""
    if _is_vector(column):
        called = f"name = {_quoted(column.name)}"
        return ["[[numerical]]", called, f"values = {column.longest}  # exactly, in every row"]
    separator = _separator(column)
    if separator and not column.longest:
        column = _cut(column, separator)
    missing = f"missing {column.missing / column.rows:.2%}"
    name = f"name = {_quoted(column.name)}"
    many = f"{'over ' if column.capped else ''}{column.distinct:,} values"
    named = column_names.is_identifier(column.name) and column.whole
    if (
        column.numbers
        and not column.longest
        and not named
        and not (column.whole and column.smallest >= 0 and column.distinct <= _MAX_WORDS)
    ):
        note = f"# {missing}, {column.smallest:g} to {column.largest:g}, {many}"
        scaled = 'normalise = "standard"'
        if column.missing:
            scaled += "  # missing ones are the mean under --missing_numerical=impute"
        return ["[[numerical]]", f"{name}  {note}", scaled]
    person = column_names.PEOPLE.intersection(column_names.tokens(column.name)[:1])
    policy = [] if person else ['policy = "shared"']
    private = ["# private: of a person"] if person else []
    head = ["[[categorical]]", f"{name}  # {missing}, {many}", *private]
    if column.binary:
        head.append("# holds two truth values: if it tells what came of a row, leave it out")
    if column.longest:
        values = min(max(column.longest, 2), feature_tables.MAX_VALUES)
        head += [
            f"values = {values}  # the longest list has {column.longest}",
            f"separator = {_quoted(separator)}",
        ]
    if (
        column.whole
        and (column.longest or not column.missing)
        and column.smallest >= 0
        and column.largest < 20 * max(column.distinct, 10)
        and not column.capped
    ):
        return [*head, f"cardinality = {int(column.largest) + 1}", *policy]
    if column.distinct <= _MAX_WORDS and not column.capped:
        return [
            *head,
            f"vocabulary = {json.dumps(sorted(column.counted), ensure_ascii=False)}",
            *policy,
        ]
    buckets = 1 << max(4, math.ceil(math.log2(2 * column.distinct)))
    return [
        *head,
        'encoding = "hash"',
        f"cardinality = {1 << 20 if column.capped else buckets}",
        *policy,
    ]


def _separator(column: _Column) -> str:
    """What cuts a column's texts into the values of lists, as far as that is plain: far fewer
    values than texts. Empty where nothing does.

    Of a column of lists proper it is a mark that no value holds.
    """
    if column.longest:
        marks = ("|", ";", "\t", "\x1f", "\x1e", "\x1d")
        return next(
            (mark for mark in marks if not any(mark in value for value in column.counted)),
            " ".join(marks),
        )
    if column.numbers or column.capped:
        return ""
    if all(text.strip().startswith("[") and text.strip().endswith("]") for text in column.counted):
        return ","
    for separator in ("|", ";"):
        values = {value.strip() for text in column.counted for value in text.split(separator)} - {
            ""
        }
        if any(separator in text for text in column.counted) and 2 * len(values) < column.distinct:
            return separator
    return ""


def _cut(column: _Column, separator: str) -> _Column:
    """The column as one of lists."""
    import pyarrow as pa

    found = _Column(column.name)
    found.add_lists(column_text.split(pa.array(list(column.counted), pa.string()), separator))
    found.settle()
    found.rows, found.missing = column.rows, column.missing
    return found


def _quoted(text: str) -> str:
    """TOML's basic strings are JSON's, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
