"""The program of a worker in a network of its own, reached through one socket that it is handed: `runtime.private_host` starts it.

python -m tff_process.private_worker DESCRIPTOR LOG
"""

import pathlib
import signal
import socket
import sys
import time

from pfrec import errors
from tff_process import private_network

READY = "ready\n"
_PORT = 10_000
_START_SECONDS, _LOOK_SECONDS = 60.0, 0.1


def main() -> None:
    """Says `READY` when the worker takes calls; ends when the worker does, and the worker with it."""
    descriptor, log = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    try:
        private_network.enter()
    except errors.PfrecError as error:
        sys.exit(str(error))
    # Only now: see `silo`.
    from tff_process import relay, silo_service, worker_process

    listening = socket.socket(fileno=descriptor)
    process = worker_process.WorkerProcess(log, port=_PORT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not silo_service.greets(_PORT, timeout=1.0):
            if not process.running or time.monotonic() > deadline:
                sys.exit(f"the worker did not start; its messages are in {log}")
            time.sleep(0.05)
        relay.Relay(listening, "127.0.0.1", _PORT)
        print(READY, end="", flush=True)
        while process.running:
            time.sleep(_LOOK_SECONDS)
    finally:
        process.stop()


if __name__ == "__main__":
    main()
