"""Raw data on its way in: what a converter hands to the encoder."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors, files, json_fields, names
from pfrec.data import schema as schema_lib
from pfrec.data.reading import bad_rows

# Scenario (None: named per row by the chunk), split (None: decided by the hash), rows.
Chunk = tuple[Optional[str], Optional[str], "RawChunk"]


@dataclasses.dataclass(frozen=True)
class RawChunk:
    """Some rows of one file, not yet encoded.

    Attributes:
      file: the file they come from (or the folder, where rows are joined from several files).
      rows: int64 [rows], each row's number in its file (from 0, header not counted); the split hash
        takes it.
      columns: per column name, a NumPy or Arrow array [rows].
      trace: from a row's number to where it was read; None where that is not known better than file
        and row.
      faults: rows of the file that could not become rows of the chunk.
      scenario: per row its scenario, an Arrow string array [rows]; None where the source names one
        for the whole chunk.
      resume: a JSON value with which the source goes on after this chunk, or None where it cannot
        stop here.
      places: per row its split, the place in `splits.SPLITS`, int8 [rows]; None where the hash of
        its number decides.
    """

    file: Any
    rows: np.ndarray
    columns: Mapping[str, Any]
    trace: Optional[Callable[[int], bad_rows.Origin]] = None
    faults: tuple[bad_rows.Faults, ...] = ()
    scenario: Optional[Any] = None
    resume: Optional[Any] = None
    places: Optional[np.ndarray] = None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: np.ndarray) -> "RawChunk":
        """The rows at the positions `index`."""

        def part(values: Any) -> Any:
            return values[index] if isinstance(values, np.ndarray) else values.take(index)

        columns = {name: part(values) for name, values in self.columns.items()}
        scenario = None if self.scenario is None else part(self.scenario)
        places = None if self.places is None else self.places[index]
        return dataclasses.replace(
            self, rows=self.rows[index], columns=columns, scenario=scenario, places=places
        )

    def without(
        self, bad: np.ndarray, reason: str, column: Optional[str], describe: Callable[[int], str]
    ) -> "RawChunk":
        """The chunk with some rows turned into faults.

        Args:
          bad: bool [rows].
          reason: to count them under.
          column: which they are bad in, or None.
          describe: from a position in this chunk to what is wrong and how to mend it.
        """
        positions = np.flatnonzero(bad)
        if not len(positions):
            return self
        faults = bad_rows.Faults(
            reason, column, self.rows[positions], lambda i: describe(int(positions[i])), self.origin
        )
        return dataclasses.replace(self.take(np.flatnonzero(~bad)), faults=(*self.faults, faults))

    def origin(self, row: int) -> bad_rows.Origin:
        """Where the row with number `row` was read."""
        return (
            bad_rows.Origin(str(self.file), None, row, "")
            if self.trace is None
            else self.trace(row)
        )


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a user may say about reading, beside the input;
    each format takes what concerns it and refuses the rest.

    Attributes:
      schema: TOML schema of the columns.
      scratch: a directory for large intermediate files, which the caller removes.
      seed: seed of every choice that sampling makes.
      sample_users: the part of users whose rows are kept, in (0, 1].
      scenarios: the scenarios to keep; empty for the format's own choice.
      tasks: the tasks to keep; empty for the format's own choice.
      min_count: how often an id must occur among training rows to get a place in a vocabulary; None
        for the format's own.
      layout: what goes over [file] of the schema: fields of a `csv_layout.Dialect`.
      before: the dataset whose further rows these are, an `appending.Before`, or None.
    """

    schema: Optional[pathlib.Path] = None
    scratch: Optional[pathlib.Path] = None
    seed: int = 0
    sample_users: float = 1.0
    scenarios: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    min_count: Optional[int] = None
    layout: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    before: Optional[Any] = None

    @property
    def tables(self) -> pathlib.Path:
        """Where tables to join with are put.

        Raises:
          ValueError: where there is no `scratch` directory.
        """
        if self.scratch is None:
            raise ValueError("joining files needs a scratch directory")
        return self.scratch

    def refuse(self, source_format: str, *names: str) -> None:
        """Refuses settings that a format has no use for.

        Raises:
          PfrecError: naming the first of `names` that is not at its default.
        """
        for name in names:
            if getattr(self, name) != getattr(type(self), name):
                why = "has its own schema" if name == "schema" else "does not know it"
                raise errors.PfrecError(
                    f"--{name}: the {source_format} format {why}; leave the flag out"
                )


