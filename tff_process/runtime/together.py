"""Several calls of TFF's executor protocol in one message, as a driver sends them to a silo's
gatekeeper.

A round is many small calls, and each would cost a message and its answer. A driver gives the
results their names itself, so that a later call can take an earlier one's result before anything is
answered. A message holds, for every call, its number in `METHODS`, the lengths of its result's name
and of its request, and these two; the answer is that of the last call.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

SERVICE, METHOD = "pfrec.Gatekeeper", "Calls"
METHODS = ("CreateValue", "CreateCall", "CreateStruct", "CreateSelection", "Compute", "Dispose")
_HEAD = struct.Struct(">BBI")


class Call(NamedTuple):
    """One of the calls.

    Attributes:
      method: its name in the protocol.
      name: that later calls have for the result; empty where there is none.
      request: the serialised message.
    """

    method: str
    name: str
    request: bytes


def pack(calls: "Iterable[Call]") -> bytes:
    """The message of some calls."""
    parts = []
    for call in calls:
        name = call.name.encode()
        parts += [_HEAD.pack(METHODS.index(call.method), len(name), len(call.request)), name]
        parts.append(call.request)
    return b"".join(parts)


def unpack(message: bytes) -> "list[Call]":
    """The calls of a message.

    Raises:
      ValueError: where it is none.
    """
    calls, place = [], 0
    while place < len(message):
        if len(message) - place < _HEAD.size:
            raise ValueError("a call that is cut off")
        number, name_length, length = _HEAD.unpack_from(message, place)
        start = place + _HEAD.size + name_length
        place = start + length
        if number >= len(METHODS) or place > len(message):
            raise ValueError("no call of the protocol, or one that is cut off")
        name = message[start - name_length : start].decode("ascii")
        calls.append(Call(METHODS[number], name, message[start:place]))
    return calls
