"""TFF's execution context on a local worker, for the pure process."""

import pathlib
from types import TracebackType
from typing import Any, Optional

import grpc
import tensorflow_federated as tff

from pfrec import child
from tff_process.runtime import threads as threads_lib
from tff_process.runtime import worker_process


class Worker:
    """A local worker and the TFF context that executes in it; a context manager.

    Start it from the main thread, see `worker_process.WorkerProcess`.

    Args:
      log: file that receives the worker's messages.
      max_concurrent: how many clients' computations run at once; 0 for as many as there are
        processors.
      threads: within one operation, see `threads.within_operations`.

    Raises:
      PfrecError: where the worker does not come up; the message names its log.
    """

    def __init__(
        self, log: pathlib.Path, max_concurrent: int = 0, threads: int = threads_lib.ALL
    ) -> None:
        self.log = log
        self._max_concurrent, self._threads = max_concurrent, threads
        self._process: Optional[worker_process.WorkerProcess] = None
        self._channel: Optional[grpc.Channel] = None

    def __enter__(self) -> "Worker":
        try:
            with child.uninterrupted():
                self._process = worker_process.WorkerProcess(
                    self.log, self._max_concurrent, threads=self._threads
                )
            target = self._process.target
            self._channel = grpc.insecure_channel(target, worker_process.CHANNEL_OPTIONS)
            self._stub = tff.framework.RemoteExecutorGrpcStub(self._channel)
            self._process.wait_until_ready(self._channel)
        except BaseException:
            self._stop()
            raise
        return self

    def context(self) -> Any:
        """A TFF context that executes in this worker; give it to
        `tff.framework.get_context_stack().install`.
        """

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
        with child.uninterrupted():
            if self._channel is not None:
                self._channel.close()
            if self._process is not None:
                self._process.stop()

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._stop()