@dataclasses.dataclass(frozen=True)
class Source:
    """A raw dataset, opened: its schema is known, its rows are still to be read.

    Attributes:
      schema: columns and tasks, equal in all scenarios.
      fractions: parts of train, valid and test into which rows without a split of their own are
        cut.
      chunks: starts an iteration over (scenario, split, chunk), from the start or after the chunk
        whose `resume` is given; scenario is None where the chunk names one per row, split where the
        hash decides.
      scenarios: the scenarios in order, or None where only the rows tell; then they are sorted.
      notes: what the user should know about how the data was read, a line each.
      files: what is read, so that a conversion is not resumed on other data.
      survey: starts an iteration over the same rows with the columns that tell scenario and split
        alone; None where the format needs no such look.
      chose: whether the format itself took the user's choice of scenarios.
      splitter: a `splitting.Splitter` that gives rows their splits, or None.
      own: what else `dataset.json` is to say, by key.
    """

    schema: schema_lib.Schema
    fractions: tuple[float, float, float]
    chunks: Callable[[Optional[Any]], Iterator[Chunk]]
    scenarios: Optional[tuple[str, ...]] = None
    notes: tuple[str, ...] = ()
    files: tuple[pathlib.Path, ...] = ()
    survey: Optional[Callable[[], Iterator[Chunk]]] = None
    chose: bool = False
    splitter: Optional[Any] = None
    own: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def units_after(count: int, resume: Optional[Any]) -> "Iterator[tuple[int, Optional[Any]]]":
    """The units (files, say) still to read, each with where to start in it: None for its beginning.

    `resume` is of `in_unit`.
    """
    first, start = (0, None) if resume is None else resume
    for number in range(first, count):
        yield number, start if number == first else None


def in_unit(chunk: RawChunk, number: int) -> RawChunk:
    """The chunk with `resume` within unit `number` as one within all units."""
    return (
        chunk if chunk.resume is None else dataclasses.replace(chunk, resume=[number, chunk.resume])
    )


def faults_alone(file: Any, faults: "Sequence[bad_rows.Faults]") -> RawChunk:
    """A chunk without rows, for the faults of a file that others are joined with."""
    return RawChunk(file, np.zeros(0, np.int64), {}, faults=tuple(faults))


def is_scenario_name(name: str) -> bool:
    """Whether `name` can be a directory's."""
    return names.is_name(name)


def remembered(
    scratch: Optional[pathlib.Path],
    name: str,
    paths: "Sequence[pathlib.Path]",
    make: Callable[[], Any],
) -> Any:
    """What `make` returns, a JSON value that reading the files at `paths` gave; kept in `scratch`
    for a conversion that is resumed.
    """
    if scratch is None:
        return make()
    read = [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]
    kept = scratch / f"{name}.json"
    if kept.exists():
        remedy = "convert without --resume"
        found = json_fields.Fields(files.read_json(kept, remedy=remedy), str(kept), remedy)
        if found.plain("read") == read and "value" in found:
            return found.plain("value")
    value = make()
    files.write_json(kept, {"read": read, "value": value})
    return value


def check_scenario_name(name: str, *, place: str) -> str:
    """Returns `name`, which will be a directory.

    Raises:
      PfrecError: where it cannot be one, see `names`.
    """
    return names.require(name, place=place)


def require_directory(path: pathlib.Path, remedy: str) -> None:
    """Checks that `path` is a directory.

    Raises:
      PfrecError: where it is missing or a file.
    """
    if not path.is_dir():
        raise errors.PfrecError(
            f"{path}: {'not a directory' if path.exists() else 'no such directory'}; {remedy}"
        )


def require_files(paths: "list[pathlib.Path]", remedy: str) -> None:
    """Checks that all files exist before hours go into reading the first.

    Raises:
      PfrecError: where one is missing.
    """
    for path in paths:
        if not path.is_file():
            raise errors.PfrecError(f"{path}: no such file; {remedy}")
