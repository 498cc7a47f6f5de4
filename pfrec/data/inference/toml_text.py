"""The text of a first TOML schema, with comments for the person who edits it."""

import dataclasses
import json
import math
from typing import Optional

from pfrec import amounts, errors
from pfrec.data.conversion.toml import feature_tables, split_table
from pfrec.data.inference import roles
from pfrec.data.reading import (
    column_names,
    column_text,
    csv_layout,
)

_FEW_ROWS = 100
_LATER = "  # larger ids that --append meets are unknown, or with --unknown_ids=grow new ones"


@dataclasses.dataclass
class Found:
    """What was found beside the columns: files, comments for the user, rows that could not be read,
    the layout of text as lines of TOML, and labels whose column some files lack.
    """

    files: int
    notes: "list[str]"
    faulty: int = 0
    layout: "list[str]" = dataclasses.field(default_factory=list)
    lacking: "set[str]" = dataclasses.field(default_factory=set)


def layout(found: "set[tuple[csv_layout.Dialect, str]]") -> "list[str]":
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


def text(columns: "list[roles.Column]", place: str, hints: roles.Hints, found: Found) -> str:
    """The schema of columns.

    Args:
      columns: what was counted of them.
      place: what messages call the files.
      hints: what need not be guessed.
      found: what was found beside the columns.

    Raises:
      PfrecError: where no column could be a label, or none a feature.
    """
    labels = roles.labels(columns, place, hints)
    scenario = roles.scenario(columns, labels, hints, place)
    group = roles.group(columns, hints, place)
    when = [c for c in columns if c not in labels and roles.is_time(c)]
    lines = [
        f"# A first guess from {amounts.amount(columns[0].rows, 'row')} of "
        f"{amounts.amount(found.files, 'file')}. Edit it: nothing here knows what a column means."
    ]
    lines += [f"# NOTE: {note}" for note in found.notes]
    if found.faulty:
        lines.append(f"# WARNING: {found.faulty:,} rows could not be read; see --on_bad_row.")
    if group is not None:
        lines += ["", f"group = {_quoted(group.name)}  # groups rows for grouped AUC"]
    lines += ["", "[scenario]", *_scenario_lines(scenario)]
    for column in labels:
        lines += ["", *_task(column, labels, column.name in found.lacking)]
    taken = {column.name for column in (*labels, *([] if scenario is None else [scenario]))}
    features = 0
    for column in columns:
        if column.name in taken:
            continue
        warnings = roles.warnings(column, labels, when, hints)
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


def _task(column: roles.Column, labels: "list[roles.Column]", lacking: bool) -> "list[str]":
    """The TOML table of a label; `lacking`: some files lack its column."""
    said = _label(column, labels, lacking)
    if lacking:
        said.append('missing = "unobserved"  # some files lack the column')
    return said


def _label(column: roles.Column, labels: "list[roles.Column]", lacking: bool) -> "list[str]":
    if roles.is_rating(column) and not column.binary:
        start = column.largest * 0.8
        positives = sum(n for word, n in column.counted.items() if float(word) >= start)
        return [
            *("[[task]]", f"name = {_quoted(column.name)}"),
            f"positive_from = {start:g}  # of {column.largest:g}: rate "
            f"{positives / column.present:.4f}",
        ]
    said = ["[[task]]", f"name = {_quoted(column.name)}  # rate {roles.rate(column):.4f}"]
    said += column.truth or ()
    given = roles.given(column, labels, lacking)
    if column.missing and given is None and not lacking:
        said.append(
            f'missing = "unobserved"  # missing {column.missing / column.rows:.2%}; or 0, or "bad"'
        )
    if given is not None:
        mark = "" if column.missing and not lacking else "# "
        said.append(
            f"{mark}given = {_quoted(given.name)}  # 1 only where {given.name} is; defined there "
            "alone"
        )
    return said


def _scenario_lines(column: Optional[roles.Column]) -> "list[str]":
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


def _feature(column: roles.Column) -> list[str]:
    """The TOML table of a column, with comments."""
    if roles.is_vector(column):
        called = f"name = {_quoted(column.name)}"
        return ["[[numerical]]", called, f"values = {column.longest}  # exactly, in every row"]
    separator = roles.separator(column)
    if separator and not column.longest:
        column = _cut(column, separator)
    missing = f"missing {column.missing / column.rows:.2%}"
    name = f"name = {_quoted(column.name)}"
    many = f"{'over ' if column.capped else ''}{column.distinct:,} values"
    if (
        column.numbers
        and not column.longest
        and not roles.is_identifier(column)
        and not (column.whole and column.smallest >= 0 and column.distinct <= roles.MAX_WORDS)
    ):
        note = f"# {missing}, {column.smallest:g} to {column.largest:g}, {many}"
        if column.infinite:
            note += f"; {column.infinite:,} infinite, which count as missing"
        scaled = 'normalise = "standard"'
        if column.missing or column.infinite:
            scaled += "  # missing ones are the mean under --missing_numerical=impute"
        return ["[[numerical]]", f"{name}  {note}", scaled]
    person = column_names.PEOPLE.intersection(column_names.tokens(column.name)[:1])
    policy = [] if person else ['policy = "shared"']
    private = ["# private: of a person"] if person else []
    head = ["[[categorical]]", f"{name}  # {missing}, {many}", *private]
    if column.binary:
        head.append("# holds two truth values: if it tells what came of a row, leave it out")
        if column.distinct > 2:
            head.append(f"# in {column.distinct} spellings, each of which is a value of its own")
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
        # A table of today's ids has no room for those who come next month.
        later = _LATER if person or column_names.is_identifier(column.name) else ""
        return [*head, f"cardinality = {int(column.largest) + 1}{later}", *policy]
    if column.distinct <= roles.MAX_WORDS and not column.capped:
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


def _cut(column: roles.Column, separator: str) -> roles.Column:
    """The column as one of lists."""
    import pyarrow as pa

    found = roles.Column(column.name)
    found.add_lists(column_text.split(pa.array(list(column.counted), pa.string()), separator))
    found.settle()
    found.rows, found.missing = column.rows, column.missing
    return found


def _quoted(text: str) -> str:
    """TOML's basic strings are JSON's, but for the delete character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
