"""A client's own computations that keep its private state in its directory,
in the format of `pfrec.checkpoint`.

Graph operations alone: the private state goes from the worker's memory to the disk of the worker's
machine and never through the driver. A version counts only once the server's checkpoint names it,
so a torn one that a kill left behind is never read.
"""

import collections
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from pfrec import checkpoint


def writer(private_type: tff.StructType) -> tff.Computation:
    """The computation `(private, directory) -> int32`,
    which writes a state and returns the bytes of its index, in the memory of a spare beside it.
    """

    @tff.tensorflow.computation(private_type, np.str_)
    def write(private: Any, directory: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([_empty_spare(directory)]):
            return _save(private, directory)

    return write


def received_writer(shared_type: tff.StructType, personal_type: tff.StructType) -> tff.Computation:
    """The computation `(shared, personal, directory) -> int32`,
    which writes a client's values of the shared variables by name.
    """

    @tff.tensorflow.computation(shared_type, personal_type, np.str_)
    def write(shared: Any, personal: Any, directory: tf.Tensor) -> tf.Tensor:
        return _save({**shared["common"], **personal["values"]}, directory)

    return write


def _described(names: "Iterable[str]", directory: tf.Tensor) -> tf.Tensor:
    """`checkpoint.description` of tensors in a directory, with `checkpoint.owner` as its meta."""
    before, after = checkpoint.description(names, checkpoint.owner("@", "@")).split("@/@")
    place = tf.strings.regex_replace(directory, r"^.*/([^/]+/[^/]+)$", r"\1")
    return tf.strings.join([before, place, after])


def _empty_spare(directory: tf.Tensor) -> tf.Tensor:
    """Empties the spare beside a checkpoint, where there is one (`checkpoint.remove`)."""
    # There is no other operation that asks for a file; what would be a pattern to it is none here.
    plain = tf.strings.regex_replace(directory, r"([\[\]*?\\])", r"\\\1")
    spare = tf.io.matching_files(tf.strings.regex_replace(plain, "[^/]+$", checkpoint.SPARE))
    found = tf.size(spare)

    def empty() -> tf.Tensor:
        with tf.control_dependencies([tf.io.write_file(spare[0], "")]):
            return tf.identity(found)

    return tf.cond(found > 0, empty, lambda: found)


def _save(values: Mapping[str, tf.Tensor], directory: tf.Tensor) -> tf.Tensor:
    names = sorted(values)
    prefix, description = (
        tf.strings.join([directory, "/", checkpoint.PREFIX]),
        tf.strings.join([directory, "/", checkpoint.META]),
    )
    # The file that says that the state is whole is emptied first, which also makes the directory
    # with all above it, and written last.
    emptied = tf.io.write_file(description, "")
    with tf.control_dependencies([emptied]):
        save = tf.raw_ops.SaveV2(
            prefix=prefix,
            # A checkpoint without a tensor cannot be written.
            tensor_names=names or ["empty"],
            shape_and_slices=[""] * max(1, len(names)),
            tensors=[values[name] for name in names] or [tf.constant(0)],
        )
    # What is returned must depend on every effect, by data: TensorFlow drops the others from a
    # computation's graph.
    with tf.control_dependencies([save]):
        index = tf.io.read_file(prefix + ".index")
    meta = _described(names, directory)
    described = tf.io.write_file(description, meta + tf.strings.substr(index, 0, 0))
    with tf.control_dependencies([described]):
        return tf.strings.length(tf.identity(index))


def reader(private_type: tff.StructType) -> tff.Computation:
    """The computation `directory -> (private, int32)`, which reads a state and counts its tensors;
    it fails where a checksum does not fit, or the state was written to another place: it is another
    client's then, or of another version.
    """
    kinds = collections.OrderedDict(tff.structure.to_elements(private_type))

    @tff.tensorflow.computation(np.str_)
    def read(directory: tf.Tensor) -> Any:
        found = tf.io.read_file(tf.strings.join([directory, "/", checkpoint.META]))
        same = tf.debugging.Assert(
            tf.equal(found, _described(kinds, directory)),
            ["it is another client's or of another version"],
        )
        with tf.control_dependencies([same]):
            prefix = tf.strings.join([directory, "/", checkpoint.PREFIX])
        values = tf.raw_ops.RestoreV2(
            prefix=prefix,
            tensor_names=list(kinds),
            shape_and_slices=[""] * len(kinds),
            dtypes=[kind.dtype.type for kind in kinds.values()],
        )
        private = collections.OrderedDict(
            (name, tf.ensure_shape(value, kind.shape))
            for (name, kind), value in zip(kinds.items(), values)
        )
        return private, tf.constant(len(kinds))

    return read


def starter(private_type: tff.StructType) -> tff.Computation:
    """The computation `values -> private`, which adds the optimizer's slots, all zero, to a
    client's first private values.
    """
    kinds = collections.OrderedDict(tff.structure.to_elements(private_type))
    given = collections.OrderedDict(
        (name, kind) for name, kind in kinds.items() if not is_slot(name)
    )

    @tff.tensorflow.computation(given)
    def start(values: Any) -> Any:
        return collections.OrderedDict(
            (name, values[name] if name in given else tf.zeros(kind.shape, kind.dtype.type))
            for name, kind in kinds.items()
        )

    return start


def noter() -> tff.Computation:
    """The computation `(path, text) -> int32`,
    which leaves a note on the client's disk and returns its length.
    """

    @tff.tensorflow.computation(np.str_, np.str_)
    def note(path: tf.Tensor, text: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([tf.io.write_file(path, text)]):
            # Not read again: its owner may have taken it by now.
            return tf.strings.length(tf.identity(text))

    return note


def text_reader() -> tff.Computation:
    """The computation `path -> text`,
    which reads a small file that its owner wrote for the driver.
    """

    @tff.tensorflow.computation(np.str_)
    def read(path: tf.Tensor) -> tf.Tensor:
        return tf.io.read_file(path)

    return read


def secret_reader() -> tff.Computation:
    """The computation `path -> int64 [2]`, which reads a silo's secret in the silo."""

    @tff.tensorflow.computation(np.str_)
    def read(path: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.io.decode_raw(tf.io.read_file(path), tf.int64), [2])

    return read


def is_slot(name: str) -> bool:
    """Whether a tensor of a private state belongs to the optimizer."""
    return name.startswith("optimizer/")
