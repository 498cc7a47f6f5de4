"""Turns an opened source into a dataset directory: splits, encodes, writes,
and remembers now and then how far it came.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import pathlib
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import IO, Any, Optional

import numpy as np

from pfrec import errors, files
from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.conversion import (
    appending,
    encoding,
    local_statistics,
    survey,
    watch,
    work_directory,
)
from pfrec.data.dataset import row_block, shards, writer
from pfrec.data.reading import ahead, bad_rows, source

SECONDS_BETWEEN_CHECKPOINTS = 20.0


@dataclasses.dataclass(frozen=True)
class Options:
    """How rows are treated, whatever their format.

    Attributes:
      split_seed: seed of the hash that splits rows.
      missing_numerical: see `encoding.encode`.
      on_bad_row: `stop` at the first bad row, `skip` bad rows, or put them in `quarantine`.
      resume: whether to go on with an interrupted conversion.
      record: further settings that the rows depend on, by name, for the record.
      scenarios: the scenarios to keep; none for all.
      min_rows: scenarios with fewer rows are left out.
    """

    split_seed: int = 0
    missing_numerical: str = "reject"
    on_bad_row: str = "stop"
    resume: bool = False
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    scenarios: tuple[str, ...] = ()
    min_rows: int = 0


def run(
    open_source: Callable[[pathlib.Path], source.Source],
    source_format: str,
    output: pathlib.Path,
    options: Options,
    progress: Callable[[int], None],
    before: Optional[appending.Before] = None,
) -> list[str]:
    """Converts a source.

    Args:
      open_source: opens it; receives a directory for intermediate files.
      source_format: its name, for the record.
      output: the dataset directory; must not exist or be empty.
      options: how rows are treated.
      progress: is told how many rows were read, chunk by chunk.
      before: the dataset whose further rows these are; the source's schema is its.

    Returns:
      Notes for the user, a line each.

    Raises:
      PfrecError: where the input does not fit or the output cannot be written; nothing is left
        behind then.
    """
    with work_directory.working(output, resume=options.resume) as work:
        scratch = work / work_directory.SCRATCH
        scratch.mkdir(exist_ok=True)
        raw = open_source(scratch)
        state = _state(
            work / work_directory.STATE_FILE, raw, output, source_format, options, before
        )
        if "survey" not in state:
            whole = before.data.scenarios if before is not None and before.keep_rows else ()
            state["survey"] = survey.take(
                raw, options.split_seed, options.scenarios, options.min_rows, whole
            )
        elif raw.splitter is not None:
            raw.splitter.restore(state["survey"]["starts"])
        taken = state["survey"]
        if before is not None:
            if "schema" not in state:
                training = _training(raw, options, taken)
                state["schema"] = before.grown(training, options.missing_numerical).to_json()
            grown = schema_lib.Schema.from_json(state["schema"], place="schema")
            raw = dataclasses.replace(raw, schema=grown)
        if "clients" not in state:
            state["clients"] = {
                name: value.to_json()
                for name, value in _client_schemas(raw, options, taken, before).items()
            }
        clients = {
            name: schema_lib.Schema.from_json(value, place=name)
            for name, value in state["clients"].items()
        }
        record = {
            "fractions": list(raw.fractions),
            "missing_numerical": options.missing_numerical,
            **options.record,
        }
        with _kept_quarantine(work, output), _quarantine(work, options, state) as quarantine:
            bad = bad_rows.BadRows(options.on_bad_row, quarantine, state["bad_rows"])
            imputed: collections.Counter[str] = collections.Counter(state["imputed"])
            contrary: collections.Counter[str] = collections.Counter(state["contrary"])
            watched = None if raw.survey is None else watch.Watch(raw.schema, state["watch"])
            tally = None if before is None else appending.Tally(before, state["tally"])
            with writer.DatasetWriter(
                output,
                raw.schema,
                source_format=source_format,
                split_seed=options.split_seed,
                scenarios=appending.order(before, taken["names"]),
                options=record,
                directory=work,
                state=state["writer"],
                shuffle=True,
                kept=None if before is None else before.kept(),
            ) as target:
                next_checkpoint = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS

                def checkpoint(position: Any, finished: bool) -> None:
                    state.update(
                        position=position,
                        finished=finished,
                        writer=target.checkpoint(),
                        imputed=dict(imputed),
                        contrary=dict(contrary),
                    )
                    state.update(bad_rows=bad.state(), quarantine_bytes=_flushed(quarantine))
                    state.update(watch=None if watched is None else watched.state())
                    state.update(tally=None if tally is None else tally.state())
                    kept = {**state, "sha256": _digest(state)}
                    files.write_json(work / work_directory.STATE_FILE, kept)

                encode = functools.partial(
                    _encoded, raw=raw, clients=clients, options=options, before=before
                )
                with contextlib.ExitStack() as stack:
                    chunks = stack.enter_context(contextlib.closing(_remaining(raw, state)))
                    encoded = stack.enter_context(contextlib.closing(ahead.mapped(encode, chunks)))
                    for done in encoded:
                        contrary.update(done.contrary)
                        _write(done, bad, imputed, target, watched, tally)
                        progress(done.rows)
                        if done.resume is not None and time.monotonic() >= next_checkpoint:
                            checkpoint(done.resume, False)
                            next_checkpoint = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS
                if state["position"] is not None or options.resume:
                    checkpoint(state["position"], True)
                target.describe_clients(clients)
                if options.on_bad_row != "stop":
                    target.record("bad_rows", bad.state())
                target.require_rows(sum(bad.counts.values()))
                against = _against(raw.schema, contrary)
                warnings = _record(raw, taken, watched, against, target)
                if before is not None and tally is not None:
                    target.record("appended", tally.record())
                    called = {**before.data.scenario_values, **taken["values"]}
                    if before.keep_rows and called:
                        target.record("scenario_values", called)
    notes = [
        f"{column}: {count:,} missing values imputed" for column, count in sorted(imputed.items())
    ]
    notes += [
        f"bad rows left out, {reason}: {count:,}" for reason, count in sorted(bad.counts.items())
    ]
    if options.on_bad_row == "quarantine" and bad.counts:
        notes.append(f"bad rows are in {output / bad_rows.QUARANTINE_FILE}")
    if before is not None and tally is not None:
        notes += [*before.notes, *tally.notes()]
    return [*raw.notes, *taken["notes"], *notes, *(f"WARNING: {line}" for line in warnings)]


def _record(
    raw: source.Source,
    taken: Mapping[str, Any],
    watched: Optional[watch.Watch],
    against: "list[str]",
    target: writer.DatasetWriter,
) -> "list[str]":
    """Tells the dataset file what is known of a user's own files; the warnings in it, with those
    `against` labels.
    """
    for key, value in raw.own.items():
        target.record(key, value)
    if taken["values"]:
        target.record("scenario_values", taken["values"])
    if watched is None:
        return against
    warnings = [*watched.warnings(), *against]
    if warnings:
        target.record("warnings", warnings)
    told = {"kind": "hash"} if raw.splitter is None else raw.splitter.record()
    target.record("split", {**told, "repeated": watched.leakage()})
    return warnings


def _against(schema: schema_lib.Schema, contrary: Mapping[str, int]) -> "list[str]":
    """A line for each conditional task whose label is 1 where its condition is not."""
    return [
        f"{task.column!r} is 1 in {contrary[task.name]:,} rows where {task.given} is not: there "
        f"{task.name} counts as unobserved; check both columns, or leave `given` out of its task"
        for task in schema.tasks
        if contrary.get(task.name)
    ]


def _remaining(raw: source.Source, state: Mapping[str, Any]) -> Generator[source.Chunk, None, None]:
    """The chunks that are still to be converted."""
    if not state["finished"]:
        yield from ahead.ahead(survey.chosen(raw, state["position"], state["survey"]))


@dataclasses.dataclass(frozen=True)
class _Part:
    """Encoded rows of a scenario.

    Attributes:
      scenario: its name.
      split: of all rows, where the source names it.
      rows: the rows.
      places: the split of each, int8 [rows].
      schema: that they were encoded by.
      prints: `watch.fingerprints`, where rows are watched.
    """

    scenario: str
    split: Optional[str]
    rows: row_block.Rows
    places: np.ndarray
    schema: schema_lib.Schema
    prints: Optional[np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Done:
    """What became of a chunk."""

    rows: int
    resume: Optional[Any]
    faults: "tuple[bad_rows.Faults, ...]"
    imputed: "collections.Counter[str]"
    contrary: "collections.Counter[str]"
    parts: "tuple[_Part, ...]"


def _encoded(
    piece: source.Chunk,
    raw: source.Source,
    clients: Mapping[str, schema_lib.Schema],
    options: Options,
    before: Optional[appending.Before],
) -> _Done:
    """Encodes a chunk; a function of it alone, so that threads may do it in any order."""
    scenario, split, chunk = piece
    imputed: collections.Counter[str] = collections.Counter()
    contrary: collections.Counter[str] = collections.Counter()
    if not len(chunk):
        return _Done(0, chunk.resume, chunk.faults, imputed, contrary, ())
    if scenario is None and (clients or before is not None):
        parts: list[tuple[Optional[str], source.RawChunk]] = list(_by_scenario(chunk))
    else:
        parts = [(scenario, chunk)]
    faults, done = list(chunk.faults), []
    for name, part in parts:
        schema = raw.schema if name is None else clients.get(name, raw.schema)
        encoded = encoding.encode_good(
            part,
            schema,
            missing_numerical=options.missing_numerical,
            beyond="bad" if before is None else "unknown",
        )
        faults += encoded.faults
        imputed.update(encoded.imputed)
        contrary.update(encoded.contrary)
        all_good = encoded.good.all()
        numbers = part.rows if all_good else part.rows[encoded.good]
        for found, index in [(name, None)] if name is not None else _codes(part, encoded.good):
            rows = encoded.rows if index is None else encoded.rows.take(index)
            assert found is not None
            if split is not None:
                places = np.full(len(rows), splits.SPLITS.index(split), np.int8)
                prints = watch.fingerprints(found, rows) if raw.survey else None
                done.append(_Part(found, split, rows, places, schema, prints))
                continue
            own = numbers if index is None else numbers[index]
            if part.places is None:
                places = splits.split_of(own, options.split_seed, raw.fractions)
            else:
                places = part.places[encoded.good]
                places = places if index is None else places[index]
            prints = watch.fingerprints(found, rows) if raw.survey else None
            done.append(_Part(found, None, rows, places, schema, prints))
    return _Done(len(chunk), chunk.resume, tuple(faults), imputed, contrary, tuple(done))


def _write(
    done: _Done,
    bad: bad_rows.BadRows,
    imputed: "collections.Counter[str]",
    target: writer.DatasetWriter,
    watched: Optional[watch.Watch],
    tally: Optional[appending.Tally],
) -> None:
    """Hands the rows of a chunk to the writer, and counts them."""
    bad.add(done.faults)
    imputed.update(done.imputed)
    for part in done.parts:
        if tally is not None:
            tally.add(part.scenario, part.rows, part.schema)
        if watched is not None and part.prints is not None:
            watched.add(part.rows, part.places, part.prints)
        if part.split is not None:
            target.add(part.scenario, part.split, part.rows)
            continue
        for place, split in enumerate(splits.SPLITS):
            target.add(part.scenario, split, part.rows.take(part.places == place))


def _codes(
    chunk: source.RawChunk, good: np.ndarray
) -> "Iterator[tuple[str, Optional[np.ndarray]]]":
    """Per scenario of a chunk, the positions of its rows among the good ones."""
    assert chunk.scenario is not None
    encoded = chunk.scenario.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)[good]
    for code, name in enumerate(encoded.dictionary.to_pylist()):
        index = np.flatnonzero(codes == code)
        if len(index):
            yield name, None if len(index) == len(codes) else index


def _by_scenario(chunk: source.RawChunk) -> "Iterator[tuple[str, source.RawChunk]]":
    """The rows of each scenario in a chunk, in their order."""
    for name, index in _codes(chunk, np.ones(len(chunk), bool)):
        yield name, chunk if index is None else chunk.take(index)


def _client_schemas(
    raw: source.Source,
    options: Options,
    taken: Mapping[str, Any],
    before: Optional[appending.Before],
) -> "dict[str, schema_lib.Schema]":
    """Reads all rows once where a feature's preprocessing is each client's own."""
    if not raw.schema.local:
        return {}
    training = _training(raw, options, taken)
    if before is None:
        return local_statistics.client_schemas(raw.schema, training, options.missing_numerical)
    start = {name: before.data.client_schema(name) for name in before.data.scenarios}
    grow = before.unknown_ids == appending.GROW
    named = taken["names"]
    if not grow and named is not None and set(named) <= set(start):
        training = iter(())  # nothing is to be learned of them
    return local_statistics.client_schemas(
        raw.schema, training, options.missing_numerical, start, grow, "unknown"
    )


def _training(
    raw: source.Source, options: Options, taken: Mapping[str, Any]
) -> "Iterator[tuple[str, source.RawChunk]]":
    """The raw training rows, chunk by chunk and scenario by scenario."""
    for scenario, split, chunk in survey.chosen(raw, None, taken):
        if not len(chunk):
            continue
        if split is None:
            places = chunk.places
            if places is None:
                places = splits.split_of(chunk.rows, options.split_seed, raw.fractions)
            chunk = chunk.take(np.flatnonzero(places == 0))
        elif split != "train":
            continue
        yield from _by_scenario(chunk) if scenario is None else [(scenario, chunk)]


def _state(
    path: pathlib.Path,
    raw: source.Source,
    output: pathlib.Path,
    source_format: str,
    options: Options,
    before: Optional[appending.Before],
) -> dict[str, Any]:
    """What the last checkpoint says, or the start of a conversion.

    Raises:
      PfrecError: where the checkpoint is of other data or settings.
    """
    told = {
        "format": source_format,
        "schema": raw.schema.to_json(),
        "fractions": list(raw.fractions),
        "options": {
            **dataclasses.asdict(dataclasses.replace(options, resume=False)),
            "record": dict(options.record),
        },
        "files": [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in raw.files],
    }
    if before is not None:
        told["before"] = before.told
    inputs = _digest(told)
    if options.resume and path.exists():
        remedy = f"remove {path.parent}, or convert without --resume"
        state = files.read_json(path, remedy=remedy)
        if not isinstance(state, dict) or state.get("inputs") != inputs:
            raise work_directory.KeptError(
                f"{output}: its conversion was begun with other flags or files; resume with the "
                "same, or leave --resume out"
            )
        if state.pop("sha256", None) != _digest(state):
            raise work_directory.KeptError(
                f"{path}: damaged (its content does not have the checksum it states); {remedy}"
            )
        return state
    for leftover in path.parent.glob(f"*/*{shards.COLLECTED}*"):
        leftover.unlink()
    start: dict[str, Any] = {
        "watch": None,
        "tally": None,
        "inputs": inputs,
        "position": None,
        "finished": False,
        "writer": None,
        "imputed": {},
        "contrary": {},
        "bad_rows": None,
    }
    return {**start, "quarantine_bytes": 0}


def _digest(value: Any) -> str:
    return hashlib.sha256(files.json_text(value).encode()).hexdigest()


@contextlib.contextmanager
def _kept_quarantine(work: pathlib.Path, output: pathlib.Path) -> Iterator[None]:
    """Keeps the file of bad rows beside the output where the conversion is refused."""
    try:
        yield
    except errors.PfrecError as error:
        path = work / bad_rows.QUARANTINE_FILE
        if not path.exists() or not path.stat().st_size:
            raise
        kept = output.with_name(f"{output.name}-{bad_rows.QUARANTINE_FILE}")
        with files.readable_errors(kept):
            shutil.copyfile(path, kept)
        raise errors.PfrecError(f"{error}; bad rows are in {kept}") from error


@contextlib.contextmanager
def _quarantine(
    work: pathlib.Path, options: Options, state: Mapping[str, Any]
) -> Iterator[Optional[IO[str]]]:
    """The file of bad rows, cut to what the last checkpoint knows."""
    if options.on_bad_row != "quarantine":
        yield None
        return
    path = work / bad_rows.QUARANTINE_FILE
    with files.readable_errors(path):
        with path.open("ab") as stream:
            stream.truncate(state["quarantine_bytes"])
        with path.open("a", encoding="utf-8", newline="") as text:
            yield text


def _flushed(stream: Optional[IO[str]]) -> int:
    """Makes the file of bad rows survive a kill; its size in bytes."""
    if stream is None:
        return 0
    stream.flush()
    path = pathlib.Path(stream.name)
    files.sync(path)
    return path.stat().st_size
