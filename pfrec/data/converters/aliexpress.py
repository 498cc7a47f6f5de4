"""AliExpress, processed layout: `AliExpress_XX/{train,test}.csv`, one folder per country.

Columns: `search_id, categorical_1..16, numerical_1..63, click, conversion`. Country XX is a
scenario; `ctr` is click, `ctcvr` is conversion over all rows. `test.csv` is the test split; valid
is cut from `train.csv`. Source of the data: Li et al., "Improving Multi-Scenario Learning to Rank
in E-commerce by Exploiting Task Relationships in the Label Space", CIKM 2020.
"""

import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion.columns import as_numbers
from pfrec.data.conversion.toml import feature_tables
from pfrec.data.reading import csv_layout, csv_stream, raw_file, source

CATEGORICAL = tuple(f"categorical_{i}" for i in range(1, 17))
NUMERICAL = tuple(f"numerical_{i}" for i in range(1, 64))
GROUP = "search_id"
TASKS = (schema_lib.Task("ctr", "click"), schema_lib.Task("ctcvr", "conversion"))
FRACTIONS = (0.875, 0.125, 0.0)

_PREFIX = "AliExpress_"
_REMEDY = (
    "--input is a folder that holds AliExpress_XX/train.csv and AliExpress_XX/test.csv, or "
    "one AliExpress_XX itself"
)


def schema(cardinalities: Sequence[int]) -> schema_lib.Schema:
    """The schema of the layout; 16 cardinalities in column order.

    All tables may be shared: no column is a user.
    """
    return schema_lib.Schema(
        categorical=tuple(
            schema_lib.Categorical(name, cardinality, policy="shared")
            for name, cardinality in zip(CATEGORICAL, cardinalities)
        ),
        numerical=tuple(schema_lib.Numerical(name) for name in NUMERICAL),
        tasks=TASKS,
        group=GROUP,
    )


def open_source(path: pathlib.Path, settings: source.Settings = source.Settings()) -> source.Source:
    """Opens one or all countries; reads all files once, to learn how many ids there are.

    Raises:
      PfrecError: where a file or column is missing, or an id is no number.
    """
    settings.refuse("aliexpress", "schema", "sample_users", "tasks", "min_count")
    folders = _folders(path)
    splits = ("train", "test")
    parts = [
        (name, raw_file.RawFile(folder / f"{s}.csv"), s)
        for name, folder in folders.items()
        for s in splits
    ]
    files = [file for _, file, _ in parts]
    source.require_files([file.path for file in files], _REMEDY)
    for file in files:
        csv_layout.require_columns(
            file, [GROUP, *CATEGORICAL, *NUMERICAL, *(task.column for task in TASKS)]
        )
    paths = tuple(file.path for file in files)
    found = schema(
        source.remembered(settings.scratch, "cardinalities", paths, lambda: _cardinalities(files))
    )
    chunks = functools.partial(_chunks, parts, found)
    return source.Source(found, FRACTIONS, chunks, tuple(folders), files=paths)


def _folders(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Per scenario, in order of name, its folder."""
    source.require_directory(path, _REMEDY)
    path = path.resolve()
    folders = (
        [path]
        if path.name.startswith(_PREFIX)
        else sorted(p for p in path.glob(_PREFIX + "*") if p.is_dir())
    )
    if not folders:
        raise errors.PfrecError(f"{path}: holds no folder {_PREFIX}XX; {_REMEDY}")
    return {
        source.check_scenario_name(folder.name[len(_PREFIX) :], place=str(folder)): folder
        for folder in folders
    }


def _cardinalities(files: Sequence[raw_file.RawFile]) -> list[int]:
    """1 + the largest id of each categorical column over all files.

    What can be no id is left for the encoder to refuse.
    """
    largest = np.zeros(len(CATEGORICAL))
    for file in files:
        for chunk in csv_stream.chunks(file, dict.fromkeys(CATEGORICAL, csv_stream.NUMBER)):
            for i, name in enumerate(CATEGORICAL):
                values = as_numbers.read_or_nan(chunk, name)
                possible = (values < feature_tables.MAX_CARDINALITY) & (values == np.floor(values))
                largest[i] = max(largest[i], values[possible].max(initial=0))
    return [int(value) + 1 for value in largest]


def _chunks(
    parts: "Sequence[tuple[str, raw_file.RawFile, str]]",
    found: schema_lib.Schema,
    resume: Optional[Any],
) -> Iterator[source.Chunk]:
    kinds = csv_stream.column_kinds(found)
    for number, start in source.units_after(len(parts), resume):
        scenario, file, split = parts[number]
        for chunk in csv_stream.chunks(file, kinds, start=start):
            yield scenario, split if split == "test" else None, source.in_unit(chunk, number)
