"""AliExpress as published (Tianchi 74690):
per country a user file and an item file for train and test, to be joined.

`aliexpress_XX_datasets.zip`, zipped or unpacked, holds `XX_{user,item}_{train,test}.zip` (in a
folder or not), each with one CSV file without a header. A user row (33 columns) is a search page,
an item row (49 columns) an item shown on it; `user_1 = item_1` is the search. `item_49` is 0 for an
impression, 1 for a click, 2 for a purchase. Country XX is a scenario; task `ctr` is a click (a
purchase is one too), `ctcvr` a purchase over all rows; the group is the search, since no user is
told. Test files are the test split; valid is cut from train. Source of the data: Li et al.,
"Improving Multi-Scenario Learning to Rank in E-commerce by Exploiting Task Relationships in the
Label Space", CIKM 2020.
"""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
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

USER_COLUMNS = tuple(f"user_{i}" for i in range(1, 34))
ITEM_COLUMNS = tuple(f"item_{i}" for i in range(1, 50))
SEARCH, ITEM_SEARCH, LABEL = "user_1", "item_1", "item_49"
USER_CATEGORICAL = tuple(f"user_{i}" for i in (*range(2, 9), 32, 33))
ITEM_CATEGORICAL = tuple(f"item_{i}" for i in (19, 34, 35, 36, 40, 41, 42))
USER_NUMERICAL = tuple(f"user_{i}" for i in range(9, 32))
ITEM_NUMERICAL = tuple(f"item_{i}" for i in range(2, 49) if f"item_{i}" not in ITEM_CATEGORICAL)
TASKS = (schema_lib.Task("ctr", "click"), schema_lib.Task("ctcvr", "purchase"))
FRACTIONS = (0.875, 0.125, 0.0)
# A categorical column with more distinct values than this in the training rows is hashed to as many
# buckets.
MAX_VOCABULARY = 100_000

_SPLITS = ("train", "test")
_REMEDY = (
    "--input is a folder with aliexpress_XX_datasets.zip files or unpacked folders of them, "
    "or one of these"
)
_NAME = re.compile(r"([A-Z]{2})_(user|item)_(train|test)(?:\.(?:csv|zip|csv\.gz))?")


@dataclasses.dataclass(frozen=True)
class _Part:
    """A country's train or test files."""

    country: str
    split: str
    users: raw_file.RawFile
    items: raw_file.RawFile


def open_source(path: pathlib.Path, settings: source.Settings = source.Settings()) -> source.Source:
    """Opens one or all countries; reads the training files once,
    to learn the values of the categorical columns.

    Raises:
      PfrecError: where a file is missing or damaged.
    """
    settings.refuse("aliexpress_raw", "schema", "sample_users", "tasks", "min_count")
    parts = _parts(path)
    paths = tuple(dict.fromkeys(file.path for part in parts for file in (part.users, part.items)))
    training = [part for part in parts if part.split == "train"]
    vocabularies = source.remembered(
        settings.scratch, "vocabularies", paths, lambda: _vocabularies(training)
    )
    found = schema({name: tuple(words) for name, words in vocabularies.items()})
    chunks = functools.partial(_chunks, parts, settings.tables)
    countries = tuple(dict.fromkeys(part.country for part in parts))
    return source.Source(found, FRACTIONS, chunks, countries, files=paths)


def schema(vocabularies: "Mapping[str, tuple[str, ...]]") -> schema_lib.Schema:
    """The schema, from the values of the 16 categorical columns.

    All tables may be shared: no column is a user.
    """

    def feature(name: str) -> schema_lib.Categorical:
        words = vocabularies[name]
        if len(words) > MAX_VOCABULARY:
            return schema_lib.Categorical(name, MAX_VOCABULARY, "shared", "hash")
        return schema_lib.Categorical(name, max(len(words), 1), "shared", "vocabulary", words)

    return schema_lib.Schema(
        categorical=tuple(feature(name) for name in (*USER_CATEGORICAL, *ITEM_CATEGORICAL)),
        numerical=tuple(schema_lib.Numerical(name) for name in (*USER_NUMERICAL, *ITEM_NUMERICAL)),
        tasks=TASKS,
        group=ITEM_SEARCH,
    )


def _parts(path: pathlib.Path) -> list[_Part]:
    """The files of each country in order of name, train before test."""
    found: dict[tuple[str, str, str], raw_file.RawFile] = {}
    for file in _files(path):
        match = _NAME.fullmatch(file.name)
        if match is None:
            continue
        key = (match[1], match[2], match[3])
        if key in found:
            raise errors.PfrecError(
                f"{file}: stands a second time, beside {found[key]}; remove one of them"
            )
        found[key] = file
    countries = sorted({country for country, _, _ in found})
    if not countries:
        raise errors.PfrecError(f"{path}: holds no XX_user_train or XX_item_train file; {_REMEDY}")
    for country in countries:
        for kind in ("user", "item"):
            for split in _SPLITS:
                if (country, kind, split) not in found:
                    raise errors.PfrecError(
                        f"{path}: no file {country}_{kind}_{split} (.csv or .zip); {_REMEDY}"
                    )
    files = {key: _inner(file) for key, file in found.items()}
    return [
        _Part(c, s, files[c, "user", s], files[c, "item", s]) for c in countries for s in _SPLITS
    ]


def _files(path: pathlib.Path) -> Iterator[raw_file.RawFile]:
    """All files below `path`, looking into `*_datasets.zip` archives."""
    if path.is_file():
        paths = [path]
    else:
        source.require_directory(path, _REMEDY)
        paths = sorted(p for p in path.rglob("*") if p.is_file())
    for file in paths:
        if file.name.endswith("_datasets.zip"):
            yield from raw_file.zip_members(raw_file.RawFile(file))
        else:
            yield raw_file.RawFile(file)


