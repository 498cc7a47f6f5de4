"""Raw files as they lie: plain, compressed, or inside zip archives,
which may stand inside each other; in UTF-8 or another encoding.
"""

import bz2
import codecs
import contextlib
import dataclasses
import gzip
import lzma
import pathlib
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from pfrec import errors

_DAMAGE = (
    EOFError,
    zlib.error,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    lzma.LZMAError,
    NotImplementedError,
    RuntimeError,
)


COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
# How compressed files begin, and how one calls them.
_MAGIC = (
    (b"\x1f\x8b\x08", "gzip", ".gz"),
    (b"BZh91AY&SY", "bzip2", ".bz2"),
    (b"\xfd7zXZ\x00", "xz", ".xz"),
    (b"\x28\xb5\x2f\xfd", "zstd", ".zst"),
    (b"PK\x03\x04", "a zip archive", ".zip"),
    (b"PAR1", "Parquet", ".parquet"),
)
_READ_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True, order=True)
class RawFile:
    """A file to read.

    Attributes:
      path: the file on disk.
      members: names to follow inside zip archives, outermost first; empty for a plain or compressed
        file.
      encoding: Python's name of the encoding of its text, which is read as UTF-8; empty where its
        bytes are read as they are.
      escapes: whether a backslash escapes quotes and backslashes; they are read as doubled quotes.
    """

    path: pathlib.Path
    members: tuple[str, ...] = ()
    encoding: str = ""
    escapes: bool = False

    def __str__(self) -> str:
        return "/".join([str(self.path), *self.members])

    @property
    def name(self) -> str:
        """The last part of its name."""
        return pathlib.PurePosixPath(self.members[-1]).name if self.members else self.path.name

    @property
    def stem(self) -> str:
        """Its name without that of its compression and without the ending before that."""
        return pathlib.PurePosixPath(self._uncompressed).stem

    @property
    def _uncompressed(self) -> str:
        ending = pathlib.PurePosixPath(self.name).suffix
        return self.name[: -len(ending)] if ending.lower() in COMPRESSED else self.name

    @property
    def is_packed(self) -> bool:
        """Whether it is compressed or inside an archive."""
        return bool(self.members) or self._uncompressed != self.name

    def has_ending(self, endings: Sequence[str]) -> bool:
        """Whether its name ends so, in any case, apart from the ending of its compression."""
        return pathlib.PurePosixPath(self._uncompressed).suffix.lower() in endings

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
            ending = pathlib.PurePosixPath(self.name).suffix.lower()
            if ending == ".gz":
                stream = stack.enter_context(gzip.GzipFile(fileobj=stream))
            elif ending == ".bz2":
                stream = stack.enter_context(bz2.BZ2File(stream))
            elif ending == ".xz":
                stream = stack.enter_context(lzma.LZMAFile(stream))
            elif ending == ".zst":
                import pyarrow as pa

                unpacked = pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), "zstd")
                stream = _Forward(unpacked.read)
            if self.encoding:
                stream = _Forward(_Recoder(self, stream).read)
            if self.escapes:
                stream = _Forward(_Unescaper(stream).read)
            yield stream

    def require_text(self) -> None:
        """Checks that it is no compressed file under the name of a plain one.

        Raises:
          PfrecError: where it is, naming what it is; where it cannot be read.
        """
        with self.open() as stream:
            start = stream.read(16)
        for magic, what, ending in _MAGIC:
            if start.startswith(magic):
                raise errors.PfrecError(
                    f"{self}: is {what} under another name; call it {self.name}{ending}"
                    if ending != ".parquet"
                    else f"{self}: is a Parquet file; pass --format=parquet"
                )


class _Forward:
    """A stream of bytes that can be read, and sought forwards from its beginning."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        parts = []
        while size > 0 and (part := self._read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def seek(self, offset: int) -> None:
        """Goes on to `offset`; once, before anything is read."""
        while offset > 0 and (part := self._read(min(offset, _READ_BYTES))):
            offset -= len(part)


class _Recoder:
    """Text of some encoding as UTF-8."""

    def __init__(self, file: RawFile, stream: IO[bytes]) -> None:
        self._file, self._stream, self._rest, self._ended = file, stream, b"", False
        self._decoder = codecs.getincrementaldecoder(file.encoding)("strict")

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end.

        Raises:
          PfrecError: where the text is not of the encoding.
        """
        while not self._rest and not self._ended:
            given = self._stream.read(_READ_BYTES)
            self._ended = not given
            try:
                self._rest = self._decoder.decode(given, final=self._ended).encode()
            except UnicodeError as error:  # UTF-16 without a mark is no UnicodeDecodeError.
                reason = getattr(error, "reason", str(error))
                raise errors.PfrecError(
                    f"{self._file}: is not {self._file.encoding} ({reason}); "
                    "name its encoding under [file]"
                ) from error
        part, self._rest = self._rest[:size], self._rest[size:]
        return part


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


class _Unescaper:
    """Text with each quote that a backslash escapes doubled instead."""

    _ESCAPE = re.compile(rb"\\([\\\"])")

    def __init__(self, stream: Any) -> None:
        self._stream, self._rest, self._held, self._ended = stream, b"", b"", False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end."""
        while not self._rest and not self._ended:
            given = self._stream.read(_READ_BYTES)
            self._ended = not given
            text = self._held + given
            # A backslash at the end may escape what is read next.
            last = len(text) - len(text.rstrip(b"\\"))
            held = last % 2 if not self._ended else 0
            self._held = text[len(text) - held :]
            self._rest = self._ESCAPE.sub(self._meant, text[: len(text) - held])
        part, self._rest = self._rest[:size], self._rest[size:]
        return part

    @staticmethod
    def _meant(match: "re.Match[bytes]") -> bytes:
        return b'""' if match.group(1) == b'"' else b"\\"
