"""Values of TFF's protocol as a silo reads them: types, checks of a value against one, and its
numbers, without what TFF would run for it.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, Optional, Union

import numpy as np
from google.protobuf import unknown_fields  # type: ignore[import-untyped]
from tensorflow_federated.proto.v0 import array_pb2, executor_pb2

from tff_process.silos import labels

FLOAT, DOUBLE, INT32, INT16, INT8, STRING, INT64 = 1, 2, 3, 5, 6, 7, 9
_LISTS = {
    FLOAT: "float32_list",
    DOUBLE: "float64_list",
    INT32: "int32_list",
    INT16: "int16_list",
    INT8: "int8_list",
    STRING: "string_list",
    INT64: "int64_list",
}
_KINDS: "dict[int, Any]" = {
    FLOAT: np.float32,
    DOUBLE: np.float64,
    INT32: np.int32,
    INT16: np.int16,
    INT8: np.int8,
    INT64: np.int64,
}
NAMES = {**{number: np.dtype(kind).name for number, kind in _KINDS.items()}, STRING: "string"}
MOST_TEXT = 1 << 20


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A tensor's type; a length of None is any."""

    dtype: int
    shape: "tuple[Optional[int], ...]"

    def __str__(self) -> str:
        lengths = ",".join("?" if length is None else str(length) for length in self.shape)
        return f"{NAMES.get(self.dtype, self.dtype)}[{lengths}]"

    @property
    def bytes(self) -> int:
        """Of its numbers."""
        return (
            int(np.prod([length or 0 for length in self.shape], dtype=np.int64))
            * np.dtype(_KINDS[self.dtype]).itemsize
        )


Spec = Union[Tensor, Mapping[str, Any]]


def check(value: executor_pb2.Value, spec: Spec, place: str) -> None:
    """Checks a value against a type, and that its numbers are finite.

    Raises:
      RefusedError: where it does not fit; the message names the tensor.
    """
    kind = value.WhichOneof("value")
    if isinstance(spec, Tensor):
        if kind != "array":
            raise labels.RefusedError(f"{place}: not a tensor, where {spec} is agreed")
        _check_array(value.array, spec, place)
        return
    if kind != "struct" and (kind is not None or spec):
        raise labels.RefusedError(f"{place}: not a structure")
    if [element.name for element in value.struct.element] != list(spec):
        raise labels.RefusedError(f"{place}: other parts than the {len(spec)} agreed")
    for element, of in zip(value.struct.element, spec.values()):
        check(element.value, of, f"{place}/{element.name}")


def _check_array(array: array_pb2.Array, spec: Tensor, place: str) -> None:
    found = Tensor(array.dtype, tuple(array.shape.dim))
    fits = (
        array.dtype == spec.dtype
        and not array.shape.unknown_rank
        and len(found.shape) == len(spec.shape)
    )
    if not fits or any(
        have < 0 or (want is not None and have != want)
        for have, want in zip(array.shape.dim, spec.shape)
    ):
        raise labels.RefusedError(f"{place}: {str(found)[:80]}, where {spec} is agreed")
    count = 1
    for length in array.shape.dim:
        count *= length
    listed = array.WhichOneof("kind")
    content = array.content if array.HasField("content") else None
    if content is not None:
        whole = (
            array.dtype != STRING
            and listed is None
            and len(content) == count * np.dtype(_KINDS[array.dtype]).itemsize
        )
    else:
        whole = (listed == _LISTS[array.dtype] and len(getattr(array, listed).value) == count) or (
            listed is None and count == 0
        )
    if not whole:
        raise labels.RefusedError(f"{place}: its numbers do not make up {spec}")
    if array.dtype == STRING:
        if sum(map(len, array.string_list.value)) > MOST_TEXT:
            raise labels.RefusedError(f"{place}: a text longer than {MOST_TEXT} bytes")
    elif array.dtype in (FLOAT, DOUBLE) and not np.all(np.isfinite(numbers(array, content))):
        raise labels.RefusedError(f"{place}: holds values that are not finite")


