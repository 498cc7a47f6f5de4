"""The C++ worker that executes TFF computations, started and ended with our own process.

TFF's own launcher lets the worker inherit standard output and outlive Python, so a piped command would never come back. Here it has no
standard input or output, its messages go to a file, and the kernel ends it when our process ends, however that happens.
"""

import ctypes
import os
import pathlib
import signal
import subprocess
import time
from types import TracebackType
from typing import Any, Optional

import grpc
import portpicker
import tensorflow_federated as tff

from pfrec import errors

_PR_SET_PDEATHSIG = 1
_START_SECONDS = 60.0
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 2_000_000_000),
    ("grpc.max_send_message_length", 2_000_000_000),
    # A worker that is started again on the same port is another worker; a shared subchannel would wait out the old one's back-off.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
)


class WorkerProcess:
    """One process of TFF's worker, listening on a loopback port.

    Start it from the main thread: the kernel ends the worker when the *thread* that started it ends.

    Args:
      log: file that receives the worker's messages, at its end.
      max_concurrent: how many computations run at once; 0 sets no bound.
      port: to listen on; None picks a free one.
      directory: the worker's working directory, to which the paths in computations are relative; None for our own.

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
    ) -> None:
        binary = pathlib.Path(tff.__file__).parent / "data" / "worker_binary"
        if not binary.is_file():
            raise errors.PfrecError(f"{binary}: no such file; tensorflow-federated is not installed whole, run make setup")
        self.log, self.port = log, portpicker.pick_unused_port() if port is None else port
        log.parent.mkdir(parents=True, exist_ok=True)
        libc = ctypes.CDLL(None)
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [str(binary), f"--port={self.port}", f"--max_concurrent_computation_calls={max_concurrent or -1}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                cwd=directory,
                env={"TF_CPP_MIN_LOG_LEVEL": "1", **os.environ},
                preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) if hasattr(libc, "prctl") else None,
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
        self._process.terminate()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

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
                        raise errors.PfrecError(f"the TFF worker did not start; its messages are in {self.log}") from None
        finally:
            ready.cancel()


class Worker:
    """A local worker and the TFF context that executes in it; a context manager.

    Start it from the main thread, see `WorkerProcess`.

    Args:
      log: file that receives the worker's messages.
      max_concurrent: how many clients' computations run at once; 0 sets no bound.

    Raises:
      PfrecError: where the worker does not come up; the message names its log.
    """

    def __init__(self, log: pathlib.Path, max_concurrent: int = 0) -> None:
        self.log = log
        self._max_concurrent = max_concurrent
        self._process: Optional[WorkerProcess] = None
        self._channel: Optional[grpc.Channel] = None

    def __enter__(self) -> "Worker":
        self._process = WorkerProcess(self.log, self._max_concurrent)
        self._channel = grpc.insecure_channel(self._process.target, CHANNEL_OPTIONS)
        self._stub = tff.framework.RemoteExecutorGrpcStub(self._channel)
        try:
            self._process.wait_until_ready(self._channel)
        except BaseException:
            self._stop()
            raise
        return self

    def context(self) -> Any:
        """A TFF context that executes in this worker; give it to `tff.framework.get_context_stack().install`."""

        def stack(cardinalities: Any) -> Any:
            # Computations without CLIENTS-placed arguments carry no number of clients.
            cardinalities.setdefault(tff.CLIENTS, 0)
            executor = tff.framework.RemoteExecutor(self._stub)
            executor.set_cardinalities(cardinalities)
            return executor

        return tff.framework.SyncExecutionContext(
            executor_fn=tff.framework.ResourceManagingExecutorFactory(executor_stack_fn=stack),
            compiler_fn=tff.backends.native.desugar_and_transform_to_native,
            transform_args=tff.tensorflow.transform_args,
            transform_result=tff.tensorflow.transform_result,
        )

    def _stop(self) -> None:
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.stop()

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self._stop()
