"""Child processes: they end when this process ends, however that happens, and when they are to."""

import ctypes
import signal
import subprocess
from collections.abc import Callable
from typing import Any

_PR_SET_PDEATHSIG = 1
# Until what is asked to end is killed.
_SECONDS = 2.0


def end_with_parent() -> Callable[[], None]:
    """What `subprocess.Popen` is to call in the child, as `preexec_fn`.

    Start the child from the main thread: the kernel ends it when the *thread* that started it ends.
    """
    libc = ctypes.CDLL(None)

    def ask() -> None:
        if hasattr(libc, "prctl"):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask


def stop(process: "subprocess.Popen[Any]") -> None:
    """Ends a process, also one that hangs or is stopped, and waits for it."""
    process.terminate()
    try:
        process.wait(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
