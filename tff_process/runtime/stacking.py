"""The reports of an aggregation step along a client axis, as the aggregation takes them: each is
copied to its place as it arrives, so that of all of them the driver holds one copy and not two.
"""

import collections
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_federated as tff

OD = collections.OrderedDict
_ALIGNMENT = 64  # of Eigen's arrays, in bytes


class Stack:
    """Room for the reports of all clients; several threads may use it for different clients.

    Args:
      kind: the type of a report.
      clients: how many there are.
    """

    def __init__(self, kind: tff.StructType, clients: int) -> None:
        self._clients = clients
        self._held: set[int] = set()
        self._rooms = _rooms(kind, clients)

    def hold(self, client: int, report: "Mapping[str, Any]") -> "OD[str, Any]":
        """The same report with its arrays in their places here, so that what they came in can go;
        what is not of the type stays as it is, for whoever judges it.
        """
        self._held.add(client)
        held: OD[str, Any] = _held(self._rooms, report, client)
        return held

    def whole(self, reports: "Mapping[int, Any]") -> "OD[str, Any]":
        """All reports, zeros where a client is absent, and who is present: what
        `collecting.collector` brings.

        Args:
          reports: by client number, those that count; of the type.
        """
        # The room of a client that has sent nothing takes no memory while nobody writes to it.
        for client in self._held | set(reports):
            _fill(self._rooms, reports.get(client), client)
        present = np.array([client in reports for client in range(self._clients)])
        return OD(value=self._rooms, present=present)


def _rooms(kind: tff.Type, clients: int) -> Any:
    if isinstance(kind, tff.StructType):
        return OD((name, _rooms(of, clients)) for name, of in tff.structure.to_elements(kind))
    # Where TensorFlow takes it as it is; elsewhere it would make a copy.
    shape, dtype = (clients, *kind.shape), np.dtype(kind.dtype.type)
    size = math.prod(shape) * dtype.itemsize
    room = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -room.ctypes.data % _ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)


def _held(rooms: Any, value: Any, client: int) -> Any:
    if isinstance(rooms, Mapping):
        return OD((name, _held(room, value[name], client)) for name, room in rooms.items())
    if not isinstance(value, np.ndarray) or not value.ndim:
        return value
    if value.shape != rooms.shape[1:] or value.dtype != rooms.dtype:
        return value
    rooms[client] = value
    return rooms[client]


def _fill(rooms: Any, value: Any, client: int) -> None:
    if isinstance(rooms, Mapping):
        for name, room in rooms.items():
            _fill(room, None if value is None else value[name], client)
    elif value is None:
        rooms[client] = 0
    elif not np.may_share_memory(rooms[client], value):  # Else it is there already.
        rooms[client] = value
