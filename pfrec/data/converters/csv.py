"""A user's own CSV files, described by a TOML schema (see `pfrec.data.toml_schema`).

The input is a file, or a folder whose `*.csv` files are read in order of name. A column names the scenario of each row, or each
file is a scenario of its own, named by its stem. A row's split follows from its number in its file.
"""

import functools
import pathlib
from collections.abc import Iterator
from typing import Optional

import numpy as np

from pfrec import errors
from pfrec.data import csv_stream, encoding, source, toml_schema


def open_source(path: pathlib.Path, schema_path: Optional[pathlib.Path] = None) -> source.Source:
    """Opens CSV files.

    Raises:
      PfrecError: where the schema or a file is missing or wrong, or a file lacks a column.
    """
    if schema_path is None:
        raise errors.PfrecError("--schema: the csv format needs one; pass --schema=S.toml")
    described = toml_schema.read(schema_path)
    files = _files(path)
    kinds = csv_stream.column_kinds(described.schema)
    scenarios: Optional[tuple[str, ...]] = None
    if described.scenario_column is None:
        scenarios = tuple(source.check_scenario_name(file.stem, place=str(file)) for file in files)
    else:
        kinds[described.scenario_column] = csv_stream.TEXT
    for file in files:
        csv_stream.require_columns(file, list(kinds))
    chunks = functools.partial(_chunks, files, kinds, described.scenario_column)
    return source.Source(described.schema, described.fractions, chunks, scenarios)


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    if path.is_file():
        return [path]
    source.require_directory(path, "--input is a CSV file or a folder of *.csv files")
    files = sorted(path.glob("*.csv"))
    if not files:
        raise errors.PfrecError(f"{path}: holds no *.csv file; --input is a CSV file or a folder of *.csv files")
    return files


def _chunks(
    files: "list[pathlib.Path]", kinds: "dict[str, str]", scenario_column: Optional[str]
) -> Iterator[tuple[str, Optional[str], source.RawChunk]]:
    for file in files:
        for chunk in csv_stream.chunks(file, kinds, newlines_in_values=True):
            if scenario_column is None:
                yield file.stem, None, chunk
            else:
                for scenario, part in _by_scenario(chunk, scenario_column):
                    yield scenario, None, part


def _by_scenario(chunk: source.RawChunk, column: str) -> Iterator[tuple[str, source.RawChunk]]:
    """The rows of each scenario in a chunk, in their order."""
    encoded = encoding.texts(chunk.columns[column]).dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    for code, scenario in enumerate(encoded.dictionary.to_pylist()):
        index = np.flatnonzero(codes == code)
        try:
            source.check_scenario_name(scenario, place=column)
        except errors.PfrecError:
            # Reading the file again to name the line is worth it only once there is something to name.
            source.check_scenario_name(scenario, place=chunk.place(int(index[0]), column))
        yield scenario, chunk.take(index)
