"""What each column of raw files could be: a label, the scenario, a group, a time, a feature."""

import dataclasses
from collections.abc import Sequence
from typing import Optional

import numpy as np

from pfrec import errors
from pfrec.data.conversion import column_statistics
from pfrec.data.reading import (
    column_names,
    csv_layout,
    times,
    words,
)

# A column that alone ranks a label this well is more likely its consequence than its cause.
TELLING_AUC = 0.95
MAX_WORDS = 50
_MAX_SCENARIOS = 200
# Ratings of at most so many steps.
_STEPS = 11
# Seconds since 1970: no log is older than the web.
_OLDEST = 6e8
# From here on float64 no longer tells neighbouring whole numbers apart: nobody measures so.
_LARGEST_EXACT = 2.0**53
Column = column_statistics.ColumnStatistics


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


def named(columns: "list[Column]", name: str, flag: str, place: str) -> Column:
    """The column of a name that the user gave by `flag`.

    Raises:
      PfrecError: where there is none in `place`.
    """
    found = next((column for column in columns if column.name == name), None)
    if found is None:
        there = ", ".join(column.name for column in columns)
        raise errors.PfrecError(f"{place}: no column {name!r} for {flag}; columns found: {there}")
    return found


def labels(columns: "list[Column]", place: str, hints: Hints) -> "list[Column]":
    """The label columns: those the user names, or those that are named as labels and hold truth
    values, or the last with truth values, or a rating.
    """
    if hints.tasks:
        labels = [named(columns, name, "--tasks", place) for name in hints.tasks]
        for column in labels:
            if not column.binary and not is_rating(column):
                raise errors.PfrecError(
                    f"{place}: column {column.name!r} of --tasks holds neither two truth values "
                    "nor a rating; say positive, negative or positive_from in a schema by hand"
                )
        return labels
    labels = [c for c in columns if c.binary and column_names.is_label(c.name)]
    labels = labels or [c for c in columns if is_rating(c) and not any(c.binary for c in columns)]
    labels = labels or [column for column in columns if column.binary][-1:]
    if not labels:
        raise errors.PfrecError(
            f"{place}: no column of 0 and 1, or of ratings, that could be a label; write the "
            "schema by hand, with positive_from, positive or negative for the column of the task "
            "(docs/data.md), or derive a column of 0 and 1 and infer again"
        )
    return labels


def is_rating(column: Column) -> bool:
    """Whether it holds ratings of a few steps, by its name and its values."""
    named = bool(column_names.RATINGS.intersection(column_names.tokens(column.name)))
    return named and column.numbers and not column.longest and 2 < column.distinct <= _STEPS


def rate(column: Column) -> float:
    """The part of positives among the rows whose label is known."""
    unknown = 0
    if column.truth and "unobserved" in column.truth[0]:
        unknown = sum(n for word, n in column.counted.items() if words.canonical(word) == "-1")
    return column.positives / max(column.present - unknown, 1)


def given(column: Column, labels: "list[Column]", lacking: bool = False) -> Optional[Column]:
    """The label that this one is given: it is 1 only where that one is 1, and is present there,
    unless it is `lacking` from some files.
    """
    if not column.binary:
        return None
    own = [(words.is_null(v), words.canonical(v) in words.TRUE) for v in column.kept]
    for other in labels:
        if other is column or not other.binary or other.positives <= column.positives:
            continue
        above = [words.canonical(value) in words.TRUE for value in other.kept]
        fits = all(a or not positive for a, (_, positive) in zip(above, own))
        if fits and (
            lacking
            or not column.missing
            or all(not (a and gone) for a, (gone, _) in zip(above, own))
        ):
            return other
    return None


def scenario(
    columns: "list[Column]", labels: "list[Column]", hints: Hints, place: str
) -> Optional[Column]:
    """The column that names a row's scenario, or None where each file is one."""
    if hints.scenario is not None:
        return named(columns, hints.scenario, "--scenario", place)
    for column in columns:
        few = not column.longest and 1 < column.distinct <= _MAX_SCENARIOS and not column.capped
        names = column_names.tokens(column.name)
        if few and column not in labels and len(names) == 1 and names[0] in column_names.SCENARIOS:
            return column
    return None


def group(columns: "list[Column]", hints: Hints, place: str) -> Optional[Column]:
    """The column whose values group the rows for grouped AUC, or None."""
    if hints.group is not None:
        return named(columns, hints.group, "--group", place)
    fitting = [c for c in columns if not c.missing and not c.longest and not c.unlike]
    for kinds in (column_names.SEARCHES, column_names.PEOPLE):
        for column in fitting:
            if column_names.is_group(column.name, kinds):
                return column
    return None


def is_time(column: Column) -> bool:
    """Whether it holds moments or days, by its name and its values."""
    if column.longest or not column.counted:
        return False
    named = column_names.TIMES.intersection(column_names.tokens(column.name))
    found = times.seconds(list(column.counted)[:1000])
    return bool(named) and bool(np.all(found > _OLDEST))


def warnings(
    column: Column, labels: "list[Column]", when: "list[Column]", hints: Hints
) -> list[str]:
    """Why the column should not be a feature as it is."""
    found = []
    if column.distinct == 0:
        return ["is always empty; left out"]
    if column.distinct == 1 and not column.missing:
        return [f"is always {next(iter(column.counted))!r}; left out"]
    if column in when:
        return ["holds times, which new rows exceed: no feature as it is, but [split] can use it"]
    if is_vector(column):
        return [
            f"holds lists of up to {column.longest} numbers: a vector, if every row has so many; "
            "left out"
        ]
    if column_names.is_label(column.name) and (column.binary or is_rating(column)):
        return ["is called and looks like a label; left out: it is no feature of another label"]
    if column_names.is_label(column.name) and column.numbers and column.distinct <= MAX_WORDS:
        return ["is called like an outcome; left out"]
    named = column_names.is_identifier(column.name)
    if column.unlike and not separator(column) and (column.whole or not column.numbers):
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


def is_identifier(column: Column) -> bool:
    """Whether its numbers are ids: whole ones by its name or because they are too long to be
    amounts, and by its name such long ones that are written as no whole numbers any more, like
    1.23E+18.
    """
    named = column_names.is_identifier(column.name)
    long = max(-column.smallest, column.largest) >= _LARGEST_EXACT
    return (column.whole and (named or long)) or (named and long)


def is_vector(column: Column) -> bool:
    """Whether its lists are of numbers that are no ids."""
    return bool(column.longest and column.numbers and (column.capped or not column.whole))


def separator(column: Column) -> str:
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
