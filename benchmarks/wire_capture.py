"""What passes between a driver and a silo, decoded to the last byte: TCP -> HTTP/2 frames -> gRPC
messages -> TFF's executor protocol.

The capture is a relay on the plain side of the connection, where no tunnel hides anything.
"""

import collections
import dataclasses
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Optional

import numpy as np
from tensorflow_federated.proto.v0 import array_pb2, data_type_pb2, executor_pb2

from tff_process.runtime import together
from tff_process.silos import relay

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAMES = {
    0: "DATA",
    1: "HEADERS",
    3: "RST_STREAM",
    4: "SETTINGS",
    6: "PING",
    7: "GOAWAY",
    8: "WINDOW_UPDATE",
    9: "CONTINUATION",
}
_KINDS: "dict[int, Any]" = {
    data_type_pb2.DT_BOOL: np.bool_,
    data_type_pb2.DT_INT32: np.int32,
    data_type_pb2.DT_INT64: np.int64,
    data_type_pb2.DT_FLOAT: np.float32,
    data_type_pb2.DT_DOUBLE: np.float64,
    data_type_pb2.DT_STRING: object,
}
# RFC 7541, appendix A, as far as names and values matter here: the position of a header tells its
# name.
_STATIC = """
:authority :method=GET :method=POST :path=/ :path=/index.html :scheme=http :scheme=https :status=200
:status=204 :status=206 :status=304 :status=400 :status=404 :status=500 accept-charset
accept-encoding=gzip,+deflate accept-language accept-ranges accept access-control-allow-origin age
allow authorization cache-control content-disposition content-encoding content-language
content-length content-location content-range content-type cookie date etag expect expires from host
if-match if-modified-since if-none-match if-range if-unmodified-since last-modified link location
max-forwards proxy-authenticate proxy-authorization range referer refresh retry-after server
set-cookie strict-transport-security transfer-encoding user-agent vary via www-authenticate
""".split()  # noqa: SIM905


class Recorder(relay.Relay):
    """A relay that keeps all that passes.

    Attributes:
      passed: for each connection and direction (outward is from the driver), its bytes.
    """

    def __init__(self, listening: socket.socket, host: str, port: int) -> None:
        self.passed: dict[tuple[int, bool], bytearray] = collections.defaultdict(bytearray)
        super().__init__(listening, host, port)

    def received(self, connection: int, outward: bool, data: bytes) -> None:
        self.passed[connection, outward] += data


@dataclasses.dataclass
class Call:
    """One call of the executor's protocol.

    Attributes:
      method: its name, as Compute.
      request, response: the messages; the response is None where there was none.
      sizes: bytes of both messages on the wire, without gRPC's five before each.
    """

    method: str
    request: Any
    response: Any
    sizes: "tuple[int, int]"


@dataclasses.dataclass
class Traffic:
    """What was captured, decoded.

    Attributes:
      calls: in the order in which their streams began.
      headers: all headers that were sent, by name.
      bytes_by_frame: wire bytes by direction ("out", "in") and kind of frame, the preface included;
        their sum is all that passed.
    """

    calls: "list[Call]"
    headers: "dict[str, set[str]]"
    bytes_by_frame: "dict[str, dict[str, int]]"


def decode(passed: "Mapping[tuple[int, bool], bytearray]") -> Traffic:
    """Decodes a recorder's bytes.

    Raises:
      ValueError: where some are not of the protocol.
    """
    traffic = Traffic(
        [],
        collections.defaultdict(set),
        {"out": collections.Counter(), "in": collections.Counter()},
    )
    for connection in sorted({number for number, _ in passed}):
        paths: dict[int, str] = {}
        bodies: dict[bool, dict[int, bytearray]] = {}
        for outward in (True, False):
            bodies[outward] = collections.defaultdict(bytearray)
            table = _HeaderTable()
            counts = traffic.bytes_by_frame["out" if outward else "in"]
            for kind, stream, payload, size in _frames(bytes(passed[connection, outward]), outward):
                counts[kind] += size
                if kind == "DATA":
                    bodies[outward][stream] += payload
                elif kind == "HEADERS":
                    for name, value in table.decode(payload):
                        traffic.headers[name].add(value)
                        if name == ":path":
                            paths[stream] = value
        for stream, path in sorted(paths.items()):
            request, response = bytes(bodies[True][stream]), bytes(bodies[False][stream])
            several = path == f"/{together.SERVICE}/{together.METHOD}"
            make = _several if several else _call
            traffic.calls += make(path, request, response)
    return traffic


def leaves(value: executor_pb2.Value, place: str = "") -> "Iterator[tuple[str, array_pb2.Array]]":
    """The arrays of a value with their places in it; a computation is none."""
    if value.WhichOneof("value") == "struct":
        for number, element in enumerate(value.struct.element):
            name = element.name or str(number)
            yield from leaves(element.value, f"{place}/{name}" if place else name)
    elif value.WhichOneof("value") == "array":
        yield place, value.array


def content(array: array_pb2.Array) -> np.ndarray:
    """The numbers or texts of an array, flat."""
    kind = _KINDS[array.dtype]
    if kind is object:
        return np.array(list(array.string_list.value), object)
    if array.content:
        return np.frombuffer(array.content, kind)
    listed = array.WhichOneof("kind")
    return np.array(list(getattr(array, listed).value) if listed else [], kind)


