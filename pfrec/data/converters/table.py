"""A table in memory instead of files: a pandas DataFrame or an Arrow table."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Union

import numpy as np

from pfrec import errors
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
    options: run.Options = run.Options(),
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
    import pyarrow as pa

    if isinstance(schema, pathlib.Path):
        described = toml_schema.read(schema)
    elif isinstance(schema, str):
        described = toml_schema.read_text(schema, place="schema")
    else:
        described = toml_schema.parse(schema)
    if not isinstance(table, pa.Table):
        try:
            table = pa.Table.from_pandas(table, preserve_index=False)
        except (pa.ArrowException, AttributeError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise errors.PfrecError(
                f"{name}: neither an Arrow table nor a DataFrame of columns of one type ({reason})"
            ) from error
    where = raw_file.RawFile(pathlib.Path(name))
    own = csv.OwnFiles(described, [folder.Input(where, {}, (name,))], options.split_seed)
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

    opened = own.opened(read, [], on_disk=False)
    return run.run(lambda _: opened, FORMAT, output, options, lambda _: None)


def _chunk(name: str, part: Any, first: int) -> source.RawChunk:
    columns = {column: column_text.arrow(part.column(column)) for column in part.column_names}

    def origin(row: int) -> bad_rows.Origin:
        values = {column: values[row - first].as_py() for column, values in columns.items()}
        text = json.dumps(values, default=str, ensure_ascii=False)
        return bad_rows.Origin(name, None, row, text)

    rows = np.arange(first, first + len(part), dtype=np.int64)
    return source.RawChunk(name, rows, columns, origin, resume=first + len(part))
