"""Writes a first TOML schema of CSV or Parquet files: types, cardinalities, missing rates and
warnings, for a person to edit.
"""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from pfrec import errors
from pfrec.data.conversion import toml_schema
from pfrec.data.converters import parquet
from pfrec.data.inference import roles, toml_text
from pfrec.data.reading import (
    column_names,
    column_text,
    csv_layout,
    csv_stream,
    dialects,
    folder,
    raw_file,
    source,
)

# Rows read in all; a guess does not get better with more.
MAX_ROWS = 2_000_000


def infer(
    source_format: str,
    path: pathlib.Path,
    schema_path: Optional[pathlib.Path] = None,
    hints: roles.Hints = roles.Hints(),
) -> str:
    """The text of a first schema.

    Args:
      source_format: `csv` or `parquet`.
      path: the file or folder.
      schema_path: must be None; a schema is what comes out.
      hints: what need not be guessed.

    Raises:
      PfrecError: where the files cannot be read, have no common columns, or show no label.
    """
    if source_format not in ("csv", "parquet"):
        raise errors.PfrecError(
            f"--infer_schema: the {source_format} format has its own schema; it is for csv and "
            "parquet"
        )
    if schema_path is not None:
        raise errors.PfrecError(
            "--schema does not go with --infer_schema, which writes one; leave it out"
        )
    endings, what = folder.CSV_ENDINGS, "CSV"
    if source_format == "parquet":
        endings, what = folder.PARQUET_ENDINGS, "Parquet"
    inputs, notes = folder.find(path, endings, what)
    found = toml_text.Found(len(inputs), notes)
    columns = _columns(source_format, inputs, hints, found)
    text = toml_text.text(columns, str(path), hints, found)
    toml_schema.read_text(text, place="inferred schema")  # what is written is what can be read
    return text


def _columns(
    source_format: str,
    inputs: Sequence[folder.Input],
    hints: roles.Hints,
    found: toml_text.Found,
) -> "list[roles.Column]":
    """The columns that all files have, and labels that some have, counted over the first rows of
    each.
    """
    import pyarrow as pa

    files = [
        dialects.settled(entry.file, hints.dialect, ())
        if source_format == "csv"
        else (entry.file, hints.dialect)
        for entry in inputs
    ]
    headers = [
        csv_layout.header(file, own) if source_format == "csv" else parquet.column_names(file)
        for file, own in files
    ]
    headers = [[*header, *entry.keys] for header, entry in zip(headers, inputs)]
    everywhere = set(headers[0]).intersection(*headers)
    names = list(dict.fromkeys(name for header in headers for name in header if name))
    if not everywhere.intersection(names):
        raise errors.PfrecError(
            f"{files[0][0]}: no column that all files have; infer a schema of files of one layout"
        )
    if source_format == "csv":
        found.layout = toml_text.layout({(own, file.encoding) for file, own in files})
    columns = [roles.Column(name) for name in names]
    for (file, own), entry, header in zip(files, inputs, headers):
        rows = 0
        own_names = [name for name in names if name in header and name not in entry.keys]
        for chunk in _read(source_format, file, own, own_names):
            found.faulty += sum(len(faults.rows) for faults in chunk.faults)
            for column in columns:
                values = chunk.columns.get(column.name)
                if values is None:
                    values = pa.array([entry.keys.get(column.name)] * len(chunk), pa.string())
                try:
                    if column_text.holds_lists(values):
                        column.add_lists(values)
                    else:
                        column.add(_pointed(column_text.of(column_text.canonical(values)), own))
                except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
                    if column.name not in everywhere and column.name not in hints.tasks:
                        continue  # It is left out for that, see `_kept`.
                    raise errors.PfrecError(
                        f"{file}: column {column.name!r} holds {values.type}, which no feature "
                        "can; write the file without it"
                    ) from None
            rows += len(chunk)
            if rows >= MAX_ROWS // len(files):
                break
    if not columns[0].rows:
        what = f"{found.faulty:,} rows that cannot be read" if found.faulty else "no rows"
        raise errors.PfrecError(f"{files[0][0]}: {what}; a schema is inferred from rows")
    for column in columns:
        column.settle()
    return _kept(columns, everywhere, hints, found)


def _kept(
    columns: "list[roles.Column]",
    everywhere: "set[str]",
    hints: roles.Hints,
    found: toml_text.Found,
) -> "list[roles.Column]":
    """The columns without those that only some files have and that are no labels: a scenario need
    not serve every task, but has every feature.

    Raises:
      PfrecError: where the user names such a one as the scenario's or a group's.
    """
    some = [column.name for column in columns if column.name not in everywhere]
    for flag, name in (("--scenario", hints.scenario), ("--group", hints.group)):
        if name in some:
            raise errors.PfrecError(
                f"{flag}={name}: only some files have this column; add it to the others"
            )
    labels = [c for c in columns if c.binary and column_names.is_label(c.name)]
    found.lacking = {
        name
        for name in some
        if name in hints.tasks or (not hints.tasks and name in [c.name for c in labels])
    }
    out = [name for name in some if name not in found.lacking]
    if out:
        found.notes.append(
            f"only in some files, left out: {', '.join(sorted(out))}; a feature's column is in "
            "every file, empty where nothing is known"
        )
    return [column for column in columns if column.name not in out]


def _read(
    source_format: str,
    file: raw_file.RawFile,
    dialect: csv_layout.Dialect,
    names: Sequence[str],
) -> Iterator[source.RawChunk]:
    if source_format == "csv":
        return csv_stream.chunks(file, dict.fromkeys(names, csv_stream.TEXT), dialect)
    return parquet.batches(file, names)


def _pointed(texts: Any, dialect: csv_layout.Dialect) -> Any:
    """Texts with numbers written with a point."""
    from pyarrow import compute

    if dialect.decimal != ",":
        return texts
    return compute.replace_substring_regex(texts, r"^([+-]?[0-9]+),([0-9]+)$", r"\1.\2")
