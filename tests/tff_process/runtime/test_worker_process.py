"""What TFF's worker is started with."""

import os
import pathlib

import pytest

from tff_process.runtime import worker_process


def started_with(path, *arguments):
    """The command line and the environment of a worker."""
    process = worker_process.WorkerProcess(path / "worker.log", *arguments)
    try:
        place = pathlib.Path(f"/proc/{process.pid}")
        environment = dict(
            entry.split("=", 1)
            for entry in place.joinpath("environ").read_text().split("\0")
            if "=" in entry
        )
        return place.joinpath("cmdline").read_text().split("\0"), environment
    finally:
        process.stop()


@pytest.mark.parametrize("asked", [0, 1, 7])
def test_it_has_more_threads_between_operations_than_computations(tmp_path, asked, monkeypatch):
    """As many waiting for each other as there are threads would wait for ever."""
    monkeypatch.delenv("TF_NUM_INTEROP_THREADS", raising=False)
    command, environment = started_with(tmp_path, asked)
    concurrent = asked or len(os.sched_getaffinity(0))
    assert f"--max_concurrent_computation_calls={concurrent}" in command
    assert int(environment["TF_NUM_INTEROP_THREADS"]) > concurrent


def test_the_users_own_environment_counts(tmp_path, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "5")
    assert started_with(tmp_path)[1]["TF_NUM_INTEROP_THREADS"] == "5"
