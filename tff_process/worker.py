"""The C++ worker that executes TFF computations, started and ended with our own process.

TFF's own launcher lets the worker inherit standard output and outlive Python, so a piped command would never come back. Here it has no
standard input or output, its messages go to a file, and the kernel ends it when our process ends, however that happens.
"""

import ctypes
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
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", 2_000_000_000),
    ("grpc.max_send_message_length", 2_000_000_000),
]


class Worker:
    """A local worker and the TFF context that executes in it; a context manager.

    Start it from the main thread: the kernel ends the worker when the *thread* that started it ends.

    Args:
      log: file that receives the worker's messages.
      max_concurrent: how many clients' computations run at once; 0 sets no bound.

    Raises:
      PfrecError: where the worker does not come up; the message names its log.
    """

    def __init__(self, log: pathlib.Path, max_concurrent: int = 0) -> None:
        self.log = log
        self._max_concurrent = max_concurrent
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._channel: Optional[grpc.Channel] = None

    def __enter__(self) -> "Worker":
        binary = pathlib.Path(tff.__file__).parent / "data" / "worker_binary"
        if not binary.is_file():
            raise errors.PfrecError(f"{binary}: no such file; tensorflow-federated is not installed whole, run make setup")
        port = portpicker.pick_unused_port()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        libc = ctypes.CDLL(None)
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                [str(binary), f"--port={port}", f"--max_concurrent_computation_calls={self._max_concurrent or -1}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stream,
                preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) if hasattr(libc, "prctl") else None,
            )
        self._channel = grpc.insecure_channel(f"localhost:{port}", _CHANNEL_OPTIONS)
        self._stub = tff.framework.RemoteExecutorGrpcStub(self._channel)
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while not self._stub.is_ready:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise errors.PfrecError(f"the TFF worker did not start; its messages are in {self.log}")
            time.sleep(0.02)

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
            self._process.terminate()
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def __exit__(self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self._stop()
