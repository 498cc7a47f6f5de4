"""The user's cache directory: what takes long to make and can be made again at any time.

An entry is one file: its own SHA-256, what it holds, the parts. It becomes visible whole, so that
processes may share a directory; one that is damaged, or that somebody else could have written, is
as good as none. `PFREC_CACHE` names another directory than `$XDG_CACHE_HOME/pfrec` or
`~/.cache/pfrec`, and turns all of it off where it is empty.
"""

import contextlib
import hashlib
import json
import logging
import os
import pathlib
import stat
from collections.abc import Mapping
from typing import Optional

from pfrec import errors, files

VARIABLE = "PFREC_CACHE"
# Entries of a directory; those that were not used for longest go first.
_MOST = 128

_log = logging.getLogger(__name__)


def of_user(name: str) -> "Optional[Store]":
    """The user's store of a kind of entries; None where it is turned off."""
    given = os.environ.get(VARIABLE)
    if given is not None:
        return Store(pathlib.Path(given) / name) if given else None
    try:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    except RuntimeError:  # A user without a home.
        return None
    return Store(pathlib.Path(home) / "pfrec" / name)


class Store:
    """Entries in a directory.

    Args:
      directory: made with the first entry.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory, self._told = directory, False

    def load(self, key: str) -> "Optional[dict[str, bytes]]":
        """An entry's parts by name; None where there is none, or none to rely on."""
        path = self._directory / key
        try:
            with path.open("rb") as stream:
                if not _ours(os.fstat(stream.fileno())) or not _ours(self._directory.stat()):
                    _log.warning("%s: others may write it; it is not used", path)
                    return None
                content = stream.read()
            parts = _unpacked(content)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.info("%s: is not used: %s", path, error)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return parts

    def save(self, key: str, parts: "Mapping[str, bytes]") -> None:
        """Keeps an entry; where it cannot be kept, that costs no more than making it again."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write_bytes(self._directory / key, _packed(parts))
            self._remove_oldest()
        except (OSError, errors.PfrecError) as error:
            if not self._told:
                _log.info("%s: nothing is kept: %s", self._directory, error)
            self._told = True

    def _remove_oldest(self) -> None:
        entries = [path for path in self._directory.iterdir() if path.is_file()]
        entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in entries[_MOST:]:
            path.unlink(missing_ok=True)


def _ours(status: os.stat_result) -> bool:
    """Whether nobody but this user, or root, may write it."""
    written_by_others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid in (os.geteuid(), 0) and not written_by_others


def _packed(parts: "Mapping[str, bytes]") -> bytes:
    table = json.dumps({name: len(part) for name, part in parts.items()}).encode()
    rest = table + b"\n" + b"".join(parts.values())
    return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


def _unpacked(content: bytes) -> "dict[str, bytes]":
    """Raises ValueError where the content is not what was packed."""
    digest, _, rest = content.partition(b"\n")
    if hashlib.sha256(rest).hexdigest().encode() != digest:
        raise ValueError("damaged")
    table, _, joined = rest.partition(b"\n")
    parts, place = {}, 0
    for name, length in json.loads(table).items():
        parts[name] = joined[place : place + length]
        place += length
    return parts
