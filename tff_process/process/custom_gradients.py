"""Letting go of graphs that are traced for TFF, which keeps them serialised.

TensorFlow registers the gradient of every call of a `tf.custom_gradient` in a graph, for as long as
the process runs, and with it the whole graph: of a client's training some 70 MB.
"""

import contextlib
from collections.abc import Iterator

from tensorflow.python.framework import ops

_PREFIX = "CustomGradient-"


@contextlib.contextmanager
def forgotten() -> "Iterator[None]":
    """Gradients that are registered inside are not afterwards: a graph that is traced inside, by
    whatever thread, can be differentiated inside alone.
    """
    registered = ops.gradient_registry._registry
    before = set(registered)
    try:
        yield
    finally:
        for name in registered.keys() - before:
            if name.startswith(_PREFIX):
                del registered[name]
