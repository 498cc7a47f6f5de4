"""Several calls of TFF's executor protocol in one message, as a driver sends them to a silo's
gatekeeper.

A round is many small calls, and each would cost a message and its answer. A driver gives the
results their names itself, so that a later call can take an earlier one's result before anything is
answered. A message holds, for every call, its number in `METHODS`, the lengths of its result's name
and of its request, and these two. What is asked for, `Compute`, stands at its end, and is answered
all at once: a silo then writes its ledger once for all of it.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

SERVICE, METHOD = "pfrec.Gatekeeper", "Calls"
METHODS = ("CreateValue", "CreateCall", "CreateStruct", "CreateSelection", "Compute", "Dispose")
# Of a message: each takes far more memory than its six bytes at least.
MOST_CALLS = 500
_HEAD, _LENGTH = struct.Struct(">BBI"), struct.Struct(">I")


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
    calls: list[Call] = []
    place = 0
    while place < len(message):
        if len(calls) == MOST_CALLS:
            raise ValueError(f"more than {MOST_CALLS} calls")
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


def pack_answers(answers: "Iterable[bytes]") -> bytes:
    """The answer to a message: one for each `Compute` in it, in their order."""
    return b"".join(_LENGTH.pack(len(answer)) + answer for answer in answers)


def unpack_answers(message: bytes) -> "list[bytes]":
    """The answers in the answer to a message.

    Raises:
      ValueError: where it is none.
    """
    answers: list[bytes] = []
    place = 0
    while place < len(message):
        if len(message) - place < _LENGTH.size:
            raise ValueError("an answer that is cut off")
        (length,) = _LENGTH.unpack_from(message, place)
        start, place = place + _LENGTH.size, place + _LENGTH.size + length
        if place > len(message):
            raise ValueError("an answer that is cut off")
        answers.append(message[start:place])
    return answers
