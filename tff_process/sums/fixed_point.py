"""Numbers as whole numbers, of which sums are exact, and so can be hidden by masks modulo 2^64.

A number x is `round(x * 2^24)`, at most 2^52 to either side: x within 2^28. Each is off by at most
2^-25, so the sum of N by at most N / 2^25. A thousand of them stay within 62 bits, so that their
sum modulo 2^64 is their sum.
"""

import numpy as np

BITS, LARGEST = 24, 2**52
SCALE = float(2**BITS)
# How many may be added.
MOST = 2**10


def encoded(numbers: np.ndarray) -> np.ndarray:
    """Numbers as int64 of the same shape: what a client's graph does (`summed_uploads`), in NumPy.

    Raises:
      ValueError: where one is not finite.
    """
    precise = np.asarray(numbers, np.float64)
    if not np.all(np.isfinite(precise)):
        raise ValueError("numbers that are not finite have no sum")
    return np.clip(np.rint(precise * SCALE), -LARGEST, LARGEST).astype(np.int64)


def decoded(numbers: np.ndarray) -> np.ndarray:
    """The inverse, float64, of one or of a sum."""
    return np.asarray(numbers, np.int64) / SCALE


def added(vectors: "list[np.ndarray]") -> np.ndarray:
    """The sum of int64 vectors modulo 2^64, as int64."""
    total = np.zeros(np.shape(vectors[0]), np.uint64)
    for vector in vectors:
        total = total + np.asarray(vector, np.int64).view(np.uint64)
    return total.view(np.int64)
