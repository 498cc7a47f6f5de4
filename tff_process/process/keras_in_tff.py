"""Building Keras models inside a TFF computation without harming the process's eager ones.

TFF traces in a plain graph, where Keras swaps the Layer and Model base classes to their version 1
for the whole process; models made before then fail as "in an invalid state". Keras decides by one
function, which is held still while a model is built.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from keras.src.utils import version_utils


@contextlib.contextmanager
def version_2() -> Iterator[None]:
    """Keras builds version 2 objects inside; not thread-safe, so trace from one thread.

    Variables start at zero inside: a client loads each of them before use, and drawing random
    values would be wasted.
    """
    decide = version_utils.should_use_v2
    version_utils.should_use_v2 = lambda: True

    def zeros(next_creator: Any, **arguments: Any) -> tf.Variable:
        shape, dtype = arguments.get("shape"), arguments.get("dtype")
        if shape is not None and dtype is not None and tf.TensorShape(shape).is_fully_defined():
            arguments["initial_value"] = lambda: tf.zeros(shape, dtype)
        return next_creator(**arguments)

    try:
        with tf.variable_creator_scope(zeros):
            yield
    finally:
        version_utils.should_use_v2 = decide
