"""Tenrec: `{QK,QB}-{video,article}.csv`, each with a header; a file is a scenario,
`\\N` a missing value.

Tasks `click`, `like`, `share`, `follow` (and `favorite`, `read` in QK-article). Video files hold
all exposures. Article files hold clicked items alone, so a `click` task there is refused;
QB-article has no other label. Outcomes (`watching_times`, `read_time`, `read_percentage` and the
labels) are never features. Rows are split 70 : 10 : 20 by the hash of their place in the file. The
group is the user. Source of the data: Yuan et al., "Tenrec: A Large-scale Multipurpose Benchmark
Dataset for Recommender Systems", NeurIPS 2022.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.conversion.columns import as_numbers
from pfrec.data.reading import column_text, csv_layout, csv_stream, raw_file, source

FRACTIONS = (0.7, 0.1, 0.2)
SCENARIOS = ("QK-video", "QB-video", "QK-article", "QB-article")
DEFAULT_TASKS = ("click", "like", "share", "follow")
LABELS = {
    "QK-video": ("click", "follow", "like", "share"),
    "QB-video": ("click", "follow", "like", "share"),
    "QK-article": ("click", "read", "share", "like", "follow", "favorite"),
    "QB-article": ("click",),
}
# Buckets of user and item identifiers, the same in every file, so that they mean the same
# everywhere.
ID_BUCKETS = 1 << 20

_VIDEO = ("user_id", "item_id", "video_category", "gender", "age")
_ARTICLE = ("user_id", "item_id", "category_first", "category_second", "gender", "age")
_ARTICLE_NUMBERS = (
    "exposure_count",
    "click_count",
    "like_count",
    "comment_count",
    "item_score1",
    "item_score2",
    "item_score3",
)
_CODES = {"gender": 10, "age": 20, "video_category": 100}
_HASHED = {
    "user_id": ID_BUCKETS,
    "item_id": ID_BUCKETS,
    "category_first": 1 << 10,
    "category_second": 1 << 12,
}
_DIALECT = csv_layout.Dialect(nulls=("\\N",))
_REMEDY = (
    f"--input is a folder with some of {', '.join(f'{name}.csv' for name in SCENARIOS)}, or "
    "one of these files"
)


def open_source(path: pathlib.Path, settings: source.Settings = source.Settings()) -> source.Source:
    """Opens the files that `settings.scenarios` names, or all that are there.

    Raises:
      PfrecError: where a file or column is missing, or a task has no meaning in a scenario.
    """
    settings.refuse("tenrec", "schema", "min_count")
    files = _files(path, settings.scenarios)
    tasks = settings.tasks or DEFAULT_TASKS
    for scenario, file in files.items():
        _check_tasks(scenario, file, tasks)
    found = schema(tuple(files), tasks)
    kinds = {**csv_stream.column_kinds(found), **dict.fromkeys(_CODES, csv_stream.NUMBER)}
    kinds = {
        name: kind
        for name, kind in kinds.items()
        if any(name == f.name for f in found.categorical) or name not in _CODES
    }
    for file in files.values():
        csv_layout.require_columns(file, list(kinds), _DIALECT)
    notes = []
    if settings.sample_users < 1:
        notes.append(
            f"rows of {settings.sample_users:.3g} of all users are kept, chosen by the hash of the "
            f"user and seed {settings.seed}"
        )
    chunks = functools.partial(_chunks, files, kinds, settings)
    return source.Source(
        found,
        FRACTIONS,
        chunks,
        tuple(files),
        tuple(notes),
        tuple(file.path for file in files.values()),
        chose=True,
    )


def schema(scenarios: Sequence[str], tasks: Sequence[str]) -> schema_lib.Schema:
    """The schema of the features that all `scenarios` have. Only the user's table is private."""
    names: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    videos = [scenario.endswith("video") for scenario in scenarios]
    if all(videos):
        names = _VIDEO
    elif any(videos):
        names = tuple(name for name in _VIDEO if name in _ARTICLE)
    else:
        names, numbers = _ARTICLE, _ARTICLE_NUMBERS

    def feature(name: str) -> schema_lib.Categorical:
        policy = "private" if name == "user_id" else "shared"
        if name in _HASHED:
            return schema_lib.Categorical(name, _HASHED[name], policy, "hash")
        words = tuple(map(str, range(_CODES[name])))
        return schema_lib.Categorical(name, len(words), policy, "vocabulary", words)

    return schema_lib.Schema(
        categorical=tuple(map(feature, names)),
        numerical=tuple(schema_lib.Numerical(name) for name in numbers),
        tasks=tuple(schema_lib.Task(task, task) for task in tasks),
        group="user_id",
    )


