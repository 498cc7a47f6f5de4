"""Ali-CCP: `sample_skeleton_{train,test}.csv` joined with `common_features_{train,test}.csv`,
both without a header.

A skeleton row is `sample id, click, purchase, common feature key, how many features, features`; a
common row is `key, how many, features`. Features are parted by `\\x01`, each `field \\x02 id \\x03
value`. Rows with a purchase but no click are dropped, as is usual. Scenario: the value of field 301
(`301_1`, ...). Tasks: `ctr`, and `ctcvr` over all rows. Features: the usual fields, of each the
first id of a row; an id that occurs fewer than `--min_count` times (10) in training rows, or not at
all, is unknown. The group is the user (field 101). Test files are the test split; valid is cut from
train. Source of the data: Ma et al., "Entire Space Multi-Task Model", SIGIR 2018.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data.conversion import local_statistics
from pfrec.data.conversion.columns import as_numbers
from pfrec.data.reading import (
    bad_rows,
    column_text,
    csv_layout,
    csv_stream,
    raw_file,
    side_table,
    source,
)

FIELDS = (
    "101",
    "121",
    "122",
    "124",
    "125",
    "126",
    "127",
    "128",
    "129",
    "205",
    "206",
    "207",
    "216",
    "508",
    "509",
    "702",
    "853",
    "301",
)
USER, SCENARIO = "101", "301"
FRACTIONS = (0.875, 0.125, 0.0)
TASKS = (schema_lib.Task("ctr", "click"), schema_lib.Task("ctcvr", "purchase"))
MIN_COUNT = 10
SKELETON = ("sample", "click", "purchase", "common", "count", "features")
COMMON = ("common", "count", "features")

_SPLITS = ("train", "test")
_KINDS = {
    "click": csv_stream.NUMBER,
    "purchase": csv_stream.NUMBER,
    "common": csv_stream.TEXT,
    "features": csv_stream.TEXT,
}
_KEY_BYTES = 32
_MALFORMED = r"a feature is not of the form field \x02 id \x03 value; mend the row"
_REMEDY = (
    "--input is a folder with sample_skeleton_{train,test}.csv and common_features_{train,test}.csv"
)


def open_source(path: pathlib.Path, settings: source.Settings = source.Settings()) -> source.Source:
    """Opens the four files; reads the training rows once, to count ids.

    Raises:
      PfrecError: where a file is missing.
    """
    settings.refuse("ali_ccp", "schema", "sample_users", "tasks")
    source.require_directory(path, _REMEDY)
    files = {
        (kind, split): _file(path, kind, split)
        for kind in ("sample_skeleton", "common_features")
        for split in _SPLITS
    }
    parts = [
        (split, files["sample_skeleton", split], files["common_features", split])
        for split in _SPLITS
    ]
    scratch = settings.tables
    paths = tuple(file.path for file in files.values())
    least = MIN_COUNT if settings.min_count is None else settings.min_count
    vocabularies = source.remembered(
        scratch, f"vocabularies_{least}", paths, lambda: _vocabularies(parts[:1], scratch, least)
    )
    categorical = []
    for field in FIELDS:
        words = tuple(vocabularies[field])
        policy = "private" if field == USER else "shared"
        categorical.append(
            schema_lib.Categorical(field, max(len(words), 1), policy, "vocabulary", words)
        )
    found = schema_lib.Schema(tuple(categorical), (), TASKS, USER)
    note = (
        f"ids that occur fewer than {least} times in training rows share the unknown id of "
        "their field"
    )
    chunks = functools.partial(_chunks, parts, scratch)
    return source.Source(found, FRACTIONS, chunks, None, (note,), paths)


def _vocabularies(
    parts: "Sequence[tuple[str, raw_file.RawFile, raw_file.RawFile]]",
    scratch: pathlib.Path,
    least: int,
) -> "dict[str, Sequence[str]]":
    """The ids of each field that occur often enough, see `local_statistics`."""
    counts = {field: local_statistics.Vocabulary() for field in FIELDS}
    for _, _, chunk in _chunks(parts, scratch, None):
        for field in FIELDS if len(chunk) else ():
            counts[field].add(column_text.of(chunk.columns[field]))
    return {field: vocabulary.words(1 << 30, least) for field, vocabulary in counts.items()}


def _file(path: pathlib.Path, kind: str, split: str) -> raw_file.RawFile:
    zipped = path / f"{kind}_{split}.csv.gz"
    plain = path / f"{kind}_{split}.csv"
    source.require_files([zipped if zipped.is_file() else plain], _REMEDY)
    return raw_file.RawFile(zipped if zipped.is_file() else plain)


def _chunks(
    parts: "Sequence[tuple[str, raw_file.RawFile, raw_file.RawFile]]",
    scratch: pathlib.Path,
    resume: Optional[Any],
) -> Iterator[source.Chunk]:
    for number, start in source.units_after(len(parts), resume):
        split, skeleton, common = parts[number]
        table, faults = _common(common, scratch / f"common_{split}")
        if start is None:  # a resumed conversion has reported them already
            yield None, split, source.faults_alone(common, faults)
        for chunk in csv_stream.chunks(
            skeleton, _KINDS, csv_layout.Dialect(names=SKELETON), start=start
        ):
            chunk = _joined(source.in_unit(chunk, number), table, common)
            yield None, "test" if split == "test" else None, chunk


def _common(
    file: raw_file.RawFile, path: pathlib.Path
) -> "tuple[side_table.SideTable, list[bad_rows.Faults]]":
    """The common features by key, and the bad rows of their file."""
    table = side_table.SideTable(path, (), FIELDS)
    faults: list[bad_rows.Faults] = []
    kinds = {"common": csv_stream.TEXT, "features": csv_stream.TEXT}
    rows = []
    for chunk in csv_stream.chunks(file, kinds, csv_layout.Dialect(names=COMMON)):
        chunk = _with_fields(_with_key(chunk))
        table.add(chunk.columns["common"], {field: chunk.columns[field] for field in FIELDS})
        faults += chunk.faults
        rows.append(chunk.rows)
    table.freeze()
    if len(table.repeated):
        repeated = np.concatenate(rows)[table.repeated]
        faults.append(bad_rows.repeated("repeated_key", "key", "common", file, repeated))
    return table, faults


def _with_key(chunk: source.RawChunk) -> source.RawChunk:
    """The chunk with its common feature keys as bytes of one length."""
    keys = np.array(
        [key.encode() for key in column_text.of(chunk.columns["common"]).to_pylist()], dtype=object
    )
    bad = np.array([not 0 < len(key) <= _KEY_BYTES for key in keys], bool)
    chunk = chunk.without(
        bad,
        "key",
        "common",
        lambda _: f"the key is empty or longer than {_KEY_BYTES} bytes; mend the value",
    )
    columns = {**chunk.columns, "common": keys[~bad].astype(f"S{_KEY_BYTES}")}
    return dataclasses.replace(chunk, columns=columns)


def _with_fields(chunk: source.RawChunk) -> source.RawChunk:
    """The chunk with a column of ids per field: the first of the row, null where it has none."""
    import pyarrow as pa
    from pyarrow import compute

    lists = compute.split_pattern(column_text.of(chunk.columns["features"]), "\x01")
    features, owners = (
        lists.flatten(),
        compute.list_parent_indices(lists).to_numpy(zero_copy_only=False),
    )
    parsed = compute.extract_regex(
        features, "^(?P<field>[^\x02\x03]+)\x02(?P<id>[^\x02\x03]+)\x03[^\x02\x03]+$"
    )
    fine = parsed.is_valid().to_numpy(zero_copy_only=False) | compute.equal(features, "").to_numpy(
        zero_copy_only=False
    )
    fields, ids = parsed.field(0), parsed.field(1)
    columns = dict(chunk.columns)
    for field in FIELDS:
        at = np.flatnonzero(
            compute.fill_null(compute.equal(fields, field), False).to_numpy(zero_copy_only=False)
        )
        places = np.full(len(chunk), -1, np.int64)
        places[owners[at[::-1]]] = at[::-1]  # the first of a row is assigned last
        columns[field] = ids.take(pa.array(places, mask=places < 0))
    bad = np.zeros(len(chunk), bool)
    bad[owners[~fine]] = True
    chunk = dataclasses.replace(chunk, columns=columns)
    return chunk.without(bad, "feature", "features", lambda _: _MALFORMED)


def _joined(
    chunk: source.RawChunk, table: side_table.SideTable, common: raw_file.RawFile
) -> source.RawChunk:
    """Skeleton rows with all fields and their scenario;
    rows with a purchase but no click are gone.
    """
    from pyarrow import compute

    clicks, purchases = (as_numbers.read_or_nan(chunk, name) for name in ("click", "purchase"))
    chunk = chunk.take(np.flatnonzero(~((clicks == 0) & (purchases == 1))))
    chunk = _with_fields(_with_key(chunk))
    positions = table.find(chunk.columns["common"])
    chunk = chunk.without(
        positions < 0,
        "no_common_row",
        "common",
        lambda _: f"the key has no row in {common}; add it there, or leave the row out",
    )
    joined = table.columns(positions[positions >= 0])
    columns = {
        **chunk.columns,
        **{field: compute.coalesce(chunk.columns[field], joined[field]) for field in FIELDS},
    }
    chunk = dataclasses.replace(chunk, columns=columns)
    values = column_text.of(chunk.columns[SCENARIO])
    wrong = np.array(
        [
            not source.is_scenario_name(f"{SCENARIO}_{value}") or not value
            for value in values.to_pylist()
        ],
        bool,
    )
    chunk = chunk.without(
        wrong,
        "scenario",
        SCENARIO,
        lambda i: (
            f"the scenario is {values[i].as_py() or 'missing'!r}; it must be letters and digits"
        ),
    )
    names = compute.binary_join_element_wise(
        f"{SCENARIO}", column_text.of(chunk.columns[SCENARIO]), "_"
    )
    return dataclasses.replace(chunk, scenario=names)
