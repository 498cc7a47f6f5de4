"""A user's own CSV files, described by a TOML schema (see `pfrec.data.conversion.toml_schema`).

The input is a file, or a folder whose files, and those of the folders in it, are read in order of
name (`pfrec.data.reading.folder`); columns may stand in another order in each. A column names the
scenario of each row, or each file is a scenario of its own, named by its stem. A row's split
follows from its number in its file, unless the schema says otherwise.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Optional

from pfrec import errors
from pfrec.data import splits
from pfrec.data.conversion import history, splitting, toml_schema
from pfrec.data.conversion.columns import as_text
from pfrec.data.reading import column_text, csv_layout, csv_stream, dialects, folder, source


def open_source(path: pathlib.Path, settings: source.Settings = source.Settings()) -> source.Source:
    """Opens CSV files.

    Raises:
      PfrecError: where the schema or a file is missing or wrong, or a file lacks a column.
    """
    settings.refuse("csv", "sample_users", "tasks", "min_count")
    described = read_schema(settings, "csv")
    inputs, notes = folder.find(path, folder.CSV_ENDINGS, "CSV")
    own = OwnFiles(described, inputs, settings.seed)
    files: list[dialects.File] = []
    for entry in inputs:
        wanted = [n for n in own.kinds if n not in entry.keys and n not in own.may_lack]
        numbers = [name for name in wanted if own.kinds[name] == csv_stream.NUMBER]
        file, dialect = dialects.settled(entry.file, described.dialect, wanted, numbers)
        csv_layout.require_columns(file, wanted, dialect, lacking_remedy(settings))
        own.has(entry, csv_layout.header(file, dialect))
        files.append((file, dialect))
    notes += dialects.notes(files, described.dialect)

    def read(number: int, columns: Sequence[str], start: Any) -> Iterator[source.RawChunk]:
        file, dialect = files[number]
        kinds = {name: own.kinds[name] for name in columns}
        return csv_stream.chunks(file, kinds, dialect, start=start)

    return own.opened(read, notes)


def read_schema(settings: source.Settings, source_format: str) -> toml_schema.TomlSchema:
    """The schema that the user gave.

    Raises:
      PfrecError: where none was given, or it is wrong.
    """
    if settings.schema is None and settings.before is None:
        raise errors.PfrecError(
            f"--schema: the {source_format} format needs one; pass --schema=S.toml"
        )
    given = None if settings.schema is None else toml_schema.read(settings.schema)
    described = given if settings.before is None else settings.before.described(given)
    assert described is not None
    dialect = dataclasses.replace(described.dialect, **settings.layout)
    return dataclasses.replace(described, dialect=dialect)


def lacking_remedy(settings: source.Settings) -> str:
    """What to do where a file lacks a column, as a clause."""
    if settings.before is None or settings.schema is not None:
        return "mend the schema, or add the column to the file, empty where nothing is known"
    return (
        "mend the file, or where a column is called otherwise now, pass --schema with the "
        'dataset\'s features and tasks, and `column = "..."` for its new name'
    )


class OwnFiles:
    """A user's own files of whatever format: which columns are read, and the scenario of each row.

    Attributes:
      kinds: the columns to read, and how (`csv_stream.column_kinds`).
      may_lack: label columns that a file need not have: where an empty label is an unobserved one,
        so is that of a file without the column, as of a scenario that does not serve the task.
    """

    def __init__(
        self, described: toml_schema.TomlSchema, inputs: Sequence[folder.Input], seed: int
    ) -> None:
        """Names the scenarios, where each file is one.

        Raises:
          PfrecError: where two files name the same scenario.
        """
        self._described, self._inputs, self._seed = described, inputs, seed
        self.kinds = csv_stream.column_kinds(described.schema)
        self._histories = [
            history.History(rule, described.schema.tasks) for rule in described.histories
        ]
        for rule in described.histories:
            del self.kinds[rule.column]
            for name in (rule.user, rule.time):
                self.kinds.setdefault(name, csv_stream.TEXT)
        self._made = not self._histories
        tasks = described.schema.tasks
        needed = {task.column for task in tasks if task.missing != "unobserved"}
        features = {feature.raw for feature in described.schema.categorical}
        features |= {column.raw for column in described.schema.numerical}
        self.may_lack = {task.column for task in tasks} - needed - features
        self._lacking: dict[str, set[str]] = {}
        self._light = [described.schema.tasks[0].column]
        if described.scenario_column is not None:
            self.kinds[described.scenario_column] = csv_stream.TEXT
            self._light.append(described.scenario_column)
        self._rule = described.rule
        if self._rule is not None and self._rule.column:
            # Text in every file: a number that is none elsewhere must not change what is read here.
            self.kinds.setdefault(self._rule.column, csv_stream.TEXT)
            self._light.append(self._rule.column)
        self._splits = [self._split(entry) for entry in inputs]
        # Of a vocabulary that itself tells 17.0 from 17 the words are taken as they are.
        self._texts = {
            feature.raw
            for feature in described.schema.categorical
            if not any(column_text.POINTED.fullmatch(word) for word in feature.vocabulary or ())
        }
        if described.schema.group is not None:
            self._texts.add(described.schema.group)
        self._texts = {name for name in self._texts if self.kinds.get(name) == csv_stream.TEXT}
        self._scenarios = [described.aliases.get(e.parts[-1], e.parts[-1]) for e in inputs]
        if described.scenario_column is None:
            keys = list(zip(self._scenarios, self._splits))
            for (scenario, _), entry, key in zip(keys, inputs, keys):
                if keys.count(key) > 1:
                    raise errors.PfrecError(
                        f"{entry.file}: another file names the scenario {scenario!r} too; rename "
                        "one or name a scenario column"
                    )

    def has(self, entry: folder.Input, columns: Sequence[str]) -> None:
        """Says which columns a file has."""
        lacking = self.may_lack.difference(columns, entry.keys)
        self._lacking[str(entry.file)] = lacking

    def _split(self, entry: folder.Input) -> Optional[str]:
        """The split that a file's folders or its name tell, where the schema says that they do.

        Raises:
          PfrecError: where they tell none.
        """
        if self._rule is None or self._rule.kind != splitting.FILES:
            return None
        for part in entry.parts:
            for word in (part, part.split("=")[-1]):
                if word.lower() in splitting.WORDS:
                    return splits.SPLITS[splitting.WORDS[word.lower()]]
        raise errors.PfrecError(
            f"{entry.file}: neither it nor a folder of it is called train, valid or test, as "
            "files = true under [split] wants; rename it, or leave files out"
        )

    def _fractions(self) -> "tuple[float, float, float]":
        """The parts of rows that no file's split decides: without valid files, some of train."""
        train, valid, test = self._described.fractions
        return (train, valid, test) if None in self._splits else (1 - valid, valid, 0.0)

    def opened(self, read: Any, notes: Sequence[str], *, on_disk: bool = True) -> source.Source:
        """The opened source; `read` starts an iteration over the chunks of a file, by its number,
        the columns to read and where to go on.
        """
        described = self._described
        per_file = described.scenario_column is None
        return source.Source(
            described.schema,
            self._fractions(),
            functools.partial(self._with_histories, read),
            tuple(dict.fromkeys(self._scenarios)) if per_file else None,
            tuple(notes),
            tuple(dict.fromkeys(e.file.path for e in self._inputs)) if on_disk else (),
            survey=functools.partial(self._chunks, read, list(dict.fromkeys(self._light)), None),
            splitter=self._splitter(),
            own={"reading": toml_schema.record(described)},
        )

    def _splitter(self) -> Optional[splitting.Splitter]:
        if self._rule is None or self._rule.kind == splitting.FILES:
            return None
        return splitting.Splitter(self._rule, self._seed, self._described.fractions)

    def _with_histories(self, read: Any, resume: Optional[Any]) -> Iterator[source.Chunk]:
        """The chunks with the columns that are made from the log; that is read once before."""
        if not self._made:
            needed = [name for made in self._histories for name in made.columns()]
            needed += [name for name in self._light if name not in needed]
            for scenario, _, chunk in self._chunks(read, list(dict.fromkeys(needed)), None):
                for made in self._histories if len(chunk) else ():
                    made.see(chunk, scenario)
            for made in self._histories:
                made.close()
            self._made = True
        for scenario, split, chunk in self._chunks(read, list(self.kinds), resume):
            for made in self._histories:
                chunk = made.attached(chunk, scenario)
            yield scenario, split, chunk

    def _chunks(
        self, read: Any, columns: Sequence[str], resume: Optional[Any]
    ) -> Iterator[source.Chunk]:
        for number, start in source.units_after(len(self._inputs), resume):
            entry = self._inputs[number]
            keys = {k: v for k, v in entry.keys.items() if k in columns}
            keys.update(
                dict.fromkeys(self._lacking.get(str(entry.file), set()).intersection(columns))
            )
            for chunk in read(number, [name for name in columns if name not in keys], start):
                chunk = self._prepared(source.in_unit(chunk, number), keys)
                split = self._splits[number]
                if split == "train" and "valid" not in self._splits:
                    split = None
                if self._described.scenario_column is None:
                    yield self._scenarios[number], split, chunk
                else:
                    yield None, split, self._with_scenario(chunk)

    def _prepared(
        self, chunk: source.RawChunk, keys: "dict[str, Optional[str]]"
    ) -> source.RawChunk:
        """The chunk with partition keys as columns, and ids that mean the same as the same text."""
        import pyarrow as pa

        columns = dict(chunk.columns)
        for name, value in keys.items():
            columns[name] = pa.array([value] * len(chunk), pa.string())
        for name in self._texts.intersection(columns):
            columns[name] = column_text.canonical(columns[name])
        return dataclasses.replace(chunk, columns=columns)

    def _with_scenario(self, chunk: source.RawChunk) -> source.RawChunk:
        """The chunk with `scenario` from its column; rows without one become faults."""
        column = self._described.scenario_column
        assert column is not None
        import pyarrow as pa
        from pyarrow import compute

        values = compute.utf8_trim_whitespace(as_text.read(chunk, column))
        encoded = values.dictionary_encode()
        aliases = self._described.aliases
        meant = [aliases.get(value, value) for value in encoded.dictionary.to_pylist()]
        taken = pa.array(meant, pa.string()).take(encoded.indices)
        chunk = dataclasses.replace(chunk, scenario=taken)
        label = self._light[0]
        again = compute.and_(
            compute.equal(values, column), compute.equal(as_text.read(chunk, label), label)
        ).to_numpy(zero_copy_only=False)
        what = "the name of the column stands here again; remove the line"
        chunk = chunk.without(again, "header", column, lambda _: what)
        empty = compute.equal(chunk.scenario, "").to_numpy(zero_copy_only=False)
        return chunk.without(
            empty, "scenario_missing", column, lambda _: "the scenario is empty; fill it in"
        )
