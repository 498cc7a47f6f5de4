"""The directory in which a conversion works: beside its output, kept by a kill, removed by an
error, renamed when all is done.
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import Iterator

from pfrec import errors, files

STATE_FILE = "conversion.json"
SCRATCH = ".scratch"  # No scenario has this name.


class KeptError(errors.PfrecError):
    """An error after which an interrupted conversion can still be resumed."""


def place(output: pathlib.Path) -> pathlib.Path:
    """Where the conversion into `output` works."""
    output = output.absolute()
    return output.with_name(f"{files.TEMPORARY_PREFIX}{output.name}-conversion")


@contextlib.contextmanager
def working(output: pathlib.Path, *, resume: bool) -> Iterator[pathlib.Path]:
    """Yields the working directory, locked, and renames it to `output` where the body succeeds.

    A kill or an interrupt leaves it, to be resumed. Any other exception removes it.

    Args:
      output: the directory to make; must not exist or be empty.
      resume: whether to keep what an interrupted conversion left.

    Raises:
      PfrecError: where `output` exists and is not empty, cannot be written, or is being written by
        another process.
    """
    files.require_empty(output)
    directory = place(output)
    with files.readable_errors(output):
        files.make_directory(directory)
        lock = os.open(directory, os.O_RDONLY)
        try:
            _lock(lock, directory, output)
            if not resume:
                _clear(directory)
            # What a kill left of a file that was being written, which nobody goes on with.
            for leftover in directory.rglob(f"{files.TEMPORARY_PREFIX}*"):
                leftover.unlink(missing_ok=True)
            try:
                yield directory
                shutil.rmtree(directory / SCRATCH, ignore_errors=True)
                (directory / STATE_FILE).unlink(missing_ok=True)
                files.sync_tree(directory)
                os.replace(directory, output)
            except KeptError:
                raise
            except Exception:
                shutil.rmtree(directory, ignore_errors=True)
                raise
            files.sync(output.absolute().parent)
        finally:
            os.close(lock)


def _lock(lock: int, directory: pathlib.Path, output: pathlib.Path) -> None:
    busy = errors.PfrecError(f"{output}: another pfrec-convert is writing it; wait for it to end")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise busy from None
    # The other one may have finished, and the name may be another directory's by now.
    if not directory.exists() or not os.path.samestat(os.fstat(lock), directory.stat()):
        raise busy


def _clear(directory: pathlib.Path) -> None:
    for path in directory.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
