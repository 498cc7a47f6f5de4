"""Values of TFF's protocol as bytes, without a message object for each array: on its way out a
large array is copied once, and in what came it stands as a view.

The bytes are those of protobuf's own writer, in the order of the fields' numbers (array.proto,
executor.proto).
"""

import functools
from collections.abc import Mapping
from typing import Any, Optional

import numpy as np
import tensorflow_federated as tff
from google.protobuf import message as message_lib  # type: ignore[import-untyped]
from tensorflow_federated.proto.v0 import array_pb2, executor_pb2

from tff_process.runtime import exchange, tags

_LISTS = {np.dtype(np.float32): tags.FLOAT32_LIST, np.dtype(np.float64): tags.FLOAT64_LIST}


def request(value: Any, kind: tff.Type, executor: executor_pb2.ExecutorId) -> bytes:
    """A serialised `CreateValueRequest`; see `exchange.to_value` for what a value may be.

    Raises:
      TypeError: where the value is none of the type.
    """
    pieces: list[Any] = [b""]
    length = _append(pieces, value, kind, named=True)
    pieces[0] = tags.VALUE_OF_REQUEST + tags.varint(length)
    name = executor.SerializeToString()
    return b"".join([*pieces, tags.EXECUTOR_OF_REQUEST, tags.varint(len(name)), name])


class UnreadableError(Exception):
    """What a worker answered is no value of the type."""


# What protobuf, NumPy and TFF raise at bytes that are none.
_NO_VALUE = (
    message_lib.DecodeError,
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
)


class Answers:
    """Reads serialised `ComputeResponse`s. Those of one type differ in their arrays' bytes alone,
    so where these stand is found out once.
    """

    _MOST = 64

    def __init__(self) -> None:
        # The types are kept too: a number of theirs may be another's after they are gone.
        self._layouts: dict[int, tuple[tff.Type, Optional[Layout]]] = {}

    def value(self, message: bytes, kind: tff.Type) -> Any:
        """What `exchange.from_value` makes of it.

        Raises:
          UnreadableError: where that is nothing.
        """
        _, layout = self._layouts.get(id(kind), (kind, None))
        found = None if layout is None else layout.read(message)
        if found is not None:
            return found
        try:
            answer = executor_pb2.ComputeResponse.FromString(message)
            value = exchange.from_value(answer.value, kind)
        except _NO_VALUE as error:
            raise UnreadableError(f"{error}"[:200]) from error
        if len(self._layouts) >= self._MOST:
            self._layouts.clear()
        self._layouts[id(kind)] = kind, Layout.of(message, value, kind)
        return value


class Layout:
    """Where the arrays of a message stand.

    Args:
      pieces: the message's bytes, and its arrays in their places.
      kind: the type of its value.
    """

    def __init__(self, pieces: "list[Any]", kind: tff.Type) -> None:
        self._kind = kind
        self._fixed: list[tuple[int, int, bytes]] = []
        self._arrays: list[tuple[int, int, np.dtype[Any], tuple[int, ...]]] = []
        place = 0
        for piece in pieces:
            if isinstance(piece, np.ndarray):
                self._arrays.append((place, piece.size, piece.dtype, piece.shape))
                place += piece.nbytes
            else:
                self._fixed.append((place, place + len(piece), piece))
                place += len(piece)
        self._length = place

    @classmethod
    def of(cls, message: bytes, value: Any, kind: tff.Type) -> "Optional[Layout]":
        """The layout of a message that holds a value, as a worker sends it; None where something in
        it is not of a fixed length, or stands otherwise than here.
        """
        pieces: list[Any] = [b""]
        try:
            length = _append(pieces, value, kind, named=False)
        except TypeError:  # It is none of the type, which its reader refuses.
            return None
        pieces[0] = tags.VALUE_OF_ANSWER + tags.varint(length)
        place = arrays = 0
        for piece in pieces:
            arrays += isinstance(piece, np.ndarray)
            expected = piece.tobytes() if isinstance(piece, np.ndarray) else piece
            if message[place : place + len(expected)] != expected:
                return None
            place += len(expected)
        if place != len(message) or arrays != exchange.count_leaves(kind):
            return None
        return cls(pieces, kind)

    def read(self, message: bytes) -> Any:
        """The value of another message; None where it has another layout."""
        if len(message) != self._length:
            return None
        for start, end, fixed in self._fixed:
            if message[start:end] != fixed:
                return None
        leaves = (
            np.frombuffer(message, dtype, size, place).reshape(shape)[()]
            if size
            else np.zeros(shape, dtype)
            for place, size, dtype, shape in self._arrays
        )
        return exchange.structure(leaves, self._kind)


def _append(pieces: "list[Any]", value: Any, kind: tff.Type, named: bool) -> int:
    """Appends a `Value`, bytes and arrays in turn; returns how many bytes it has.

    Args:
      pieces: to append to.
      value, kind: see `exchange.to_value`; without names a list does too.
      named: whether the elements of structures have their names.
    """
    if isinstance(kind, tff.StructType) and (isinstance(value, Mapping) or not named):
        return _append_struct(pieces, value, kind, named)
    array = value
    if type(value) in (np.float32, np.float64):
        array = np.asarray(value)
    if isinstance(kind, tff.TensorType) and exchange.is_plain(array, kind):
        array = np.ascontiguousarray(array) if array.ndim else array
        head = _head(array.dtype, array.shape)
        pieces += [head, array]
        return len(head) + array.nbytes
    whole = exchange.to_value(value, kind).SerializeToString()
    pieces.append(whole)
    return len(whole)


def _append_struct(pieces: "list[Any]", value: Any, kind: tff.StructType, named: bool) -> int:
    parts = tff.structure.to_elements(kind)
    if named:
        exchange.require_names(value, parts)
    values = value.values() if isinstance(value, Mapping) and not named else value
    start, total = len(pieces), 0
    pieces.append(b"")
    for (name, of), inner in zip(parts, (value[name] for name, _ in parts) if named else values):
        place = len(pieces)
        pieces.append(b"")
        length = _append(pieces, inner, of, named)
        head = tags.VALUE_OF_ELEMENT + tags.varint(length)
        if named:
            head = _name(name) + head
        head = tags.ELEMENT + tags.varint(len(head) + length) + head
        pieces[place] = head
        total += len(head) + length
    pieces[start] = tags.STRUCT + tags.varint(total)
    return len(pieces[start]) + total


@functools.lru_cache(maxsize=4096)
def _name(name: str) -> bytes:
    text = name.encode()
    return tags.NAME_OF_ELEMENT + tags.varint(len(text)) + text


@functools.lru_cache(maxsize=4096)
def _head(dtype: "np.dtype[Any]", shape: "tuple[int, ...]") -> bytes:
    """All of a `Value` of an array but its numbers, which stand at its end."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    number = exchange.DTYPES[dtype.type]
    head = array_pb2.Array(dtype=number, shape=array_pb2.ArrayShape(dim=shape)).SerializeToString()
    if shape:
        head += tags.CONTENT + tags.varint(size)
    else:
        inner = tags.LIST_VALUE + tags.varint(size)
        head += _LISTS[dtype] + tags.varint(len(inner) + size) + inner
    return tags.ARRAY + tags.varint(len(head) + size) + head