def sampled(users: Any, settings: source.Settings) -> np.ndarray:
    """Which rows to keep, bool [rows]: those of the users that the seed chooses,
    the same users in every file.
    """
    keys = column_text.hash_bucket(column_text.of(users), 2**63 - 1)
    return splits.uniform_of(keys, settings.seed) < settings.sample_users


def _files(path: pathlib.Path, chosen: Sequence[str]) -> "dict[str, raw_file.RawFile]":
    for name in chosen:
        if name not in SCENARIOS:
            raise errors.PfrecError(f"--scenarios: {name!r} is not one of {', '.join(SCENARIOS)}")
    if path.is_file():
        file = raw_file.RawFile(path)
        if file.stem not in SCENARIOS:
            raise errors.PfrecError(f"{path}: not named as a Tenrec file; {_REMEDY}")
        return {file.stem: file}
    source.require_directory(path, _REMEDY)
    found = {}
    for name in SCENARIOS:
        present = [
            path / f"{name}{ending}"
            for ending in (".csv", ".csv.gz")
            if (path / f"{name}{ending}").is_file()
        ]
        if present and (not chosen or name in chosen):
            found[name] = raw_file.RawFile(present[0])
        if not present and name in chosen:
            raise errors.PfrecError(f"{path / f'{name}.csv'}: no such file; {_REMEDY}")
    if not found:
        raise errors.PfrecError(f"{path}: holds no Tenrec file; {_REMEDY}")
    return found


def _check_tasks(scenario: str, file: raw_file.RawFile, tasks: Sequence[str]) -> None:
    if scenario.endswith("article") and "click" in tasks:
        raise errors.PfrecError(
            f"{file}: article files hold clicks only, so a click task has no negative rows; "
            "pass --tasks=like,share,follow, or the video files alone with "
            "--scenarios=QK-video,QB-video"
        )
    for task in tasks:
        if task not in LABELS[scenario]:
            others = [
                label
                for label in LABELS[scenario]
                if label != "click" or scenario.endswith("video")
            ]
            raise errors.PfrecError(
                f"--tasks: {scenario} has no label {task!r}; it has "
                f"{', '.join(others) or 'none that can be a task'}; "
                "change --tasks or --scenarios"
            )


def _chunks(
    files: "dict[str, raw_file.RawFile]",
    kinds: "dict[str, str]",
    settings: source.Settings,
    resume: Optional[Any],
) -> Iterator[source.Chunk]:
    scenarios = list(files)
    for number, start in source.units_after(len(scenarios), resume):
        for chunk in csv_stream.chunks(files[scenarios[number]], kinds, _DIALECT, start=start):
            chunk = source.in_unit(chunk, number)
            if settings.sample_users < 1:
                chunk = chunk.take(np.flatnonzero(sampled(chunk.columns["user_id"], settings)))
            codes = [name for name in _CODES if name in chunk.columns]
            chunk = as_numbers.only_numbers(chunk, codes)
            columns = {
                name: as_numbers.read(chunk, name) for name in codes
            }  # so that 1 and 1.0 are the same word
            yield (
                scenarios[number],
                None,
                dataclasses.replace(chunk, columns={**chunk.columns, **columns}),
            )