def _inner(file: raw_file.RawFile) -> raw_file.RawFile:
    """The CSV file itself, where the file is an archive of it."""
    if not file.name.endswith(".zip"):
        return file
    members = [
        member
        for member in raw_file.zip_members(file)
        if not member.members[-1].startswith("__MACOSX/")
    ]
    if len(members) != 1:
        raise errors.PfrecError(
            f"{file}: holds {len(members)} files where one CSV file belongs; unpack it and keep "
            "the right one"
        )
    return members[0]


def _vocabularies(parts: "list[_Part]") -> "dict[str, Sequence[str]]":
    """The values of each categorical column, see `local_statistics`."""
    counts = {
        name: local_statistics.Vocabulary() for name in (*USER_CATEGORICAL, *ITEM_CATEGORICAL)
    }
    for part in parts:
        for file, names, wanted in (
            (part.users, USER_COLUMNS, USER_CATEGORICAL),
            (part.items, ITEM_COLUMNS, ITEM_CATEGORICAL),
        ):
            for chunk in csv_stream.chunks(
                file, dict.fromkeys(wanted, csv_stream.TEXT), csv_layout.Dialect(names=names)
            ):
                for name in wanted:
                    counts[name].add(column_text.of(chunk.columns[name]))
    return {name: vocabulary.words(MAX_VOCABULARY + 1, 1) for name, vocabulary in counts.items()}


def _chunks(
    parts: "list[_Part]", scratch: pathlib.Path, resume: Optional[Any]
) -> Iterator[source.Chunk]:
    for number, start in source.units_after(len(parts), resume):
        part = parts[number]
        users, faults = _users(part, scratch / f"{part.country}_{part.split}.users")
        if start is None:  # a resumed conversion has reported them already
            yield part.country, part.split, source.faults_alone(part.users, faults)
        kinds = {ITEM_SEARCH: csv_stream.NUMBER, LABEL: csv_stream.NUMBER}
        kinds.update(dict.fromkeys(ITEM_CATEGORICAL, csv_stream.TEXT))
        kinds.update(dict.fromkeys(ITEM_NUMERICAL, csv_stream.NUMBER))
        for chunk in csv_stream.chunks(
            part.items, kinds, csv_layout.Dialect(names=ITEM_COLUMNS), start=start
        ):
            chunk = _joined(source.in_unit(chunk, number), users, part)
            yield part.country, None if part.split == "train" else "test", chunk


def _users(part: _Part, path: pathlib.Path) -> "tuple[side_table.SideTable, list[bad_rows.Faults]]":
    """The user file by search, and its bad rows."""
    table = side_table.SideTable(path, USER_NUMERICAL, USER_CATEGORICAL)
    faults: list[bad_rows.Faults] = []
    kinds = {SEARCH: csv_stream.NUMBER, **dict.fromkeys(USER_NUMERICAL, csv_stream.NUMBER)}
    kinds.update(dict.fromkeys(USER_CATEGORICAL, csv_stream.TEXT))
    rows = []
    for chunk in csv_stream.chunks(part.users, kinds, csv_layout.Dialect(names=USER_COLUMNS)):
        chunk = as_numbers.only_numbers(_with_search(chunk, SEARCH), USER_NUMERICAL)
        columns: dict[str, Any] = {name: as_numbers.read(chunk, name) for name in USER_NUMERICAL}
        columns.update((name, chunk.columns[name]) for name in USER_CATEGORICAL)
        table.add(chunk.columns[SEARCH], columns)
        faults += chunk.faults
        rows.append(chunk.rows)
    table.freeze()
    if len(table.repeated):
        repeated = np.concatenate(rows)[table.repeated]
        faults.append(bad_rows.repeated("repeated_search", "search", SEARCH, part.users, repeated))
    return table, faults


def _with_search(chunk: source.RawChunk, column: str) -> source.RawChunk:
    """The chunk with its search ids as int64; rows without a whole number there become faults."""
    values = as_numbers.read_or_nan(chunk, column)
    bad = ~((np.abs(values) < 2.0**53) & (values == np.floor(values)))
    chunk = chunk.without(
        bad, "search_id", column, lambda _: "the search id is not a whole number; mend the value"
    )
    columns = {**chunk.columns, column: values[~bad].astype(np.int64)}
    return dataclasses.replace(chunk, columns=columns)


def _joined(chunk: source.RawChunk, users: side_table.SideTable, part: _Part) -> source.RawChunk:
    """Item rows with the columns of their search page and the labels."""
    chunk = _with_search(chunk, ITEM_SEARCH)
    positions = users.find(chunk.columns[ITEM_SEARCH])
    searches = chunk.columns[ITEM_SEARCH]
    chunk = chunk.without(
        positions < 0,
        "no_user_row",
        ITEM_SEARCH,
        lambda i: (
            f"the search {searches[i]} has no row in {part.users}; add it there, or leave "
            "the row out"
        ),
    )
    found = as_numbers.read_or_nan(chunk, LABEL)
    bad = ~np.isin(found, (0.0, 1.0, 2.0))
    chunk = chunk.without(
        bad,
        "label",
        LABEL,
        lambda i: (
            f"the label is {'empty or no number' if np.isnan(found[i]) else f'{found[i]:g}'}; "
            "it is 0 (shown), 1 (clicked) or 2 (bought)"
        ),
    )
    labels, positions = found[~bad], positions[positions >= 0][~bad]
    columns = {
        **chunk.columns,
        **users.columns(positions),
        "click": labels >= 1,
        "purchase": labels == 2,
    }
    return dataclasses.replace(chunk, columns=columns)
