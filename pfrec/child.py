"""Child processes: they end when this process ends, however that happens, and when they are to."""

import contextlib
import ctypes
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Lets Ctrl-C interrupt after what is within, not in it: a child that was started is then known
    to who ends it. Our own end is no such care, but a notebook goes on after Ctrl-C.
    """
    before = signal.getsignal(signal.SIGINT)
    # Python handles signals in the main thread alone. What is ignored, or is not Python's, a child
    # must inherit as it is.
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)


def stop(process: "subprocess.Popen[Any]") -> None:
    """Ends a process, also one that hangs or is stopped, and waits for it."""
    process.terminate()
    try:
        process.wait(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
