"""The precision of the large products of a training step; variables, sums,
normalisation and the optimizer stay in float32.

A product in bfloat16 rounds both factors to 8 bits of mantissa, sums in float32 and rounds the
result. That is an approximation, so only training uses it: evaluation and export compute in
float32.
"""

import contextlib
import contextvars
import pathlib
from collections.abc import Iterator

import tensorflow as tf

from pfrec import errors

FLOAT32, BFLOAT16 = "float32", "bfloat16"
# What Linux calls processors' bfloat16 products: x86's and ARM's.
_PROCESSOR_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}
_CPUINFO = pathlib.Path("/proc/cpuinfo")

_chosen: "contextvars.ContextVar[str]" = contextvars.ContextVar("precision", default=FLOAT32)


@contextlib.contextmanager
def products(name: str) -> Iterator[None]:
    """While a graph is made in this context, gradients included, `matmul` has this precision."""
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def matmul(
    a: tf.Tensor, b: tf.Tensor, *, transpose_a: bool = False, transpose_b: bool = False
) -> tf.Tensor:
    """`tf.matmul` of float32 tensors, in the precision of the context; float32."""
    if _chosen.get() == FLOAT32:
        return tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    a, b = tf.cast(a, tf.bfloat16), tf.cast(b, tf.bfloat16)
    return tf.cast(tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b), tf.float32)


def check(name: str) -> None:
    """Checks that this machine's processor multiplies in a precision.

    Raises:
      PfrecError: where it does not, which would be slower and gain nothing.
    """
    if not available(name):
        raise errors.PfrecError(
            f"--precision={name}: this processor has no bfloat16 products "
            f"({', '.join(sorted(_PROCESSOR_FLAGS))} of /proc/cpuinfo); "
            f"leave it at {FLOAT32}"
        )


def available(name: str) -> bool:
    """Whether this machine's processor multiplies in a precision."""
    return name == FLOAT32 or bool(_PROCESSOR_FLAGS & processor_flags())


def processor_flags() -> "set[str]":
    """The features of this machine's processor by Linux's names;
    empty where the system does not tell.
    """
    try:
        lines = _CPUINFO.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return set()
    return {
        flag
        for line in lines
        if line.lower().startswith(("flags", "features"))
        for flag in line.partition(":")[2].split()
    }
