"""A disk that forgets what was not synced: what a power cut may leave.

Between `recording` and a power cut every `os.fsync` is noted: of a file its content at that moment,
of a directory its entries. What is left is what was noted: a file without a synced entry is gone, a
file whose entry alone was synced is empty. A rename shows once its directory is synced.
"""

import contextlib
import os
import pathlib
import stat
from collections.abc import Callable, Iterator

import pytest


class Disk:
    """What survives of the files below some directories."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self._content: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, int]] = {}
        # Open, so that no other file is given the number of a removed one.
        self._held: list[int] = []
        # What was there before is on the disk.
        for path in (root, *root.rglob("*")):
            descriptor = os.open(path, os.O_RDONLY)
            self.synced(descriptor)
            os.close(descriptor)

    def synced(self, descriptor: int) -> None:
        """Notes a file's content or a directory's entries."""
        of = os.fstat(descriptor)
        self._held.append(os.dup(descriptor))
        if stat.S_ISDIR(of.st_mode):
            with os.scandir(descriptor) as entries:
                self._entries[of.st_ino] = {entry.name: entry.inode() for entry in entries}
        else:
            self._content[of.st_ino] = pathlib.Path(f"/proc/self/fd/{descriptor}").read_bytes()

    def left(self, target: pathlib.Path) -> None:
        """Makes what a power cut now would leave of the root."""
        self._make(self._root.stat().st_ino, target)

    def _make(self, directory: int, target: pathlib.Path) -> None:
        target.mkdir()
        for name, number in self._entries.get(directory, {}).items():
            if number in self._entries or number not in self._content:
                # Of what was never synced itself nobody knows what it was; it holds nothing.
                self._make(number, target / name)
            else:
                (target / name).write_bytes(self._content[number])

    def close(self) -> None:
        """Lets go of the files."""
        for descriptor in self._held:
            os.close(descriptor)


@contextlib.contextmanager
def recording(
    root: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    at_sync: "Callable[[Disk], None]" = lambda disk: None,
) -> "Iterator[Disk]":
    """Notes every sync below `root`, and calls `at_sync` after each."""
    disk, real = Disk(root), os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        disk.synced(descriptor)
        at_sync(disk)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        yield disk
    disk.close()
