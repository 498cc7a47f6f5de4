"""The process of TFF's C++ worker, started and ended with our own process;
neither TensorFlow nor TFF is imported here.

TFF's own launcher lets the worker inherit standard output and outlive Python, so a piped command
would never come back. Here it has no standard input or output, its messages go to a file, and the
kernel ends it when our process ends, however that happens.
"""

import importlib.util
import os
import pathlib
import subprocess
import time
from typing import Optional

import grpc
import portpicker

from pfrec import child, errors
from tff_process import heap
from tff_process.runtime import logs
from tff_process.runtime import sandbox as sandbox_lib
from tff_process.runtime import threads as threads_lib

_START_SECONDS = 60.0
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 2_000_000_000),
    ("grpc.max_send_message_length", 2_000_000_000),
    # A worker that is started again on the same port is another worker; a shared subchannel would
    # wait out the old one's back-off.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class WorkerProcess:
    """One process of TFF's worker, listening on a loopback port.

    Start it from the main thread: the kernel ends the worker when the *thread* that started it
    ends.

    Args:
      log: file that receives the worker's messages, at its end.
      max_concurrent: how many computations run at once; 0 for as many as there are processors.
      port: to listen on; None picks a free one.
      directory: the worker's working directory, to which the paths in computations are relative;
        None for our own.
      sandbox: what it is limited to; None for all that our user may do, in our environment.
      threads: within one operation, see `threads.within_operations`.

    Attributes:
      log, port: as given or chosen.
      pid: of the process.

    Raises:
      PfrecError: where the program is not there.
    """

    def __init__(
        self,
        log: pathlib.Path,
        max_concurrent: int = 0,
        *,
        port: Optional[int] = None,
        directory: Optional[pathlib.Path] = None,
        sandbox: Optional[sandbox_lib.Sandbox] = None,
        threads: int = threads_lib.ALL,
    ) -> None:
        binary = program()
        end_with_parent = child.end_with_parent()

        def prepare() -> None:
            end_with_parent()
            if sandbox is not None:
                sandbox.enter()

        given = os.environ if sandbox is None else sandbox_lib.environment(os.environ)
        concurrent = max_concurrent or len(os.sched_getaffinity(0))
        self.log, self.port = log, portpicker.pick_unused_port() if port is None else port
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with logs.open_to_append(log) as stream:
            self._process = subprocess.Popen(
                [
                    str(binary),
                    f"--port={self.port}",
                    f"--max_concurrent_computation_calls={concurrent}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                cwd=directory,
                env={**_environment(concurrent, threads), **given},
                preexec_fn=prepare,
                umask=0o077,  # What it writes are private states.
            )
        self.pid = self._process.pid

    @property
    def target(self) -> str:
        """HOST:PORT."""
        return f"localhost:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ends the process, also one that hangs or is stopped, and waits for it."""
        child.stop(self._process)

    def kill(self) -> None:
        """Ends a process that is known to hang."""
        self._process.kill()
        self._process.wait()

    def wait_until_ready(self, channel: grpc.Channel) -> None:
        """Waits for the worker to accept calls.

        Raises:
          PfrecError: where it does not come up; the message names its log.
        """
        ready = grpc.channel_ready_future(channel)
        deadline = time.monotonic() + _START_SECONDS
        try:
            while True:
                try:
                    return ready.result(timeout=0.2)
                except grpc.FutureTimeoutError:
                    if not self.running or time.monotonic() > deadline:
                        raise errors.PfrecError(
                            f"the TFF worker did not start; its messages are in {self.log}"
                        ) from None
        finally:
            ready.cancel()


def _environment(concurrent: int, threads: int) -> "dict[str, str]":
    """Where the user's own environment says nothing.

    A computation that lets go of a dataset's iterator waits, on one of TensorFlow's threads between
    operations, for what the iterator has yet to finish on another of them. With a thread for each
    processor alone, as TensorFlow has it, computations that do so at once may hold them all and
    wait for ever; with a thread more than computations there is always one left.
    """
    return {
        "TF_CPP_MIN_LOG_LEVEL": "1",
        "TF_NUM_INTEROP_THREADS": str(concurrent + 1),
        **({} if threads == threads_lib.ALL else {"TF_NUM_INTRAOP_THREADS": str(threads)}),
        **heap.ENVIRONMENT,
    }


def program() -> pathlib.Path:
    """The file of TFF's worker.

    Raises:
      PfrecError: where it is not there.
    """
    found = importlib.util.find_spec("tensorflow_federated")
    place = (
        pathlib.Path(found.origin).parent / "data" / "worker_binary"
        if found and found.origin
        else None
    )
    if place is None or not place.is_file():
        raise errors.PfrecError(
            "TFF's worker_binary is missing; tensorflow-federated is not installed whole, run "
            "make setup"
        )
    return place
