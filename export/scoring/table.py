"""What is written of scored rows: which columns, and a file that appears whole or not at all."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional

import numpy as np

from pfrec import errors, files
from pfrec.data import schema as schema_lib

ENDINGS = (".csv", ".parquet")


def columns(schema: schema_lib.Schema) -> "tuple[str, ...]":
    """The names of the probability columns, in order: `p_TASK` for every task, and before it
    `p_TASK_given_CONDITION` where the task has a condition.
    """
    names = ((_conditional(task), _whole(task)) for task in schema.tasks)
    return tuple(name for both in names for name in both if name is not None)


def _conditional(task: schema_lib.Task) -> Optional[str]:
    return None if task.given is None else f"p_{task.name}_given_{task.given}"


def _whole(task: schema_lib.Task) -> str:
    return f"p_{task.name}"


def probabilities(
    schema: schema_lib.Schema, predicted: Mapping[str, np.ndarray]
) -> "dict[str, np.ndarray]":
    """The probability columns of scored rows.

    Formula: a model says of a task what it is given its condition; with the conditions c1, c2, ...
    of task t in turn, `P(t) = P(t | c1) * P(c1 | c2) * ...`.

    Args:
      schema: whose tasks were predicted.
      predicted: float32 [rows] by task.

    Returns:
      float32 [rows] by column, those of `columns`.
    """
    given = {task.name: task.given for task in schema.tasks}
    found: dict[str, np.ndarray] = {}
    for task in schema.tasks:
        total, condition = np.float64(1.0) * predicted[task.name], task.given
        conditional = _conditional(task)
        if conditional is not None:
            found[conditional] = predicted[task.name]
        for _ in schema.tasks:  # a chain of conditions is at most as long as there are tasks
            if condition is None:
                break
            total, condition = total * predicted[condition], given[condition]
        found[_whole(task)] = total.astype(np.float32)
    return found


def require_new(path: pathlib.Path) -> None:
    """Checks that a file can be written at `path`, by its ending as CSV or as Parquet.

    Raises:
      PfrecError: where it has another ending, or is there already.
    """
    if path.suffix not in ENDINGS:
        raise errors.PfrecError(f"{path}: neither .csv nor .parquet; give --output such a name")
    if path.exists():
        raise errors.PfrecError(f"{path}: exists; choose another --output or remove it")


@contextlib.contextmanager
def writing(path: pathlib.Path) -> "Iterator[Callable[[Any], None]]":
    """Yields a function that adds an Arrow table to the file; the file, its owner's alone, is there
    where the body succeeds, and nothing is left where it does not.

    Raises:
      PfrecError: where it cannot be written, another process writes it or has written it, or a
        table has other columns than the first.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    temporary = path.with_name(f"{files.TEMPORARY_PREFIX}{path.name}")
    writers: list[Any] = []

    def add(table: Any) -> None:
        if not writers:
            make = parquet.ParquetWriter if path.suffix == ".parquet" else arrow_csv.CSVWriter
            writers.append(make(str(temporary), table.schema))
        try:
            kind = writers[0].schema if path.suffix == ".parquet" else None
            writers[0].write_table(table if kind is None else table.cast(kind))
        except (pa.ArrowException, ValueError) as error:
            raise errors.PfrecError(
                f"{path}: a column is of another type than in the file before "
                f"({' '.join(str(error).split())}); mend the input"
            ) from error

    with files.readable_errors(path), _held(temporary, path):
        try:
            # By now another process may have ended that had not when this one began.
            require_new(path)
            yield add
            if not writers:
                raise errors.PfrecError(f"{path}: there is no row to score; check --input")
            writers.pop().close()
            files.sync(temporary)
            os.replace(temporary, path)
        except BaseException:
            for writer in writers:
                writer.close()
            temporary.unlink(missing_ok=True)
            raise
        # A temporary file of this name is another process's from here on.
        files.sync(path.absolute().parent)


def _no_link(path: str, flags: int) -> int:
    return files.owners_alone(path, flags | os.O_NOFOLLOW)


@contextlib.contextmanager
def _held(temporary: pathlib.Path, path: pathlib.Path) -> "Iterator[None]":
    """Makes the file that becomes the one at `path` and holds it for this process alone; one that a
    killed process left is taken.

    Raises:
      PfrecError: where another process writes it.
    """
    files.make_directory(path.parent, public=True)
    with open(temporary, "ab", opener=_no_link) as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Of a process that ended meanwhile this is the finished file, or a removed one.
            mine = os.path.samestat(os.fstat(stream.fileno()), os.stat(temporary))
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            raise errors.PfrecError(
                f"{path}: another process is writing it; wait for that one to end"
            )
        os.fchmod(stream.fileno(), 0o600)
        yield
