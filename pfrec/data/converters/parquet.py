"""A user's own Parquet files, described by a TOML schema;
scenarios and splits as in the csv format.

Row groups are read one after the other, a batch of rows at a time.
"""

import contextlib
import functools
import json
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np

from pfrec import errors
from pfrec.data.converters import csv
from pfrec.data.reading import bad_rows, columns_found, folder, raw_file, source

BATCH_ROWS = 1 << 15


def open_source(path: pathlib.Path, settings: source.Settings = source.Settings()) -> source.Source:
    """Opens Parquet files.

    Raises:
      PfrecError: where the schema or a file is missing or wrong, or a file lacks a column.
    """
    settings.refuse("parquet", "sample_users", "tasks", "min_count")
    described = csv.read_schema(settings, "parquet")
    inputs, notes = folder.find(path, folder.PARQUET_ENDINGS, "Parquet")
    own = csv.OwnFiles(described, inputs, settings.seed)
    booleans: set[str] = set()
    for entry in inputs:
        kinds = column_kinds(entry.file)
        found = [name for name, _ in kinds]
        booleans.update(name for name, kind in kinds if str(kind) == "bool")
        own.has(entry, found)
        wanted = [n for n in own.kinds if n not in entry.keys and n not in own.may_lack]
        require_columns(entry.file, found, wanted, csv.lacking_remedy(settings))

    def read(number: int, columns: Sequence[str], start: Any) -> Iterator[source.RawChunk]:
        return batches(inputs[number].file, columns, start or 0)

    spelled = [
        f"{feature.raw!r} holds booleans, which are the texts true and false: other files and "
        "requests spell them so too (pandas writes True and False into CSV)"
        for feature in described.schema.categorical
        if feature.raw in booleans and feature.encoding in ("hash", "local_vocabulary")
    ]
    return own.opened(read, [*notes, *spelled])


def batches(
    file: raw_file.RawFile, columns: Sequence[str], start: int = 0
) -> Iterator[source.RawChunk]:
    """Yields the rows of a file from row `start` on.

    Raises:
      PfrecError: where the file is missing or damaged.
    """
    import pyarrow as pa

    row = 0
    try:
        with _opened(file) as opened:
            for group in range(opened.num_row_groups):
                size = opened.metadata.row_group(group).num_rows
                if row + size <= start:
                    row += size
                    continue
                for batch in opened.iter_batches(
                    BATCH_ROWS, row_groups=[group], columns=list(columns)
                ):
                    first = max(start - row, 0)
                    row += len(batch)
                    if first < len(batch):
                        part = batch.slice(first)
                        yield _chunk(file, flat(part), row - len(part), row)
    except (pa.ArrowException, OSError) as error:
        raise errors.PfrecError(
            f"{file}: row {row}: damaged Parquet file ({' '.join(str(error).split())}); "
            "fetch it again"
        ) from error


def _chunk(
    file: raw_file.RawFile, columns: Mapping[str, Any], first: int, after: int
) -> source.RawChunk:
    def origin(row: int) -> bad_rows.Origin:
        values = {name: column[row - first].as_py() for name, column in columns.items()}
        return bad_rows.Origin(
            str(file), None, row, json.dumps(values, default=str, ensure_ascii=False)
        )

    return source.RawChunk(
        file, np.arange(first, after, dtype=np.int64), columns, origin, resume=after
    )


def flat(batch: Any) -> "dict[str, Any]":
    """The columns of a record batch; the fields of a struct are columns called `struct.field`."""
    import pyarrow as pa

    table = pa.Table.from_batches([batch])
    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    return {name: table.column(name).combine_chunks() for name in table.column_names}


def _unpack(stream: Any, place: Any, file: raw_file.RawFile) -> None:
    """Copies a stream to a file on disk.

    Raises:
      PfrecError: where the disk is full.
    """
    while part := stream.read(1 << 20):
        try:
            place.write(part)
            place.flush()
        except OSError as error:
            raise errors.PfrecError(
                f"{file}: no room to unpack it in {tempfile.gettempdir()} ({error.strerror}); free "
                "some, or let TMPDIR name another folder"
            ) from error


@functools.lru_cache(maxsize=1)
def _unpacked(file: raw_file.RawFile, state: "tuple[int, ...]") -> "IO[bytes]":
    """A packed file unpacked to disk, as Parquet is read from its end. It is kept until another one
    is: columns are looked at before rows are read, and those maybe twice. Of several files each is
    unpacked anew every time, so that the disk holds one at most.

    Args:
      file: the packed one.
      state: what is another where the file is: its inode, size, and when it was modified.

    Raises:
      PfrecError: where it is damaged, or the disk is full.
    """
    with contextlib.ExitStack() as failed:
        place = failed.enter_context(tempfile.TemporaryFile())
        failed.callback(place.raw.close)  # `place.close` would write once more to a full disk.
        with file.open() as stream:
            _unpack(stream, place, file)
        failed.pop_all()
    return place


@contextlib.contextmanager
def _opened(file: raw_file.RawFile) -> Iterator[Any]:
    """Yields a Parquet file to read, a packed one too."""
    import pyarrow as pa
    from pyarrow import parquet

    with contextlib.ExitStack() as stack:
        place: Any = file.path
        if file.is_packed:
            with raw_file.readable(file):
                now = file.path.stat()
            unpacked = _unpacked(file, (now.st_ino, now.st_size, now.st_mtime_ns))
            # Opened anew, so that whoever else reads it has a place of its own.
            place = stack.enter_context(open(f"/proc/self/fd/{unpacked.fileno()}", "rb"))
        try:
            opened = stack.enter_context(parquet.ParquetFile(place))
        except (pa.ArrowException, OSError) as error:
            raise errors.PfrecError(
                f"{file}: not a readable Parquet file ({' '.join(str(error).split())}); fetch it "
                "again"
            ) from error
        yield opened


def column_names(file: raw_file.RawFile) -> list[str]:
    """The columns of a file, see `column_kinds`.

    Raises:
      PfrecError: where it is missing or damaged.
    """
    return [name for name, _ in column_kinds(file)]


def column_kinds(file: raw_file.RawFile) -> "list[tuple[str, Any]]":
    """The columns of a file, with their Arrow types; the fields of a struct are columns called
    `struct.field`.

    Raises:
      PfrecError: where it is missing or damaged.
    """
    import pyarrow as pa

    with _opened(file) as opened:
        table = opened.schema_arrow.empty_table()
    while any(pa.types.is_struct(kind) for kind in table.schema.types):
        table = table.flatten()
    return list(zip(table.column_names, table.schema.types))


def require_columns(place: Any, found: Sequence[str], wanted: Iterable[str], remedy: str) -> None:
    """Checks that a file or a table has the columns that are read of it, each once; `remedy` is
    what to do where it lacks one, as a clause.

    Raises:
      PfrecError: naming `place`, the missing columns and those found, or one that stands twice.
    """
    columns_found.require_all(place, found, wanted, remedy)
    for name in wanted:
        if found.count(name) > 1:
            raise errors.PfrecError(f"{place}: the column {name!r} stands twice; rename one")
