"""Child processes that end when this process ends, however that happens."""

import ctypes
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> Callable[[], None]:
    """What `subprocess.Popen` is to call in the child, as `preexec_fn`.

    Start the child from the main thread: the kernel ends it when the *thread* that started it ends.
    """
    libc = ctypes.CDLL(None)

    def ask() -> None:
        if hasattr(libc, "prctl"):
            libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask
