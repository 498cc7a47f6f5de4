"""How glibc's malloc deals with the large values that pass through driver and workers in every
round.

By default each thread has an arena of its own, and freed memory goes back to the system at once: a
message of 40 MB then costs more in pages that the kernel clears anew than in everything else, and
what stays is scattered over arenas. Here all threads share one arena, which keeps what is freed, up
to a bound, for the next message. Other C libraries do as they do.
"""

import ctypes

_KEPT_BYTES = 1 << 30
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Older versions of glibc take no more.
_LEAST_MMAP_THRESHOLD = 32 << 20

# The same for a process that is yet to be started.
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(_KEPT_BYTES),
    "MALLOC_TRIM_THRESHOLD_": str(_KEPT_BYTES),
}


def keep_freed() -> bool:
    """Sets this process's malloc; says whether it is one that can be set."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    if not mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES):
        mallopt(_M_MMAP_THRESHOLD, _LEAST_MMAP_THRESHOLD)
    return bool(mallopt(_M_ARENA_MAX, 1)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))
