"""Writes a first TOML schema of CSV or Parquet files: types, cardinalities, missing rates and
warnings, for a person to edit.
"""

import json
import math
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Optional

from pfrec import errors
from pfrec.data.conversion import column_statistics, toml_schema
from pfrec.data.converters import csv, parquet
from pfrec.data.reading import column_text, csv_stream, raw_file, source

# Rows read in all; a guess does not get better with more.
MAX_ROWS = 2_000_000
# A column that alone ranks a label this well is more likely its consequence than its cause.
TELLING_AUC = 0.95

_LABEL = re.compile(
    r"(^|_)(label|target|click(ed)?|convert(ed)?|conversion|purchase[ds]?|bought|buy|"
    r"order(ed)?|like[ds]?|follow(ed)?|share[ds]?|"
    r"long_view)$"
)
_SCENARIO = re.compile(r"^(scenario|site|country|market|domain|tab|channel|region)$")
_IDENTIFIER = re.compile(r"(^|_)(id|uid|uuid|key|hash|session|search)s?$")
_GROUP = re.compile(r"^(user|member|visitor|customer|search|session|request|query)(_?id)?$")
_PERSON = re.compile(r"^(user|member|visitor|customer|device)")
_MAX_WORDS = 50
_MAX_SCENARIOS = 200

_Column = column_statistics.ColumnStatistics


def infer(
    source_format: str, path: pathlib.Path, schema_path: Optional[pathlib.Path] = None
) -> str:
    """The text of a first schema.

    Args:
      source_format: `csv` or `parquet`.
      path: the file or folder.
      schema_path: must be None; a schema is what comes out.

    Raises:
      PfrecError: where the files cannot be read, have no common columns, or show no label.
    """
    if source_format not in ("csv", "parquet"):
        raise errors.PfrecError(
            f"--infer_schema: the {source_format} format has its own schema; it is for csv "
            "and parquet"
        )
    if schema_path is not None:
        raise errors.PfrecError(
            "--schema does not go with --infer_schema, which writes one; leave it out"
        )
    endings, what = (csv.ENDINGS, "CSV") if source_format == "csv" else ((".parquet",), "Parquet")
    files = [raw_file.RawFile(file) for file in csv.find(path, endings, what)]
    columns, faulty = _columns(source_format, files)
    text = _text(columns, files, faulty)
    toml_schema.read_text(text, place="inferred schema")  # what is written is what can be read
    return text


def _columns(source_format: str, files: Sequence[raw_file.RawFile]) -> "tuple[list[_Column], int]":
    """The columns that all files have, counted over the first rows of each;
    and how many rows could not be read.
    """
    names: list[str] = []
    for file in files:
        here = (
            csv_stream.header(file) if source_format == "csv" else parquet.column_names(file.path)
        )
        names = here if file is files[0] else [name for name in names if name in here]
    names = [name for name in names if name]
    if not names:
        raise errors.PfrecError(
            f"{files[0]}: no column that all files have; infer a schema of files of one layout"
        )
    columns = [_Column(name) for name in names]
    import pyarrow as pa

    faulty = 0
    for file in files:
        rows = 0
        for chunk in _read(source_format, file, names):
            faulty += sum(len(faults.rows) for faults in chunk.faults)
            for column in columns:
                values = chunk.columns[column.name]
                try:
                    if column_text.holds_lists(values):
                        column.add_lists(values)
                    else:
                        column.add(column_text.of(values))
                except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
                    raise errors.PfrecError(
                        f"{file}: column {column.name!r} holds {values.type}, which no feature "
                        "can; write the file without it"
                    ) from None
            rows += len(chunk)
            if rows >= MAX_ROWS // len(files):
                break
    if not columns[0].rows:
        raise errors.PfrecError(f"{files[0]}: no rows; a schema is inferred from rows")
    return columns, faulty


def _read(
    source_format: str, file: raw_file.RawFile, names: Sequence[str]
) -> Iterator[source.RawChunk]:
    if source_format == "csv":
        return csv_stream.chunks(file, dict.fromkeys(names, csv_stream.TEXT))
    return parquet.batches(file.path, names)


