"""What TFF's worker is started with."""

import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tff_process import plan
from tff_process.runtime import options, remote, sandbox, threads, worker_process
from tff_process.training import loop


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


class StartedError(Exception):
    """In place of a worker."""


@pytest.mark.parametrize("runtime", [options.RESIDENT, options.REFERENCE])
@pytest.mark.parametrize(("batch", "expected"), [(50, 1), (1 << 20, threads.ALL)])
def test_a_trainings_worker_has_as_many_threads_as_the_plan_says(
    runtime, batch, expected, dataset, tmp_path, monkeypatch
):
    def start(self, *arguments, threads, **named):
        raise StartedError(threads)

    monkeypatch.setattr(worker_process.WorkerProcess, "__init__", start)
    chosen = options.Options(runtime=runtime)
    with pytest.raises(StartedError) as found:
        loop.train(plan.Plan("fedavg", batch_size=batch), dataset, tmp_path / "run", options=chosen)
    assert found.value.args == (expected,)


@tff.tensorflow.computation(np.str_)
def read(path):
    return tf.io.read_file(path)


@tff.tensorflow.computation(np.str_)
def write(path):
    with tf.control_dependencies([tf.io.write_file(path, "written")]):
        return tf.strings.length(tf.io.read_file(path))


def test_a_worker_in_a_sandbox_reads_the_data_and_writes_its_states(tmp_path, monkeypatch):
    """Whatever graph it is sent: not even its user's password file, nor a key."""
    monkeypatch.setenv("TOKEN", "planted")
    for name in ("data", "runs", "tls"):
        (tmp_path / name).mkdir()
    for name in ("data/rows", "tls/key.pem"):
        (tmp_path / name).write_text(name)
    try:
        limits = sandbox.Sandbox(worker_process.program(), [tmp_path / "data"], [tmp_path / "runs"])
    except sandbox.NotPermittedError as error:
        pytest.skip(str(error))
    process = worker_process.WorkerProcess(
        tmp_path / "worker.log", directory=tmp_path, sandbox=limits
    )
    there = remote.Remote(process.target, 30.0)
    try:
        there.wait_until_ready(30.0)
        there.open()
        text = tff.TensorType(np.str_)

        def tried(computation, path):
            function = remote.Function.of(computation.__name__, computation)
            try:
                return there.fetch(there.call(function, there.send(str(path), text)))
            except remote.WorkError as error:
                return "refused" if "ermission denied" in str(error) else str(error)

        read.__name__, write.__name__ = "read", "write"
        assert tried(read, "data/rows") == b"data/rows"
        assert tried(write, "runs/ID/version_00001/state") == 7
        for path in ("tls/key.pem", "/etc/passwd", f"/proc/{os.getpid()}/environ"):
            assert tried(read, path) == "refused"
        for path in ("data/rows", "data/more", "tls/more", "more", "/tmp/of-a-sandbox"):
            assert tried(write, path) == "refused"
        environment = pathlib.Path(f"/proc/{process.pid}/environ").read_bytes()
        assert b"TOKEN" not in environment
        assert b"PATH=" not in environment
    finally:
        there.close()
        process.stop()
        limits.close()