def numbers(array: array_pb2.Array, content: Optional[bytes] = None) -> np.ndarray:
    """The numbers of a checked array, flat; `content` is its own where the caller has it, which
    spares a copy.
    """
    if array.HasField("content"):
        return np.frombuffer(array.content if content is None else content, _KINDS[array.dtype])
    listed = array.WhichOneof("kind")
    return np.array(getattr(array, listed).value if listed else [], _KINDS[array.dtype])


def payload_bytes(array: array_pb2.Array, spec: Tensor) -> int:
    """Bytes of an array's numbers or texts; it is of the type."""
    return sum(map(len, array.string_list.value)) if array.dtype == STRING else spec.bytes


def known(message: Any) -> bool:
    """Whether a message has no field that the protocol does not know, at any depth."""
    if len(unknown_fields.UnknownFieldSet(message)):
        return False
    # What `ListFields` lists it copies, and the numbers are most of a message.
    for name, repeated in _inner(message.DESCRIPTOR):
        if repeated:
            if not all(map(known, getattr(message, name))):
                return False
        elif message.HasField(name) and not known(getattr(message, name)):
            return False
    return True


@functools.cache
def _inner(descriptor: Any) -> "tuple[tuple[str, bool], ...]":
    """The fields of a kind of message that are messages themselves, and whether there may be
    several.
    """
    return tuple(
        (field.name, field.label == field.LABEL_REPEATED)
        for field in descriptor.fields
        if field.type == field.TYPE_MESSAGE
    )


def size(value: executor_pb2.Value) -> int:
    """Bytes of a value's numbers and texts as its shapes say, which nobody checked yet. To ask a
    message for its size takes as long as to write it.
    """
    total = 0
    for array in arrays(value):
        if array.dtype in _KINDS:
            total += math.prod(array.shape.dim) * np.dtype(_KINDS[array.dtype]).itemsize
        else:
            total += sum(map(len, array.string_list.value))
    return total


def digest(value: executor_pb2.Value) -> str:
    """SHA-256 of a checked value's types, shapes and numbers, however they are written."""
    found = hashlib.sha256()
    for array in arrays(value):
        kind = [array.dtype, len(array.shape.dim), *array.shape.dim]
        found.update(np.array(kind, "<i8").tobytes())
        found.update(numbers(array).tobytes())
    return found.hexdigest()


def arrays(value: executor_pb2.Value) -> "Iterator[array_pb2.Array]":
    """All tensors of a value, in order."""
    if value.WhichOneof("value") == "struct":
        for element in value.struct.element:
            yield from arrays(element.value)
    elif value.WhichOneof("value") == "array":
        yield value.array


def tensors(spec: Spec, place: str = "") -> "Iterator[tuple[str, Tensor]]":
    """All tensors of a type with their places in it, in order."""
    if isinstance(spec, Tensor):
        yield place, spec
        return
    for name, of in spec.items():
        yield from tensors(of, f"{place}/{name}" if place else name)


def string(text: str) -> executor_pb2.Value:
    """A scalar text as TFF sends it."""
    array = array_pb2.Array(dtype=STRING, shape=array_pb2.ArrayShape())
    array.string_list.value.append(text.encode())
    return executor_pb2.Value(array=array)


def strings(texts: "tuple[str, ...]") -> executor_pb2.Value:
    """A vector of texts."""
    array = array_pb2.Array(dtype=STRING, shape=array_pb2.ArrayShape(dim=[len(texts)]))
    array.string_list.value.extend(text.encode() for text in texts)
    return executor_pb2.Value(array=array)


def integer(value: executor_pb2.Value) -> int:
    (number,) = numbers(value.array)
    return int(number)


def text_of(value: executor_pb2.Value) -> str:
    try:
        return value.array.string_list.value[0].decode()
    except UnicodeDecodeError:
        raise labels.RefusedError("a text that is not UTF-8") from None