def _text(columns: "list[_Column]", files: Sequence[raw_file.RawFile], faulty: int) -> str:
    labels = [column for column in columns if column.binary and _LABEL.search(column.name.lower())]
    if not labels:
        labels = [column for column in columns if column.binary][-1:]
    if not labels:
        raise errors.PfrecError(
            f"{files[0]}: no column of 0 and 1 that could be a label; a task needs one: derive it "
            "first, then infer the schema"
        )
    scenario = next((column for column in columns if _is_scenario(column)), None)
    group = next(
        (
            column
            for column in columns
            if _GROUP.search(column.name.lower()) and not column.missing and not column.longest
        ),
        None,
    )
    lines = [
        f"# A first guess from {columns[0].rows:,} rows of {len(files)} file(s). Edit it: nothing "
        "here knows what a column means."
    ]
    if faulty:
        lines.append(f"# WARNING: {faulty:,} rows could not be read; see --on_bad_row.")
    if group is not None:
        lines += ["", f"group = {_quoted(group.name)}  # groups rows for grouped AUC"]
    lines += ["", "[scenario]"]
    lines.append(
        "# each file is a scenario, named by its stem"
        if scenario is None
        else f"column = {_quoted(scenario.name)}"
    )
    for column in labels:
        rate = column.counted["1"] / column.present
        lines += ["", "[[task]]", f"name = {_quoted(column.name)}  # rate {rate:.4f}"]
    taken = {column.name for column in (*labels, *([] if scenario is None else [scenario]))}
    features = 0
    for column in columns:
        if column.name in taken:
            continue
        warnings = _warnings(column, labels)
        body = _feature(column)
        if warnings:
            lines += [
                "",
                *(f"# WARNING: {warning}" for warning in warnings),
                *(f"# {line}" for line in body),
            ]
        else:
            lines += ["", *body]
            features += 1
    if not features:
        raise errors.PfrecError(
            f"{files[0]}: no column that could be a feature; write the schema by hand"
        )
    lines += ["", "[split]  # parts of all rows; the rest is train"]
    lines += [f"{name} = {value}" for name, value in toml_schema.DEFAULT_SPLIT.items()]
    return "\n".join(lines) + "\n"


def _is_scenario(column: _Column) -> bool:
    few = (
        not column.longest
        and 1 < column.distinct <= _MAX_SCENARIOS
        and not column.missing
        and not column.capped
    )
    return bool(
        few
        and _SCENARIO.search(column.name.lower())
        and all(source.is_scenario_name(word) for word in column.counted)
    )


def _warnings(column: _Column, labels: "list[_Column]") -> list[str]:
    """Why the column should not be a feature as it is."""
    found = []
    if column.distinct == 0:
        return ["is always empty; left out"]
    if column.distinct == 1 and not column.missing:
        return [f"is always {next(iter(column.counted))!r}; left out"]
    named = _IDENTIFIER.search(column.name.lower())
    if column.unlike and not _separator(column) and (column.whole or not column.numbers):
        kind = "an identifier" if named else "an identifier in disguise"
        found.append(f"has a value of its own in nearly every row: {kind}; left out")
        return found
    for label in labels:
        auc = column_statistics.telling(column, label)
        if auc >= TELLING_AUC:
            found.append(
                f"alone ranks {label.name} with AUC {auc:.3f}: an outcome rather than a "
                "feature? left out"
            )
    return found


def _feature(column: _Column) -> list[str]:
    """The TOML table of a column, with comments."""
    separator = _separator(column)
    if separator and not column.longest:
        column = _cut(column, separator)
    missing = f"missing {column.missing / column.rows:.2%}"
    name = f"name = {_quoted(column.name)}"
    many = f"{'over ' if column.capped else ''}{column.distinct:,} values"
    named = _IDENTIFIER.search(column.name.lower()) or _GROUP.search(column.name.lower())
    if (
        column.numbers
        and not column.longest
        and not named
        and not (column.whole and column.smallest >= 0 and column.distinct <= _MAX_WORDS)
    ):
        note = f"# {missing}, {column.smallest:g} to {column.largest:g}, {many}"
        rest = (
            ["default = 0.0  # stands in for missing values under --missing_numerical=impute"]
            if column.missing
            else []
        )
        return ["[[numerical]]", f"{name}  {note}", *rest]
    person = _PERSON.search(column.name.lower())
    policy = [] if person else ['policy = "shared"']
    private = ["# private: of a person"] if person else []
    head = ["[[categorical]]", f"{name}  # {missing}, {many}", *private]
    if column.longest:
        values = min(max(column.longest, 2), toml_schema.MAX_VALUES)
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
    from pyarrow import compute

    found = _Column(column.name)
    found.add_lists(compute.split_pattern(pa.array(list(column.counted), pa.string()), separator))
    found.rows, found.missing = column.rows, column.missing
    return found


def _quoted(text: str) -> str:
    """TOML's basic strings are JSON's, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
