"""What an interrupted conversion goes on from: its state, and its file of bad rows."""

import contextlib
import dataclasses
import hashlib
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import IO, Any, Optional

from pfrec import errors, files
from pfrec.data.conversion import appending, work_directory
from pfrec.data.conversion import options as options_lib
from pfrec.data.dataset import shards
from pfrec.data.reading import bad_rows, source


def load(
    path: pathlib.Path,
    raw: source.Source,
    output: pathlib.Path,
    source_format: str,
    options: options_lib.Options,
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
        # Not known of a version that did not count them: those of the rest are not those of all.
        return {"rows": None, "contents": None, **state}
    for leftover in path.parent.glob(f"*/*{shards.COLLECTED}*"):
        leftover.unlink()
    start: dict[str, Any] = {
        "watch": None,
        "tally": None,
        "rows": {},
        "contents": {},
        "inputs": inputs,
        "position": None,
        "finished": False,
        "writer": None,
        "imputed": {},
        "contrary": {},
        "bad_rows": None,
    }
    return {**start, "quarantine_bytes": 0}


def save(path: pathlib.Path, state: Mapping[str, Any]) -> None:
    """Writes the state with its checksum."""
    files.write_json(path, {**state, "sha256": _digest(state)})


def _digest(value: Any) -> str:
    return hashlib.sha256(files.json_text(value).encode()).hexdigest()


@contextlib.contextmanager
def kept_quarantine(work: pathlib.Path, output: pathlib.Path) -> Iterator[None]:
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
def quarantine(
    work: pathlib.Path, options: options_lib.Options, state: Mapping[str, Any]
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


def flushed(stream: Optional[IO[str]]) -> int:
    """Makes the file of bad rows survive a kill; its size in bytes."""
    if stream is None:
        return 0
    stream.flush()
    path = pathlib.Path(stream.name)
    files.sync(path)
    return path.stat().st_size
