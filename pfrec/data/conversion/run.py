"""Turns an opened source into a dataset directory: splits, encodes, writes,
and remembers now and then how far it came.
"""

import contextlib
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Optional

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.conversion import (
    appending,
    checkpoints,
    gathering,
    local_statistics,
    pieces,
    places,
    survey,
    work_directory,
)
from pfrec.data.conversion import options as options_lib
from pfrec.data.dataset import writer
from pfrec.data.reading import ahead, source

SECONDS_BETWEEN_CHECKPOINTS = 20.0


def run(
    open_source: Callable[[pathlib.Path], source.Source],
    source_format: str,
    output: pathlib.Path,
    options: options_lib.Options,
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
        state_file = work / work_directory.STATE_FILE
        raw = open_source(scratch)
        state = checkpoints.load(state_file, raw, output, source_format, options, before)
        raw, clients = _prepared(raw, options, state, before)
        taken = state["survey"]
        record = {
            "fractions": list(raw.fractions),
            "missing_numerical": options.missing_numerical,
            **options.record,
        }
        with contextlib.ExitStack() as stack:
            stack.enter_context(checkpoints.kept_quarantine(work, output))
            quarantine = stack.enter_context(checkpoints.quarantine(work, options, state))
            gathered = gathering.Gathering(raw, options, before, state, quarantine)
            target = stack.enter_context(
                writer.DatasetWriter(
                    output,
                    raw.schema if before is None else before.at_home(raw.schema),
                    source_format=source_format,
                    split_seed=options.split_seed,
                    scenarios=appending.order(before, taken["names"]),
                    options=record,
                    directory=work,
                    state=state["writer"],
                    shuffle=True,
                    kept=None if before is None else before.kept(),
                )
            )

            def checkpoint(position: Any, finished: bool) -> None:
                state.update(gathered.state(), writer=target.checkpoint())
                state.update(position=position, finished=finished)
                checkpoints.save(state_file, state)

            encoder = pieces.Encoder(raw, clients, options, before)
            next_checkpoint = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS
            with _encoded(raw, state, encoder) as encoded:
                for piece in encoded:
                    gathered.add(piece, target)
                    progress(piece.rows)
                    if piece.resume is not None and time.monotonic() >= next_checkpoint:
                        checkpoint(piece.resume, False)
                        next_checkpoint = time.monotonic() + SECONDS_BETWEEN_CHECKPOINTS
            if state["position"] is not None or options.resume:
                checkpoint(state["position"], True)
            if before is not None:
                clients = {name: before.at_home(known) for name, known in clients.items()}
            target.describe_clients(clients)
            if options.on_bad_row != "stop":
                target.record("bad_rows", gathered.bad.state())
            target.require_rows(sum(gathered.bad.counts.values()), _place(raw))
            warnings = gathered.record(taken, target)
    told = [f"WARNING: {line}" for line in warnings]
    return [*raw.notes, *taken["notes"], *gathered.notes(output), *told]


def _place(raw: source.Source) -> Optional[str]:
    """What was read, for messages: the file, or the folder of all; None of a table."""
    return os.path.commonpath(raw.files) if raw.files else None


def _prepared(
    raw: source.Source,
    options: options_lib.Options,
    state: "dict[str, Any]",
    before: Optional[appending.Before],
) -> "tuple[source.Source, dict[str, schema_lib.Schema]]":
    """The source with the schema that rows are encoded by, and each client's own, where it has
    one; what had to be learned of the rows is put into `state`.
    """
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
            rows = (
                (chunk, _trains(raw, options, split, chunk))
                for _, split, chunk in survey.chosen(raw, None, taken)
                if len(chunk)
            )
            grown = before.grown(raw.schema, rows, options.missing_numerical)
            state["schema"] = grown.to_json()
        grown = schema_lib.Schema.from_json(state["schema"], place="schema")
        raw = dataclasses.replace(raw, schema=grown)
    if "clients" not in state:
        state["clients"] = {
            name: value.to_json()
            for name, value in _client_schemas(raw, options, taken, before).items()
        }
    return raw, {
        name: schema_lib.Schema.from_json(value, place=name)
        for name, value in state["clients"].items()
    }


@contextlib.contextmanager
def _encoded(
    raw: source.Source, state: Mapping[str, Any], encoder: pieces.Encoder
) -> "Iterator[Iterator[pieces.Piece]]":
    """The chunks that are still to be converted, encoded ahead of their use."""
    with contextlib.closing(_remaining(raw, state)) as chunks:
        with contextlib.closing(ahead.mapped(encoder, chunks)) as encoded:
            yield encoded


def _remaining(raw: source.Source, state: Mapping[str, Any]) -> Generator[source.Chunk, None, None]:
    """The chunks that are still to be converted."""
    if not state["finished"]:
        yield from ahead.ahead(survey.chosen(raw, state["position"], state["survey"]))


def _client_schemas(
    raw: source.Source,
    options: options_lib.Options,
    taken: Mapping[str, Any],
    before: Optional[appending.Before],
) -> "dict[str, schema_lib.Schema]":
    """Reads all rows once where a feature's preprocessing is each client's own."""
    if not raw.schema.local:
        return {}
    training = _training(raw, options, taken)
    if before is None:
        return local_statistics.client_schemas(raw.schema, training, options.missing_numerical)
    where = places.of(raw.schema)
    start = {name: places.moved(known, where) for name, known in before.clients.items()}
    grow = before.unknown_ids == appending.GROW
    named = taken["names"]
    if not grow and named is not None and set(named) <= set(start):
        training = iter(())  # nothing is to be learned of them
    return local_statistics.client_schemas(
        raw.schema, training, options.missing_numerical, start, grow, "unknown"
    )


def _training(
    raw: source.Source, options: options_lib.Options, taken: Mapping[str, Any]
) -> "Iterator[tuple[str, source.RawChunk]]":
    """The raw training rows, chunk by chunk and scenario by scenario."""
    for scenario, split, chunk in survey.chosen(raw, None, taken):
        if not len(chunk) or split not in (None, "train"):
            continue
        if split is None:
            chunk = chunk.take(np.flatnonzero(_trains(raw, options, split, chunk)))
        yield from pieces.by_scenario(chunk) if scenario is None else [(scenario, chunk)]


def _trains(
    raw: source.Source, options: options_lib.Options, split: Optional[str], chunk: source.RawChunk
) -> np.ndarray:
    """Which rows of a chunk are for training, bool [rows]; `split` is that of all, if any."""
    if split is not None:
        return np.full(len(chunk), split == "train")
    places = chunk.places
    if places is None:
        places = splits.split_of(chunk.rows, options.split_seed, raw.fractions)
    return places == 0
