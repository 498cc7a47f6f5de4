"""Raw files as they lie: plain, gzipped, or inside zip archives,
which may stand inside each other.
"""

import contextlib
import dataclasses
import gzip
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any

from pfrec import errors

_DAMAGE = (
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    NotImplementedError,
    RuntimeError,
)


@dataclasses.dataclass(frozen=True, order=True)
class RawFile:
    """A file to read.

    Attributes:
      path: the file on disk.
      members: names to follow inside zip archives, outermost first; empty for a plain or gzipped
        file.
    """

    path: pathlib.Path
    members: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "/".join([str(self.path), *self.members])

    @property
    def name(self) -> str:
        """The last part of its name."""
        return pathlib.PurePosixPath(self.members[-1]).name if self.members else self.path.name

    @property
    def stem(self) -> str:
        """Its name without `.gz` and without the ending before that."""
        name = self.name[:-3] if self.name.endswith(".gz") else self.name
        return pathlib.PurePosixPath(name).stem

    @contextlib.contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Yields its bytes as a stream, decompressed as it is read.

        Seeking backwards decompresses from the start again.

        Raises:
          PfrecError: where it cannot be opened, or what it holds is damaged, also while the body
            reads.
        """
        with readable(self), contextlib.ExitStack() as stack:
            stream: Any = stack.enter_context(self.path.open("rb"))
            for member in self.members:
                stream = stack.enter_context(
                    stack.enter_context(zipfile.ZipFile(stream)).open(member)
                )
            if self.name.endswith(".gz"):
                stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
            yield stream


@contextlib.contextmanager
def readable(file: Any) -> Iterator[None]:
    """Turns what reading `file` raises into one line.

    Raises:
      PfrecError: where the file is missing, unreadable, or damaged inside its compression.
    """
    try:
        yield
    except _DAMAGE as error:
        reason = str(error) or "it ends too early"
        raise errors.PfrecError(
            f"{file}: damaged or not decompressible ({reason}); fetch it again"
        ) from error
    except OSError as error:
        raise errors.PfrecError(
            f"{file}: cannot be read ({error.strerror or error}); check --input"
        ) from error


def zip_members(archive: RawFile) -> list[RawFile]:
    """The files inside a zip archive, in order of name, without looking into archives among them.

    Raises:
      PfrecError: where it is no readable zip archive.
    """
    with archive.open() as stream, zipfile.ZipFile(stream) as opened:
        names = sorted(entry.filename for entry in opened.infolist() if not entry.is_dir())
    return [dataclasses.replace(archive, members=(*archive.members, name)) for name in names]
