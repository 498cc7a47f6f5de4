"""A disk that is full is said to be full, and no check is blamed for it."""

import errno
import gc
import os
import pathlib
import re
import subprocess
import sys
from typing import Any, Callable

import numpy as np
import pytest

from export.checks import fresh_process
from export.checks import version as version_checks


def test_requests_that_find_no_room_leave_no_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with pytest.raises(OSError, match="No space left"):
        fresh_process._write_arrays(pathlib.Path("/dev/full"), {"0.0": np.zeros(1 << 20)})
    gc.collect()
    assert complaints == []


def _full(*arguments: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _ended(status: int, told: bytes) -> Any:
    """A process that ends so, without an answer."""

    def run(command: Any, **others: Any) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.CompletedProcess(command, status, b"", told)

    return run


def test_a_process_without_an_answer_blames_no_disk(
    copy: Callable[..., pathlib.Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.checks.fresh_process.subprocess.run", _ended(0, b""))
    failed = [one.detail for one in version_checks.verify(copy()).checks if not one.ok]
    assert failed
    assert all("ended without an answer; export the model again" in detail for detail in failed), (
        failed
    )


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("_write_arrays", _full),
        ("subprocess.run", _ended(1, b"error: [Errno 28] No space left on device")),
        ("subprocess.run", _ended(1, b"error: [Errno 122] Disk quota exceeded")),
    ],
)
def test_a_full_disk_is_no_check_that_failed(
    copy: Callable[..., pathlib.Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: pathlib.Path,
    name: str,
    full: Any,
) -> None:
    """Here, or in the process that answers."""
    directory = copy()
    monkeypatch.setattr(f"export.checks.fresh_process.{name}", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(fresh_process.UnaskedError) as raised:
        version_checks.verify(directory)
    told = r"(No space left on device|Disk quota exceeded); free space or choose another path"
    assert re.fullmatch(f"{re.escape(str(tmp_path))}: {told}", str(raised.value))
