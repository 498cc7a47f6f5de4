"""A table in memory instead of files: a pandas DataFrame or an Arrow table."""

import json
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Union

import numpy as np

from pfrec import errors
from pfrec.data.conversion import options as options_lib
from pfrec.data.conversion import run, toml_schema
from pfrec.data.converters import csv, parquet
from pfrec.data.reading import bad_rows, folder, raw_file, source

FORMAT = "table"


def convert_table(
    table: Any,
    output: pathlib.Path,
    schema: "Union[pathlib.Path, str, Mapping[str, Any]]",
    *,
    name: str = "table",
    options: options_lib.Options = options_lib.Options(),
) -> list[str]:
    """Converts a table to a dataset directory, as `pfrec-convert` does a Parquet file.

    Args:
      table: a pandas DataFrame, whose index is not read, or a `pyarrow.Table`.
      output: the dataset directory; must not exist or be empty.
      schema: a TOML schema: the path of a file, its text, or the parsed document.
      name: of the table in messages, and of its scenario where the schema names no column.
      options: how rows are treated.

    Returns:
      Notes for the user, a line each.

    Raises:
      PfrecError: where the table or the schema does not fit, or the output cannot be written.
    """
    if isinstance(schema, pathlib.Path):
        described = toml_schema.read(schema)
    elif isinstance(schema, str):
        described = toml_schema.read_text(schema, place="schema")
    else:
        described = toml_schema.parse(schema)
    opened = _opened(table, described, name, options.split_seed)
    return run.run(lambda _: opened, FORMAT, output, options, lambda _: None)


def open_source(table: Any, settings: source.Settings) -> source.Source:
    """Opens a table; it is the scenario `table` where the schema names no column.

    Raises:
      PfrecError: where the schema is missing or wrong, or the table does not fit it.
    """
    settings.refuse(FORMAT, "sample_users", "tasks", "min_count")
    return _opened(table, csv.read_schema(settings, FORMAT), FORMAT, settings.seed)


def _opened(table: Any, described: toml_schema.TomlSchema, name: str, seed: int) -> source.Source:
    entry = folder.Input(raw_file.RawFile(pathlib.Path(name)), {}, (name,))
    own = csv.OwnFiles(described, [entry], seed)
    found = _flat(table, own.kinds, name)
    own.has(entry, found.column_names)
    wanted = [column for column in own.kinds if column not in own.may_lack]
    parquet.require_columns(name, found.column_names, wanted, "mend the table or the schema")

    def read(number: int, columns: Sequence[str], start: Any) -> Iterator[source.RawChunk]:
        del number
        first = start or 0
        while first < len(found):
            part = found.slice(first, parquet.BATCH_ROWS).select(list(columns))
            yield _chunk(name, part, first)
            first += len(part)

    return own.opened(read, [], on_disk=False)


def _flat(table: Any, wanted: Collection[str], name: str) -> Any:
    """The table as an Arrow table; the fields of a struct are columns called `struct.field`. Of
    columns that are not wanted only the names are taken, since they may hold anything.

    Raises:
      PfrecError: where it is no table, or a wanted column holds what Arrow has no type for.
    """
    import pandas as pd
    import pyarrow as pa

    if isinstance(table, pd.DataFrame):
        names = [str(column) for column in table.columns]
        columns = [table.iloc[:, place] for place in range(len(names))]
    elif isinstance(table, pa.Table):
        names, columns = table.column_names, table.columns
    else:
        raise errors.PfrecError(
            f"{name}: a {type(table).__name__} is neither a pandas DataFrame nor an Arrow table"
        )

    def arrow(column: str, values: Any) -> Any:
        if not any(column == one or one.startswith(f"{column}.") for one in wanted):
            return pa.nulls(len(values))
        if isinstance(values, pa.ChunkedArray):
            return values
        try:
            return pa.array(values, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise errors.PfrecError(
                f"{name}: column {column!r}: Arrow has no type for its values "
                f"({' '.join(str(error).split())}); make it a plain column of numbers, or of text"
            ) from error

    found = pa.Table.from_arrays([arrow(*pair) for pair in zip(names, columns)], names)
    while any(pa.types.is_struct(kind) for kind in found.schema.types):
        found = found.flatten()
    return found


def _chunk(name: str, part: Any, first: int) -> source.RawChunk:
    columns = {column: part.column(column).combine_chunks() for column in part.column_names}

    def origin(row: int) -> bad_rows.Origin:
        values = {column: values[row - first].as_py() for column, values in columns.items()}
        text = json.dumps(values, default=str, ensure_ascii=False)
        return bad_rows.Origin(name, None, row, text)

    rows = np.arange(first, first + len(part), dtype=np.int64)
    return source.RawChunk(name, rows, columns, origin, resume=first + len(part))
