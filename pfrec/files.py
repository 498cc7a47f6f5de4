"""Files and directories that appear whole or not at all."""

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pfrec import errors

TEMPORARY_PREFIX = ".tmp-"
# Of a JSON file. A client's vocabularies are the largest of all.
_LARGEST_JSON = 1 << 30

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def readable_errors(path: pathlib.Path) -> Iterator[None]:
    """Turns an operating-system error on `path` into one line that names the remedy.

    Raises:
      PfrecError: where the body raises OSError (no space left, no permission, a missing directory).
    """
    try:
        yield
    except OSError as error:
        raise errors.PfrecError(f"{path}: {error.strerror or error}; {_remedy(error)}") from error


def _remedy(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free space or choose another path"
    if error.errno == errno.EFBIG:
        return "raise the limit on a file's size (`ulimit -f`) or choose another path"
    if error.errno == errno.ENAMETOOLONG:
        return "choose a shorter name"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "allow writing there or choose another path"
    if error.errno == errno.EMFILE:
        return "raise the limit with `ulimit -n`"
    return "choose another path"


class Lock:
    """Holds a directory for this process alone until it is released or the process ends, however it
    ends: the lock is the kernel's, and no file of it is left behind.

    Args:
      directory: made where it is not there.
      public: whether other users may read it where it is made, and go through all that is made
        above it, whatever the umask.

    Raises:
      PfrecError: where another process holds it.
    """

    def __init__(self, directory: pathlib.Path, *, public: bool = False) -> None:
        self._directory, self._made = directory, not directory.exists()
        with readable_errors(directory):
            for made in make_directory(directory, public=public):
                if public:
                    made.chmod(0o755)
            self._descriptor = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise errors.PfrecError(
                f"{directory}: another process is writing it; wait for that one to end"
            ) from None
        except OSError as error:
            # Some network file systems lock files alone.
            _log.warning("%s: cannot be locked (%s); let one process write it", directory, error)

    def release(self) -> None:
        """Lets another process hold it. A directory made for the lock that holds nothing goes."""
        if self._made and not any(self._directory.iterdir()):
            with contextlib.suppress(OSError):
                self._directory.rmdir()
        os.close(self._descriptor)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()


def sync(path: pathlib.Path) -> None:
    """Makes the file or directory entry at `path` survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(directory: pathlib.Path) -> None:
    """Makes every file and directory below `directory`, and itself, survive a power cut."""
    for path in sorted(directory.rglob("*")):
        sync(path)
    sync(directory)


def make_directory(path: pathlib.Path, *, public: bool = False) -> "list[pathlib.Path]":
    """Makes a directory and those above it that are missing, so that they survive a power cut; it
    is its owner's alone, whatever the umask, where it is not `public`. Returns what was made.
    """
    missing = [place for place in (path, *path.absolute().parents) if not place.exists()]
    for place in reversed(missing):
        private_one = place == path and not public
        place.mkdir(mode=0o700 if private_one else 0o755, exist_ok=True)
    for place in missing:
        sync(place.absolute().parent)
    return missing


def write_bytes(path: pathlib.Path, content: bytes, *, public: bool = False) -> None:
    """Writes a file under a temporary name and makes it visible by rename.

    Args:
      path: of the file.
      content: of it.
      public: whether other users may read it, whatever the umask; otherwise its owner alone.

    Raises:
      PfrecError: where the file cannot be written; nothing is left behind.
    """
    with readable_errors(path):
        make_directory(path.parent, public=public)
        descriptor, temporary = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, 0o644 if public else 0o600)
            os.replace(temporary, path)
        except BaseException:
            pathlib.Path(temporary).unlink(missing_ok=True)
            raise
        sync(path.parent)


def json_text(value: Any) -> str:
    """The project's one JSON form: sorted keys, two spaces, one newline at the end."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def write_json(path: pathlib.Path, value: Any, *, public: bool = False) -> None:
    """Writes `value` as sorted, stable JSON, whole or not at all; `public` as of `write_bytes`."""
    write_bytes(path, json_text(value).encode(), public=public)


def read_json(path: pathlib.Path, *, remedy: str) -> Any:
    """Reads JSON.

    Args:
      path: the file.
      remedy: what the user should do where the file is missing or damaged, as a clause.

    Raises:
      PfrecError: where the file is missing, unreadable or no JSON.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ValueError(f"{path.stat().st_size} bytes are no such file's")
        return parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise errors.PfrecError(f"{path}: no such file; {remedy}") from None
    except (OSError, ValueError) as error:
        raise errors.PfrecError(f"{path}: cannot be read ({error}); {remedy}") from error


def parse_json(text: "str | bytes") -> Any:
    """The value of a JSON text, of which NaN and infinity are no part.

    Raises:
      ValueError: where it is none, or nested deeper than any of ours.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_csv(path: pathlib.Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a comma-separated file, whole or not at all. Floats keep every digit."""
    write_bytes(path, (_csv_text([header]) + _csv_text(rows)).encode())


def append_csv(path: pathlib.Path, rows: Iterable[Sequence[Any]]) -> None:
    """Adds lines to a comma-separated file that `write_csv` began;
    a kill may cut the last one short.

    Raises:
      PfrecError: where it cannot be written.
    """
    with readable_errors(path), path.open("a", encoding="utf-8", newline="") as stream:
        stream.write(_csv_text(rows))
        stream.flush()
        os.fsync(stream.fileno())


def read_csv(path: pathlib.Path) -> "list[dict[str, Any]]":
    """The lines of a comma-separated file by column, without a last one that is cut short, maybe
    inside a letter.

    Raises:
      csv.Error, ValueError: where it is none.
    """
    return list(csv.DictReader(io.StringIO(whole_lines(path), newline="")))


def whole_lines(path: pathlib.Path) -> str:
    """The text of a file without a last line that is cut short, maybe inside a letter.

    Raises:
      ValueError: where it is none.
    """
    return path.read_bytes().rpartition(b"\n")[0].decode()


def _csv_text(rows: Iterable[Sequence[Any]]) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(
        [repr(float(v)) if isinstance(v, float) else v for v in row] for row in rows
    )
    return buffer.getvalue()


@contextlib.contextmanager
def whole_directory(path: pathlib.Path, *, replace: bool = False) -> Iterator[pathlib.Path]:
    """Yields a temporary directory beside `path` and renames it to `path` where the body succeeds.

    An existing empty directory at `path` is replaced; with `replace`, also one that holds
    something.

    Raises:
      PfrecError: where `path` is a file or a directory that is not empty, or cannot be written.
    """
    if not replace:
        require_empty(path)
    with readable_errors(path):
        make_directory(path.parent, public=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=path.parent))
        try:
            yield temporary
            sync_tree(temporary)
            private(temporary)
            if replace:
                shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync(path.parent)


def link(source: pathlib.Path, target: pathlib.Path) -> None:
    """Makes a file that exists appear at `target` too: as a link, or as a copy where the file
    system has none; what stood there is replaced.
    """
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def owners_alone(path: str, flags: int) -> int:
    """An opener for `open` whose files are their owner's alone, whatever the umask."""
    return os.open(path, flags, 0o600)


def private(directory: pathlib.Path) -> None:
    """Makes a directory and everything in it its owner's alone, whatever the umask was."""
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)


def require_empty(path: pathlib.Path, *, besides: Sequence[str] = ()) -> None:
    """Checks that `path` can become a new directory.

    Args:
      path: of the directory.
      besides: names of entries that may be there already, and then also what a kill left of them.

    Raises:
      PfrecError: where `path` is a file or a directory that is not empty.
    """
    if path.is_dir() and all(
        entry.name in besides or (besides and entry.name.startswith(TEMPORARY_PREFIX))
        for entry in path.iterdir()
    ):
        return
    if path.exists():
        raise errors.PfrecError(
            f"{path}: exists and is not an empty directory; choose another one or remove it"
        )


def sha256(path: pathlib.Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
