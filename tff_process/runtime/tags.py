"""The tags of TFF's protocol that values are written and read with by hand: a field's number, for
fields with a length, as protobuf's writer puts it (array.proto, executor.proto).
"""

from typing import Any

from tensorflow_federated.proto.v0 import array_pb2, executor_pb2

_LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """Protobuf's varint of a number that is not negative."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _tag(message: Any, field: str) -> bytes:
    number = message.DESCRIPTOR.fields_by_name[field].number
    return varint(number << 3 | _LENGTH_DELIMITED)


VALUE_OF_REQUEST = _tag(executor_pb2.CreateValueRequest, "value")
EXECUTOR_OF_REQUEST = _tag(executor_pb2.CreateValueRequest, "executor")
VALUE_OF_ANSWER = _tag(executor_pb2.ComputeResponse, "value")
STRUCT, ARRAY = _tag(executor_pb2.Value, "struct"), _tag(executor_pb2.Value, "array")
ELEMENT = _tag(executor_pb2.Value.Struct, "element")
NAME_OF_ELEMENT = _tag(executor_pb2.Value.Struct.Element, "name")
VALUE_OF_ELEMENT = _tag(executor_pb2.Value.Struct.Element, "value")
CONTENT = _tag(array_pb2.Array, "content")
FLOAT32_LIST = _tag(array_pb2.Array, "float32_list")
FLOAT64_LIST = _tag(array_pb2.Array, "float64_list")
LIST_VALUE = _tag(array_pb2.Array.FloatList, "value")
