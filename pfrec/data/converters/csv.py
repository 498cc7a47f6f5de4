"""A user's own CSV files, described by a TOML schema (see `pfrec.data.conversion.toml_schema`).

The input is a file, or a folder whose `*.csv` and `*.csv.gz` files are read in order of name;
columns may stand in another order in each. A column names the scenario of each row, or each file is
a scenario of its own, named by its stem. A row's split follows from its number in its file.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data.conversion import encoding, toml_schema
from pfrec.data.reading import csv_stream, raw_file, source

ENDINGS = (".csv", ".csv.gz")


def open_source(path: pathlib.Path, settings: source.Settings = source.Settings()) -> source.Source:
    """Opens CSV files.

    Raises:
      PfrecError: where the schema or a file is missing or wrong, or a file lacks a column.
    """
    settings.refuse("csv", "sample_users", "scenarios", "tasks", "min_count")
    described = read_schema(settings, "csv")
    files = [raw_file.RawFile(file) for file in find(path, ENDINGS, "CSV")]
    kinds, scenarios = columns_and_scenarios(described, files)
    for file in files:
        csv_stream.require_columns(file, list(kinds), described.dialect)
    chunks = functools.partial(_chunks, files, kinds, described)
    return source.Source(
        described.schema,
        described.fractions,
        chunks,
        scenarios,
        files=tuple(file.path for file in files),
    )


def read_schema(settings: source.Settings, source_format: str) -> toml_schema.TomlSchema:
    """The schema that the user gave.

    Raises:
      PfrecError: where none was given, or it is wrong.
    """
    if settings.schema is None:
        raise errors.PfrecError(
            f"--schema: the {source_format} format needs one; pass --schema=S.toml"
        )
    return toml_schema.read(settings.schema)


def find(path: pathlib.Path, endings: Sequence[str], what: str) -> list[pathlib.Path]:
    """The input file, or the files in the input folder, in order of name.

    Raises:
      PfrecError: where there is none.
    """
    if path.is_file():
        return [path]
    patterns = " or ".join(f"*{ending}" for ending in endings)
    remedy = f"--input is a {what} file or a folder of {patterns} files"
    source.require_directory(path, remedy)
    files = sorted(
        file for file in path.iterdir() if file.name.endswith(tuple(endings)) and file.is_file()
    )
    if not files:
        raise errors.PfrecError(f"{path}: holds no {patterns} file; {remedy}")
    return files


def columns_and_scenarios(
    described: toml_schema.TomlSchema, files: Sequence[raw_file.RawFile]
) -> "tuple[dict[str, str], Optional[tuple[str, ...]]]":
    """The columns to read, and the scenarios where each file is one.

    Raises:
      PfrecError: where a file's name cannot name a scenario, or two files name the same.
    """
    kinds = csv_stream.column_kinds(described.schema)
    if described.scenario_column is not None:
        kinds[described.scenario_column] = csv_stream.TEXT
        return kinds, None
    scenarios = tuple(source.check_scenario_name(file.stem, place=str(file)) for file in files)
    for scenario, file in zip(scenarios, files):
        if scenarios.count(scenario) > 1:
            raise errors.PfrecError(
                f"{file}: another file names the scenario {scenario!r} too; rename one or name a "
                "scenario column"
            )
    return kinds, scenarios


def with_scenario(chunk: source.RawChunk, column: str) -> source.RawChunk:
    """The chunk with `scenario` from a column;
    rows whose scenario cannot be a directory's name become faults.
    """
    names = encoding.texts(chunk, column)
    encoded = names.dictionary_encode()
    wrong = np.array(
        [not source.is_scenario_name(name) for name in encoded.dictionary.to_pylist()], bool
    )
    bad = wrong[encoded.indices.to_numpy(zero_copy_only=False)] if len(names) else np.zeros(0, bool)
    chunk = dataclasses.replace(chunk, scenario=names)
    return chunk.without(
        bad, "scenario_name", column, lambda i: source.scenario_name_fault(names[i].as_py())
    )


def _chunks(
    files: Sequence[raw_file.RawFile],
    kinds: "dict[str, str]",
    described: toml_schema.TomlSchema,
    resume: Optional[Any],
) -> Iterator[source.Chunk]:
    for number, start in source.units_after(len(files), resume):
        for chunk in csv_stream.chunks(files[number], kinds, described.dialect, start=start):
            chunk = source.in_unit(chunk, number)
            if described.scenario_column is None:
                yield files[number].stem, None, chunk
            else:
                yield None, None, with_scenario(chunk, described.scenario_column)
