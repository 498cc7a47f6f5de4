"""KuaiRand (Pure, 1K): exposure logs joined with user and video features;
or one file of rows joined already.

`log_*.csv` with `user_features_*.csv` and `video_features_basic_*.csv`, in the folder or its
`data`. Scenario: the value of `tab` (`tab_0`, `tab_1`, `tab_2`, `tab_4`, `tab_6`; others are left
out unless named by --scenarios). Tasks: those of `click`, `long_view`, `like`, `follow`, `comment`,
`forward` that --tasks names; by default the first three, as far as there are columns. What happens
after an exposure (`play_time_ms`, `profile_stay_time`, `comment_stay_time`, the labels) is never a
feature, nor are the videos' statistics, which count outcomes of all days. Counts and lengths enter
as log(1 + value). Rows are split 70 : 10 : 20 by the hash of their place in their file; the group
is the user. Source of the data: Gao et al., "KuaiRand: An Unbiased Sequential Recommendation
Dataset", CIKM 2022.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional

import numpy as np

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion import local_statistics
from pfrec.data.conversion.columns import as_numbers
from pfrec.data.converters import tenrec
from pfrec.data.reading import column_text, csv_layout, csv_stream, raw_file, side_table, source

FRACTIONS = (0.7, 0.1, 0.2)
TABS = ("0", "1", "2", "4", "6")
LABELS = {
    "click": "is_click",
    "long_view": "long_view",
    "like": "is_like",
    "follow": "is_follow",
    "comment": "is_comment",
    "forward": "is_forward",
}
DEFAULT_TASKS = ("click", "long_view", "like")
ID_BUCKETS = 1 << 20
MAX_VOCABULARY = 10_000

USER_TEXTS = (
    *(
        "user_active_degree",
        "is_lowactive_period",
        "is_live_streamer",
        "is_video_author",
        "follow_user_num_range",
    ),
    *(
        "fans_user_num_range",
        "friend_user_num_range",
        "register_days_range",
        *(f"onehot_feat{i}" for i in range(18)),
    ),
)
USER_NUMBERS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
VIDEO_TEXTS = (
    "author_id",
    "video_type",
    "upload_type",
    "visible_status",
    "music_id",
    "music_type",
    "tag",
)
VIDEO_NUMBERS = ("video_duration", "server_width", "server_height")
LOG_NUMBERS = ("duration_ms",)

# A video's tags are a list; by name the separator, and how many values count.
_LISTS = {"tag": (",", 8)}
_HASHED = {
    "user_id": ID_BUCKETS,
    "video_id": ID_BUCKETS,
    "author_id": ID_BUCKETS,
    "music_id": ID_BUCKETS,
}
_REMEDY = (
    "--input is a KuaiRand folder with log_*.csv, user_features_*.csv and "
    "video_features_basic_*.csv (in it or in its data folder), "
    "or a CSV file of joined rows"
)


def open_source(path: pathlib.Path, settings: source.Settings = source.Settings()) -> source.Source:
    """Opens the logs, or a file of joined rows; reads features once, to learn their values.

    Raises:
      PfrecError: where a file or column is missing.
    """
    settings.refuse("kuairand", "schema", "min_count")
    logs, users, videos = _files(path)
    # Everything that may be read, as text: what numbers are is decided below.
    tables = {
        kind: _columns(file)
        for kind, file in (("user", users), ("video", videos))
        if file is not None
    }
    in_log = [_columns(file) for file in logs]
    known = {
        name for names in in_log[:1] for name in names if all(name in other for other in in_log)
    }
    for name in ("user_id", "video_id", "tab"):
        if name not in known:
            raise errors.PfrecError(f"{logs[0]}: no column {name!r}; {_REMEDY}")
    everything = known.union(*tables.values())
    texts = [name for name in (*USER_TEXTS, *VIDEO_TEXTS) if name in everything]
    numbers = [name for name in (*USER_NUMBERS, *VIDEO_NUMBERS, *LOG_NUMBERS) if name in everything]
    tasks = _tasks(settings.tasks, known, logs[0])
    reader = _Reader(
        logs, users, videos, texts, numbers, tuple(LABELS[task] for task in tasks), settings
    )
    schema = schema_lib.Schema(
        categorical=tuple(
            _feature(name, reader.vocabularies()) for name in ("user_id", "video_id", *texts)
        ),
        numerical=tuple(schema_lib.Numerical(name) for name in numbers),
        tasks=tuple(schema_lib.Task(task, LABELS[task]) for task in tasks),
        group="user_id",
    )
    note = f"rows of tabs other than {', '.join(reader.tabs)} are left out"
    paths = tuple(file.path for file in (*logs, users, videos) if file is not None)
    return source.Source(schema, FRACTIONS, reader.chunks, None, (note,), paths, chose=True)


def _files(
    path: pathlib.Path,
) -> "tuple[list[raw_file.RawFile], Optional[raw_file.RawFile], Optional[raw_file.RawFile]]":
    """The logs, and the user and video files (None where rows are joined already)."""
    if path.is_file():
        return [raw_file.RawFile(path)], None, None
    source.require_directory(path, _REMEDY)
    folder = path / "data" if (path / "data").is_dir() else path

    def matching(start: str) -> list[raw_file.RawFile]:
        found = sorted(p for p in folder.glob(f"{start}*") if p.name.endswith((".csv", ".csv.gz")))
        return [raw_file.RawFile(p) for p in found]

    logs, users, videos = (
        matching("log_"),
        matching("user_features_"),
        matching("video_features_basic_"),
    )
    if not logs:
        joined = matching("")
        if len(joined) == 1:
            return joined, None, None
        raise errors.PfrecError(f"{folder}: holds no log_*.csv; {_REMEDY}")
    for what, found in (("user_features_*.csv", users), ("video_features_basic_*.csv", videos)):
        if len(found) != 1:
            raise errors.PfrecError(
                f"{folder}: holds {len(found)} files {what} where one belongs; {_REMEDY}"
            )
    return logs, users[0], videos[0]


def _columns(file: raw_file.RawFile) -> list[str]:
    return csv_layout.header(file)


def _tasks(chosen: Sequence[str], known: "set[str]", file: raw_file.RawFile) -> tuple[str, ...]:
    for task in chosen:
        if task not in LABELS:
            raise errors.PfrecError(f"--tasks: {task!r} is not one of {', '.join(LABELS)}")
        if LABELS[task] not in known:
            raise errors.PfrecError(
                f"{file}: no column {LABELS[task]!r} for the task {task!r}; change --tasks"
            )
    tasks = tuple(chosen) or tuple(task for task in DEFAULT_TASKS if LABELS[task] in known)
    if not tasks:
        raise errors.PfrecError(
            f"{file}: no label column ({', '.join(LABELS.values())}); {_REMEDY}"
        )
    return tasks


def _feature(name: str, vocabularies: "Mapping[str, tuple[str, ...]]") -> schema_lib.Categorical:
    policy = "private" if name == "user_id" else "shared"
    if name in _HASHED:
        return schema_lib.Categorical(name, _HASHED[name], policy, "hash")
    words = vocabularies[name]
    separator, values = _LISTS.get(name, ("", 1))
    if len(words) > MAX_VOCABULARY:
        return schema_lib.Categorical(
            name, MAX_VOCABULARY, policy, "hash", values=values, separator=separator
        )
    return schema_lib.Categorical(
        name, max(len(words), 1), policy, "vocabulary", words, values=values, separator=separator
    )


def _words(name: str, texts: Sequence[str]) -> tuple[str, ...]:
    """The values in the texts of a column, in order."""
    words = set(texts)
    if name in _LISTS:
        words = {word.strip() for text in texts for word in text.split(_LISTS[name][0])}
    return tuple(sorted(words - {""}))


class _Reader:
    """Reads the logs and joins features."""

    def __init__(
        self,
        logs: Sequence[raw_file.RawFile],
        users: Optional[raw_file.RawFile],
        videos: Optional[raw_file.RawFile],
        texts: Sequence[str],
        numbers: Sequence[str],
        labels: Sequence[str],
        settings: source.Settings,
    ) -> None:
        self._logs, self._texts, self._numbers, self._labels, self._settings = (
            logs,
            texts,
            numbers,
            labels,
            settings,
        )
        self.tabs = (
            tuple(name[4:] if name.startswith("tab_") else name for name in settings.scenarios)
            or TABS
        )
        self._tables: list[tuple[str, raw_file.RawFile, side_table.SideTable]] = []
        for key, file in (("user_id", users), ("video_id", videos)):
            if file is not None:
                self._tables.append(
                    (key, file, self._table(key, file, settings.tables / f"{key}.table"))
                )
        self._joined = {name for _, _, table in self._tables for name in table.names}

    def vocabularies(self) -> dict[str, tuple[str, ...]]:
        """The values of each text column, in order: of the feature files,
        or of all rows where they are joined already.
        """
        if self._tables:
            found = {
                name: table.distinct(name)
                for _, _, table in self._tables
                for name in table.names
                if name in self._texts
            }
            return {name: _words(name, texts) for name, texts in found.items()}
        counts = {name: local_statistics.Vocabulary() for name in self._texts}
        for _, _, chunk in self.chunks(None):
            for name in self._texts:
                counts[name].add(column_text.of(chunk.columns[name]))
        return {
            name: _words(name, vocabulary.words(1 << 30, 1)) for name, vocabulary in counts.items()
        }

    def chunks(self, resume: Optional[Any]) -> Iterator[source.Chunk]:
        own = [name for name in (*self._texts, *self._numbers) if name not in self._joined]
        kinds = {"user_id": csv_stream.TEXT, "video_id": csv_stream.TEXT, "tab": csv_stream.TEXT}
        kinds.update(
            (name, csv_stream.NUMBER if name in self._numbers else csv_stream.TEXT) for name in own
        )
        kinds.update(dict.fromkeys(self._labels, csv_stream.NUMBER))
        for number, start in source.units_after(len(self._logs), resume):
            for chunk in csv_stream.chunks(self._logs[number], kinds, start=start):
                yield None, None, self._with_features(source.in_unit(chunk, number), own)

    def _with_features(self, chunk: source.RawChunk, own: Sequence[str]) -> source.RawChunk:
        import pyarrow as pa
        from pyarrow import compute

        tabs = column_text.of(chunk.columns["tab"])
        keep = compute.is_in(tabs, value_set=pa.array(self.tabs)).to_numpy(zero_copy_only=False)
        chunk = chunk.take(np.flatnonzero(keep))
        if self._settings.sample_users < 1:
            chunk = chunk.take(
                np.flatnonzero(tenrec.sampled(chunk.columns["user_id"], self._settings))
            )
        chunk = as_numbers.only_numbers(chunk, [name for name in own if name in self._numbers])
        chunk = dataclasses.replace(chunk, columns=_prepared(chunk, own, self._numbers))
        for key, file, table in self._tables:
            chunk = _joined(chunk, key, file, table)
        names = compute.binary_join_element_wise("tab", column_text.of(chunk.columns["tab"]), "_")
        return dataclasses.replace(chunk, scenario=names)

    def _table(self, key: str, file: raw_file.RawFile, path: pathlib.Path) -> side_table.SideTable:
        """A feature file, by user or video.

        Its rows must all be good: they are few and each stands for many.
        """
        present = set(csv_layout.header(file))
        names = [name for name in (*self._texts, *self._numbers) if name in present]
        table = side_table.SideTable(
            path,
            [name for name in names if name in self._numbers],
            [name for name in names if name in self._texts],
        )
        kinds = {key: csv_stream.NUMBER}
        kinds.update(
            (name, csv_stream.NUMBER if name in self._numbers else csv_stream.TEXT)
            for name in names
        )
        for chunk in csv_stream.chunks(file, kinds):
            if chunk.faults:
                raise errors.PfrecError(chunk.faults[0].message(0))
            keys = as_numbers.read(chunk, key)
            if not (keys == np.floor(keys)).all():
                position = int(np.argmin(keys == np.floor(keys)))
                raise errors.PfrecError(
                    f"{chunk.origin(int(chunk.rows[position])).place(key)}: not a whole number; "
                    "mend the value"
                )
            table.add(keys.astype(np.int64), _prepared(chunk, names, self._numbers))
        table.freeze()
        if len(table.repeated):
            raise errors.PfrecError(
                f"{file}: row {table.repeated[0]}, column {key!r}: stands in an earlier row too; "
                "remove one"
            )
        return table


def _prepared(
    chunk: source.RawChunk, names: Sequence[str], numbers: Sequence[str]
) -> dict[str, Any]:
    """The chunk's columns with `names` as features: numbers as log(1 + value), whole numbers in
    texts without a decimal point.
    """
    from pyarrow import compute

    columns = dict(chunk.columns)
    for name in names:
        if name in numbers:
            columns[name] = np.log1p(np.maximum(as_numbers.read(chunk, name), 0.0))
        else:
            columns[name] = compute.replace_substring_regex(
                column_text.of(columns[name]), r"^(-?[0-9]+)\.0+$", r"\1"
            )
    return columns


def _joined(
    chunk: source.RawChunk, key: str, file: raw_file.RawFile, table: side_table.SideTable
) -> source.RawChunk:
    """The chunk with the columns of `table`; rows whose key it lacks become faults."""
    keys = as_numbers.read_or_nan(chunk, key)
    texts = column_text.of(chunk.columns[key])
    whole = (np.abs(keys) < 2.0**53) & (keys == np.floor(keys))
    positions = np.where(whole, table.find(np.where(whole, keys, -1).astype(np.int64)), -1)
    chunk = chunk.without(
        positions < 0,
        "no_feature_row",
        key,
        lambda i: f"{texts[i].as_py()!r} has no row in {file}; add it there, or leave the row out",
    )
    return dataclasses.replace(
        chunk, columns={**chunk.columns, **table.columns(positions[positions >= 0])}
    )
