"""What a conversion writes and counts: rows into the dataset, and what is told of them."""

import collections
import pathlib
from collections.abc import Mapping
from typing import IO, Any, Optional

from pfrec.data import schema as schema_lib
from pfrec.data import splits
from pfrec.data.conversion import appending, checkpoints, pieces, repeats, watch
from pfrec.data.conversion import options as options_lib
from pfrec.data.dataset import writer
from pfrec.data.reading import bad_rows, source


class Gathering:
    """Hands encoded rows to the writer and counts what becomes of them.

    Attributes:
      bad: the bad rows.
    """

    def __init__(
        self,
        raw: source.Source,
        options: options_lib.Options,
        before: Optional[appending.Before],
        state: Mapping[str, Any],
        quarantine: Optional[IO[str]],
    ) -> None:
        """Starts where the `state` of a checkpoint says."""
        self.bad = bad_rows.BadRows(options.on_bad_row, quarantine, state["bad_rows"])
        self._raw, self._before, self._quarantine = raw, before, quarantine
        self._imputed: collections.Counter[str] = collections.Counter(state["imputed"])
        self._contrary: collections.Counter[str] = collections.Counter(state["contrary"])
        self._watched = None if raw.survey is None else watch.Watch(raw.schema, state["watch"])
        contents, rows = state["contents"], state["rows"]  # None of an earlier version
        self._contents = None if contents is None else repeats.Contents(contents)
        self._tally = None if before is None else appending.Tally(before, state["tally"])
        self._rows = None if rows is None else collections.Counter[str](rows)

    def add(self, piece: pieces.Piece, target: writer.DatasetWriter) -> None:
        """Hands the rows of a chunk to the writer, and counts them.

        Raises:
          PfrecError: at a bad row, where those stop the conversion.
        """
        self._contrary.update(piece.contrary)
        self.bad.add(piece.faults)
        self._imputed.update(piece.imputed)
        if self._watched is not None:
            self._watched.empty.update(piece.empty)
            self._watched.rounded.update(piece.rounded)
        for part in piece.parts:
            if self._rows is not None:
                self._rows[part.scenario] += len(part.rows)
            if self._tally is not None:
                self._tally.add(part.scenario, part.rows, part.schema)
            if self._watched is not None and part.prints is not None:
                self._watched.add(part.rows, part.places, part.prints)
                if self._contents is not None:
                    self._contents.add(part.scenario, part.prints)
            if part.split is not None:
                target.add(part.scenario, part.split, part.rows)
                continue
            for place, split in enumerate(splits.SPLITS):
                target.add(part.scenario, split, part.rows.take(part.places == place))

    def state(self) -> "dict[str, Any]":
        """What a checkpoint keeps, a JSON value."""
        return {
            "imputed": dict(self._imputed),
            "contrary": dict(self._contrary),
            "bad_rows": self.bad.state(),
            "quarantine_bytes": checkpoints.flushed(self._quarantine),
            "watch": None if self._watched is None else self._watched.state(),
            "tally": None if self._tally is None else self._tally.state(),
            "rows": None if self._rows is None else dict(self._rows),
            "contents": None if self._contents is None else self._contents.state(),
        }

    def record(self, taken: Mapping[str, Any], target: writer.DatasetWriter) -> "list[str]":
        """Tells the dataset file what is known of the rows; the warnings in it.

        Args:
          taken: what `survey.take` found.
          target: the dataset's writer.

        Raises:
          PfrecError: where the rows are in the dataset of before already.
        """
        against = [*_against(self._raw.schema, self._contrary), *self._repeated()]
        warnings = self._record_own(taken, against, target)
        if self._before is not None and self._tally is not None:
            target.record("appended", self._tally.record())
            called = {**self._before.data.scenario_values, **taken["values"]}
            if self._before.keep_rows and called:
                target.record("scenario_values", called)
        return warnings

    def _record_own(
        self, taken: Mapping[str, Any], against: "list[str]", target: writer.DatasetWriter
    ) -> "list[str]":
        """What is known of a user's own files; the warnings, with those `against` labels."""
        for key, value in self._raw.own.items():
            target.record(key, value)
        if taken["values"]:
            target.record("scenario_values", taken["values"])
        if self._watched is None:
            return against
        warnings = [*self._watched.warnings(), *against]
        if warnings:
            target.record("warnings", warnings)
        earlier = self._before.inputs if self._before and self._before.keep_rows else []
        own = [] if self._contents is None else [self._contents.state()]
        target.record("inputs", [*earlier, *own])
        told = {"kind": "hash"} if self._raw.splitter is None else self._raw.splitter.record()
        target.record("split", {**told, "repeated": self._watched.leakage()})
        return warnings

    def _repeated(self) -> "list[str]":
        """A line where new rows are in the dataset of before already."""
        if self._before is None or self._watched is None:
            return []
        contents = {} if self._contents is None else self._contents.state()
        return repeats.find(self._before, contents, *self._watched.sample)

    def notes(self, output: pathlib.Path) -> "list[str]":
        """Lines for the user, of a dataset that is written to `output`."""
        notes = [
            f"{column}: {count:,} missing values imputed"
            for column, count in sorted(self._imputed.items())
        ]
        notes += [
            f"bad rows left out, {reason}: {count:,}"
            for reason, count in sorted(self.bad.counts.items())
        ]
        if self._quarantine is not None and self.bad.counts:
            notes.append(f"bad rows are in {output / bad_rows.QUARANTINE_FILE}")
        if self._before is not None and self._tally is not None:
            notes += self._before.notes(self._raw.schema)
            notes += [] if self._rows is None else self._before.compared(self._rows)
            notes += self._tally.notes()
        return notes


def _against(schema: schema_lib.Schema, contrary: Mapping[str, int]) -> "list[str]":
    """A line for each conditional task whose label is 1 where its condition is not."""
    return [
        f"{task.column!r} is 1 in {contrary[task.name]:,} rows where {task.given} is not: there "
        f"{task.name} counts as unobserved; check both columns, or leave `given` out of its task"
        for task in schema.tasks
        if contrary.get(task.name)
    ]
