"""AliExpress, processed layout: `AliExpress_XX/{train,test}.csv`, one folder per country.

Columns: `search_id, categorical_1..16, numerical_1..63, click, conversion`. Country XX is a scenario; `ctr` is click, `ctcvr` is
conversion over all rows. `test.csv` is the test split; valid is cut from `train.csv`. Source of the data: Li et al., "Improving
Multi-Scenario Learning to Rank in E-commerce by Exploiting Task Relationships in the Label Space", CIKM 2020.
"""

import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Optional

import numpy as np

from pfrec import errors
from pfrec.data import csv_stream, encoding, source, toml_schema
from pfrec.data import schema as schema_lib

CATEGORICAL = tuple(f"categorical_{i}" for i in range(1, 17))
NUMERICAL = tuple(f"numerical_{i}" for i in range(1, 64))
GROUP = "search_id"
TASKS = (schema_lib.Task("ctr", "click"), schema_lib.Task("ctcvr", "conversion"))
FRACTIONS = (0.875, 0.125, 0.0)

_PREFIX = "AliExpress_"
_REMEDY = "--input is a folder that holds AliExpress_XX/train.csv and AliExpress_XX/test.csv, or one AliExpress_XX itself"


def schema(cardinalities: Sequence[int]) -> schema_lib.Schema:
    """The schema of the layout; 16 cardinalities in column order. All tables may be shared: no column is a user."""
    return schema_lib.Schema(
        categorical=tuple(
            schema_lib.Categorical(name, cardinality, policy="shared") for name, cardinality in zip(CATEGORICAL, cardinalities)
        ),
        numerical=tuple(schema_lib.Numerical(name) for name in NUMERICAL),
        tasks=TASKS,
        group=GROUP,
    )


def open_source(path: pathlib.Path, schema_path: Optional[pathlib.Path] = None) -> source.Source:
    """Opens one or all countries; reads all files once, to learn how many ids there are.

    Raises:
      PfrecError: where a file or column is missing, or an id is no number.
    """
    if schema_path is not None:
        raise errors.PfrecError("--schema: the aliexpress format has its own schema; leave the flag out")
    folders = _folders(path)
    files = [folder / name for folder in folders.values() for name in ("train.csv", "test.csv")]
    source.require_files(files, _REMEDY)
    for file in files:
        csv_stream.require_columns(file, [GROUP, *CATEGORICAL, *NUMERICAL, *(task.column for task in TASKS)])
    found = schema(_cardinalities(files))
    return source.Source(found, FRACTIONS, functools.partial(_chunks, folders, found), tuple(folders))


def _folders(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Per scenario, in order of name, its folder."""
    source.require_directory(path, _REMEDY)
    path = path.resolve()
    folders = [path] if path.name.startswith(_PREFIX) else sorted(p for p in path.glob(_PREFIX + "*") if p.is_dir())
    if not folders:
        raise errors.PfrecError(f"{path}: holds no folder {_PREFIX}XX; {_REMEDY}")
    return {source.check_scenario_name(folder.name[len(_PREFIX) :], place=str(folder)): folder for folder in folders}


def _cardinalities(files: "list[pathlib.Path]") -> list[int]:
    """1 + the largest id of each categorical column over all files."""
    largest = np.zeros(len(CATEGORICAL))
    for file in files:
        for chunk in csv_stream.chunks(file, dict.fromkeys(CATEGORICAL, csv_stream.NUMBER)):
            for i, name in enumerate(CATEGORICAL):
                values = encoding.numbers(chunk, name)
                largest[i] = np.fmax.reduce(values, initial=largest[i])
                if not largest[i] < toml_schema.MAX_CARDINALITY:
                    position = int(np.nanargmax(values))
                    raise errors.PfrecError(f"{chunk.place(position, name)}: the id {largest[i]:g} is too large; mend the value")
    return [int(value) + 1 for value in largest]


def _chunks(folders: Mapping[str, pathlib.Path], found: schema_lib.Schema) -> Iterator[tuple[str, Optional[str], source.RawChunk]]:
    kinds = csv_stream.column_kinds(found)
    for scenario, folder in folders.items():
        for file, split in (("train.csv", None), ("test.csv", "test")):
            for chunk in csv_stream.chunks(folder / file, kinds):
                yield scenario, split, chunk
