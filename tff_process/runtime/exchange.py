"""Values of TFF's protocol to arrays and back: the same bytes as TFF's own functions make, in one
copy of the numbers and without a trace of each tensor, which takes longer than a small one does.
"""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff
from tensorflow_federated.proto.v0 import array_pb2, executor_pb2

# The numbers of the protocol's types (array.proto, DataType), of all that is ever passed in bulk.
DTYPES: "dict[Any, int]" = {
    np.float32: 1,
    np.float64: 2,
    np.int32: 3,
    np.int16: 5,
    np.int8: 6,
    np.int64: 9,
}
# Where single numbers of a type stand in the protocol's form.
_LISTS: "dict[Any, tuple[str, Any]]" = {
    np.float32: ("float32_list", array_pb2.Array.FloatList),
    np.float64: ("float64_list", array_pb2.Array.DoubleList),
    np.int32: ("int32_list", array_pb2.Array.IntList),
    np.int64: ("int64_list", array_pb2.Array.Int64List),
}


def to_value(value: Any, kind: tff.Type) -> executor_pb2.Value:
    """A value of a type in the protocol's form.

    Args:
      value: an array, a number of NumPy's, or a mapping of the structure's names in any order.
      kind: its type.

    Raises:
      TypeError: where the value is none of the type.
    """
    if isinstance(kind, tff.StructType) and isinstance(value, Mapping):
        parts = tff.structure.to_elements(kind)
        require_names(value, parts)
        element = executor_pb2.Value.Struct.Element
        return executor_pb2.Value(
            struct=executor_pb2.Value.Struct(
                element=[element(name=n, value=to_value(value[n], of)) for n, of in parts]
            )
        )
    if isinstance(kind, tff.TensorType) and is_plain(value, kind) and value.ndim:
        return executor_pb2.Value(
            array=array_pb2.Array(
                dtype=DTYPES[value.dtype.type],
                shape=array_pb2.ArrayShape(dim=value.shape),
                content=value.tobytes(),
            )
        )
    if (
        isinstance(kind, tff.TensorType)
        and type(value) in _LISTS
        and value.dtype == kind.dtype
        and kind.shape == ()
    ):
        name, make = _LISTS[type(value)]
        single = make(value=[value.item()])
        number = DTYPES[type(value)]
        return executor_pb2.Value(
            array=array_pb2.Array(dtype=number, shape=array_pb2.ArrayShape(), **{name: single})
        )
    # Texts, which TFF writes otherwise, and whatever else.
    found: executor_pb2.Value = tff.framework.serialize_value(value, kind)[0]
    return found


def from_value(value: executor_pb2.Value, kind: tff.Type) -> Any:
    """The inverse; structures as ordered dicts, or lists where they have no names. Arrays are views
    of what came, and cannot be written to.

    What another machine sent may be of another shape than the type says, as with TFF: whoever does
    not trust it checks that (`guard`).

    Raises:
      ValueError: where the numbers do not make up the shape that came with them, or a structure has
        another number of elements.
    """
    if isinstance(kind, tff.StructType):
        # The worker returns structures without names.
        elements, parts = value.struct.element, tff.structure.to_elements(kind)
        if len(elements) != len(parts):
            raise ValueError(f"{len(elements)} elements where the type has {len(parts)}")
        inner = [from_value(element.value, of) for element, (_, of) in zip(elements, parts)]
        names = tff.structure.name_list(kind)
        return inner if inner and not names else collections.OrderedDict(zip(names, inner))
    array = value.array
    if (
        isinstance(kind, tff.TensorType)
        and DTYPES.get(kind.dtype.type) == array.dtype
        and array.HasField("content")
        and array.shape.dim
        and not array.shape.unknown_rank
    ):
        return np.frombuffer(array.content, kind.dtype).reshape(tuple(array.shape.dim))
    return tff.framework.deserialize_value(value, kind)[0]


def require_names(value: "Mapping[str, Any]", parts: "Sequence[tuple[str, tff.Type]]") -> None:
    """Checks that a structure has the names of its type, in any order.

    Raises:
      TypeError: where it has not.
    """
    if len(parts) != len(value) or any(name not in value for name, _ in parts):
        raise TypeError(f"{list(value)}: is not {[name for name, _ in parts]}")


def is_plain(value: Any, kind: tff.TensorType) -> bool:
    """Whether a value passes as the bytes of its numbers: an array of the type's numbers, or a
    single floating-point number in one.

    Raises:
      TypeError: where it is an array of another shape than the type's.
    """
    if not isinstance(value, np.ndarray) or value.dtype != kind.dtype:
        return False
    if not value.ndim and (kind.shape != () or value.dtype.type not in (np.float32, np.float64)):
        return False
    if value.dtype.type not in DTYPES:
        return False
    if not _fits(value.shape, kind.shape):
        raise TypeError(f"an array of shape {list(value.shape)} is not {kind}")
    return True


def count_leaves(kind: tff.Type) -> int:
    """How many values that are no structures a type has."""
    if not isinstance(kind, tff.StructType):
        return 1
    return sum(count_leaves(of) for _, of in tff.structure.to_elements(kind))


def structure(leaves: "Iterator[Any]", kind: tff.Type) -> Any:
    """Values in a type's structure: ordered dicts, or lists where there are no names."""
    if not isinstance(kind, tff.StructType):
        return next(leaves)
    inner = [structure(leaves, of) for _, of in tff.structure.to_elements(kind)]
    names = tff.structure.name_list(kind)
    return inner if inner and not names else collections.OrderedDict(zip(names, inner))


def _fits(shape: "tuple[int, ...]", wanted: Any) -> bool:
    if wanted is None:
        return True
    return len(shape) == len(wanted) and all(
        of is None or length == of for length, of in zip(shape, wanted)
    )
