"""A compiled computation that runs in a worker of ours, whole in one call: nothing of it stays
there, so that one that was lost with its worker is called again.
"""

import collections
import logging
from typing import Any

import numpy as np
import tensorflow_federated as tff

from pfrec import errors
from tff_process.runtime import executor, hosts, remote

OD = collections.OrderedDict
# Bytes from which on the parts of a structure pass one by one, as a message holds 2 GB at most.
_TOGETHER = 1 << 28

_log = logging.getLogger(__name__)


class WorkerFunction:
    """Calls a computation in a worker, from arrays to arrays, as `local.LocalFunction` does here.

    Args:
      host: of the worker, which is up when this is called.
      function: compiled.
    """

    def __init__(self, host: hosts.Host, function: remote.Function) -> None:
        self._host, self._function = host, function

    def __call__(self, *arguments: Any) -> Any:
        """Calls it.

        Args:
          *arguments: of the computation's parameters, in order; structures as mappings.

        Returns:
          its result; structures as ordered dicts.

        Raises:
          PfrecError: where it fails, or the worker was lost three times.
        """
        host = self._host
        for attempt in range(executor.ATTEMPTS):
            try:
                return self._called(arguments)
            except remote.WorkError as error:
                host.lost |= error.lost
                if not error.lost or attempt + 1 == executor.ATTEMPTS:
                    raise errors.PfrecError(
                        f"{host.name}: {error}; see its log, mend it and {executor.GO_ON}"
                    ) from error
                _log.warning("%s is lost (%s); %s", host.name, error, host.again)
                host.down()
                host.up()
        raise AssertionError

    def _called(self, arguments: "tuple[Any, ...]") -> Any:
        there, signature = self._host.remote, self._function.type_signature
        kinds = tff.structure.to_elements(signature.parameter)
        given = OD(
            (name, _sent(there, value, kind)) for (name, kind), value in zip(kinds, arguments)
        )
        result = there.call(self._function, there.struct(given))
        return _fetched(there, result, signature.result)


def _sent(there: remote.Remote, value: Any, kind: tff.Type) -> Any:
    if _bytes(kind) < _TOGETHER:
        return there.send(value, kind)
    parts = tff.structure.to_elements(kind)
    return there.struct(OD((name, _sent(there, value[name], inner)) for name, inner in parts))


def _fetched(there: remote.Remote, reference: Any, kind: tff.Type) -> Any:
    if _bytes(kind) < _TOGETHER:
        return there.fetch(reference)
    return OD(
        (name, _fetched(there, there.select(reference, number), inner))
        for number, (name, inner) in enumerate(tff.structure.to_elements(kind))
    )


def _bytes(kind: tff.Type) -> int:
    """Of a structure; of a tensor 0, as it passes alone in any case."""

    def size(kind: tff.Type) -> int:
        if isinstance(kind, tff.StructType):
            return sum(size(inner) for _, inner in tff.structure.to_elements(kind))
        dims = [dim or 1 for dim in kind.shape or ()]
        return int(np.prod(dims, dtype=np.int64)) * 8

    return size(kind) if isinstance(kind, tff.StructType) else 0
