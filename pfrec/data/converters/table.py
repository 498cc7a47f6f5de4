"""A table in memory instead of files: a pandas DataFrame or an Arrow table."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

import numpy as np

from pfrec import errors
from pfrec.data.conversion import options as options_lib
from pfrec.data.conversion import run, toml_schema
from pfrec.data.converters import csv, parquet
from pfrec.data.reading import bad_rows, column_text, folder, raw_file, source

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
    import pyarrow as pa

    if not isinstance(table, pa.Table):
        try:
            table = pa.Table.from_pandas(table, preserve_index=False)
        except (pa.ArrowException, AttributeError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise errors.PfrecError(
                f"{name}: neither an Arrow table nor a DataFrame of columns of one type ({reason})"
            ) from error
    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    where = raw_file.RawFile(pathlib.Path(name))
    own = csv.OwnFiles(described, [folder.Input(where, {}, (name,))], seed)
    missing = [column for column in own.kinds if column not in table.column_names]
    if missing:
        raise errors.PfrecError(
            f"{name}: no column {', '.join(map(repr, missing))}; columns found: "
            f"{', '.join(table.column_names)}; mend the table or the schema"
        )

    def read(number: int, columns: Sequence[str], start: Any) -> Iterator[source.RawChunk]:
        del number
        first = start or 0
        while first < len(table):
            part = table.slice(first, parquet.BATCH_ROWS).select(list(columns))
            yield _chunk(name, part, first)
            first += len(part)

    return own.opened(read, [], on_disk=False)


def _chunk(name: str, part: Any, first: int) -> source.RawChunk:
    columns = {column: column_text.arrow(part.column(column)) for column in part.column_names}

    def origin(row: int) -> bad_rows.Origin:
        values = {column: values[row - first].as_py() for column, values in columns.items()}
        text = json.dumps(values, default=str, ensure_ascii=False)
        return bad_rows.Origin(name, None, row, text)

    rows = np.arange(first, first + len(part), dtype=np.int64)
    return source.RawChunk(name, rows, columns, origin, resume=first + len(part))