def payload_bytes(array: array_pb2.Array) -> int:
    """Bytes of an array's numbers or texts."""
    values = content(array)
    return sum(map(len, values)) if values.dtype == object else values.nbytes


def _frames(data: bytes, outward: bool) -> "Iterator[tuple[str, int, bytes, int]]":
    """Kind, stream, payload without padding and priority, and wire bytes of each frame;
    the preface counts as one.
    """
    at = 0
    if outward and data:
        if not data.startswith(_PREFACE):
            raise ValueError(f"not HTTP/2: {data[:30]!r}")
        at = len(_PREFACE)
        yield "PREFACE", 0, b"", at
    while at < len(data):
        length, kind, flags = int.from_bytes(data[at : at + 3], "big"), data[at + 3], data[at + 4]
        stream, payload = (
            int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFFFFFF,
            data[at + 9 : at + 9 + length],
        )
        if len(payload) < length:
            raise ValueError("the capture ends in a frame")
        if kind not in _FRAMES or kind == 9 or (kind == 1 and not flags & 0x4):
            raise ValueError(f"a frame of kind {kind} is not expected here")
        if kind in (0, 1) and flags & 0x8:
            payload = payload[1 : len(payload) - payload[0]]
        if kind == 1 and flags & 0x20:
            payload = payload[5:]
        yield _FRAMES[kind], stream, payload, 9 + length
        at += 9 + length


def _call(path: str, request: bytes, response: bytes) -> "list[Call]":
    first, second = _message(request), _message(response) if response else b""
    return [_parsed(path.rsplit("/", 1)[1], first, second if response else None)]


def _several(path: str, request: bytes, response: bytes) -> "list[Call]":
    """The calls of one message, of which those at its end that ask for something have answers."""
    answers = together.unpack_answers(_message(response)) if response else []
    calls = together.unpack(_message(request))
    silent: list[Optional[bytes]] = [None] * (len(calls) - len(answers))
    return [
        _parsed(call.method, call.request, answer)
        for call, answer in zip(calls, [*silent, *answers])
    ]


def _parsed(method: str, first: bytes, second: "Optional[bytes]") -> Call:
    parsed = getattr(executor_pb2, f"{method}Request").FromString(first)
    answer = (
        None if second is None else getattr(executor_pb2, f"{method}Response").FromString(second)
    )
    for raw, message in ((first, parsed), (second or b"", answer)):
        # Nothing rides along that the protocol does not know: what is parsed makes up the whole
        # message.
        if message is not None and message.ByteSize() != len(raw):
            raise ValueError(f"{method}: {len(raw)} bytes hold {message.ByteSize()}")
        if message is not None:
            message.DiscardUnknownFields()
            if message.ByteSize() != len(raw):
                raise ValueError(f"{method}: fields that the protocol does not know")
    return Call(method, parsed, answer, (len(first), len(second or b"")))


def _message(body: bytes) -> bytes:
    """The one message of a unary call, neither compressed nor followed by anything."""
    if body[0] or len(body) != 5 + int.from_bytes(body[1:5], "big"):
        raise ValueError("not one plain gRPC message")
    return body[5:]


class _HeaderTable:
    """HPACK (RFC 7541) without Huffman coding, which gRPC's C core does not use for text."""

    def __init__(self) -> None:
        self._dynamic: collections.deque[tuple[str, str]] = collections.deque()
        self._limit = 4096

    def decode(self, block: bytes) -> "Iterator[tuple[str, str]]":
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:
                index, at = _integer(block, at, 7)
                yield self._entry(index)
            elif first & 0xE0 == 0x20:
                self._limit, at = _integer(block, at, 5)
                self._shrink()
            else:
                kept = bool(first & 0x40)
                index, at = _integer(block, at, 6 if kept else 4)
                if index:
                    name = self._entry(index)[0]
                else:
                    name, at = _text(block, at)
                value, at = _text(block, at)
                if kept:
                    self._dynamic.appendleft((name, value))
                    self._shrink()
                yield name, value

    def _entry(self, index: int) -> "tuple[str, str]":
        if index <= len(_STATIC):
            name, _, value = _STATIC[index - 1].partition("=")
            return name, value.replace("+", " ")
        return self._dynamic[index - len(_STATIC) - 1]

    def _shrink(self) -> None:
        while sum(len(name) + len(value) + 32 for name, value in self._dynamic) > self._limit:
            self._dynamic.pop()


def _integer(block: bytes, at: int, bits: int) -> "tuple[int, int]":
    mask = (1 << bits) - 1
    value, at, shift = block[at] & mask, at + 1, 0
    if value == mask:
        while True:
            value += (block[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not block[at - 1] & 0x80:
                break
    return value, at


def _text(block: bytes, at: int) -> "tuple[str, int]":
    if block[at] & 0x80:
        raise ValueError("a header in Huffman coding")
    length, at = _integer(block, at, 7)
    return block[at : at + length].decode("latin-1"), at + length


if __name__ == "__main__":
    sys.exit("a part of wire_bytes.py")
