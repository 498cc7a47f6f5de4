"""malloc is set once tff_process is imported, and in every worker."""

import ctypes
import pathlib
import subprocess
import sys

import pytest

from tff_process import heap
from tff_process.runtime import worker_process

has_glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="this C library's malloc cannot be set"
)
# A large block that is freed by a thread stays with the process, so that the next one needs no new
# pages.
PROGRAM = """
import ctypes, resource, sys, threading
if sys.argv[1] == "set":
    import tff_process
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
size = 20 << 20

def once():
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)

def run():
    once()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        once()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=run)
thread.start()
thread.join()
"""


@has_glibc
def test_a_freed_block_serves_the_next_message():
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", PROGRAM, how], check=True, capture_output=True, text=True
            ).stdout
        )
        for how in ("set", "as it was")
    }
    assert faults["set"] < 20 < faults["as it was"]


def test_a_worker_is_started_with_it_unless_the_user_says_otherwise(tmp_path, monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "12345678")
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    process = worker_process.WorkerProcess(tmp_path / "worker.log")
    try:
        given = dict(
            entry.split("=", 1)
            for entry in pathlib.Path(f"/proc/{process.pid}/environ").read_text().split("\0")
            if "=" in entry
        )
    finally:
        process.stop()
    assert given["MALLOC_ARENA_MAX"] == heap.ENVIRONMENT["MALLOC_ARENA_MAX"] == "1"
    assert given["MALLOC_TRIM_THRESHOLD_"] == "12345678"


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    assert heap.keep_freed() is False
