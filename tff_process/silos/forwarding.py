"""The bytes of a message that brings a checked value to the worker, in one copy of its numbers.

protobuf writes a message from its end into a buffer that it makes twice as large whenever it is
full, which takes longer than all else that is done with a large value on its way. Here what is
around the numbers is written by protobuf, and the numbers are put between.
"""

from tensorflow_federated.proto.v0 import array_pb2, executor_pb2

from tff_process.runtime import tags

# Smaller arrays are written as they are.
_LARGE = 1 << 12


def create_value(request: executor_pb2.CreateValueRequest) -> bytes:
    """A message of the same content as `request.SerializeToString()`; it has no fields that the
    protocol does not know.
    """
    head = executor_pb2.CreateValueRequest()
    if request.HasField("executor"):
        head.executor.CopyFrom(request.executor)
    value = (
        _nested(tags.VALUE_OF_REQUEST, _value(request.value)) if request.HasField("value") else []
    )
    return b"".join([head.SerializeToString(), *value])


def _value(value: executor_pb2.Value) -> "list[bytes]":
    kind = value.WhichOneof("value")
    if kind == "array":
        return _nested(tags.ARRAY, _array(value.array))
    if kind != "struct":
        return [value.SerializeToString()]
    parts: list[bytes] = []
    for element in value.struct.element:
        name = executor_pb2.Value.Struct.Element(name=element.name).SerializeToString()
        if element.HasField("value"):
            parts += _nested(
                tags.ELEMENT, [name, *_nested(tags.VALUE_OF_ELEMENT, _value(element.value))]
            )
        else:
            parts += _nested(tags.ELEMENT, [name])
    return _nested(tags.STRUCT, parts)


def _array(array: array_pb2.Array) -> "list[bytes]":
    content = array.content if array.HasField("content") else b""
    if len(content) < _LARGE or array.WhichOneof("kind") is not None:
        return [array.SerializeToString()]
    head = array_pb2.Array(dtype=array.dtype)
    if array.HasField("shape"):
        head.shape.CopyFrom(array.shape)
    return [head.SerializeToString(), *_nested(tags.CONTENT, [content])]


def _nested(tag: bytes, parts: "list[bytes]") -> "list[bytes]":
    return [tag, tags.varint(sum(map(len, parts))), *parts]
