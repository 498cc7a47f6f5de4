"""What was traced and compiled, kept for whatever needs the same later: in memory for the runs of
this process, in the user's cache directory for other processes.
"""

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Optional, TypeVar

import tensorflow_federated as tff

import pfrec
from pfrec import store
from tff_process.process import computations
from tff_process.runtime import compiled as compiled_lib
from tff_process.runtime import remote

_DIRECTORY = "computations"
# What makes graphs, or decides on how they are optimised.
_PACKAGES = (
    "tensorflow",
    "keras",
    "tensorflow-recommenders",
    "tensorflow-federated",
    "numpy",
)
_Part = tuple[Optional[Mapping[str, Any]], Mapping[str, Callable[[], tff.Computation]]]
_Made = TypeVar("_Made")
_ENVIRONMENT = ("TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS")


@dataclasses.dataclass
class ComputationCache:
    """Keeps the computations of the runs of one process. Whoever wants them kept hands one in."""

    _compiled: "dict[Hashable, Any]" = dataclasses.field(default_factory=dict)

    def get(self, key: Hashable, make: "Callable[[], _Made]") -> _Made:
        """What was made for a key.

        Args:
          key: all that the graphs depend on, see `Federation.graph_key`.
          make: called where nothing was made for the key yet.
        """
        if key not in self._compiled:
            self._compiled[key] = make()
        made: _Made = self._compiled[key]
        return made


def compiled(
    traced: computations.Computations, record: "Optional[Mapping[str, Any]]"
) -> compiled_lib.Compiled:
    """The computations, compiled: here, or by an earlier process of this user that needed the same.

    Clients' are kept apart from the server's, so that they serve runs with more or fewer clients,
    or aggregations.

    Args:
      traced: what to trace and compile where it is not kept.
      record: all that the graphs depend on as plain data, see `Federation.graph_record`; None where
        they depend on more than that can say, so that nothing may be kept.
    """
    own = compiled_lib.client_functions(traced)
    parts: list[_Part] = [
        (None, compiled_lib.tracers(traced, (*compiled_lib.SERVER_FUNCTIONS, *own)))
    ]
    if record is not None:
        parts = [
            (record, compiled_lib.tracers(traced, compiled_lib.SERVER_FUNCTIONS)),
            (record["client"], compiled_lib.tracers(traced, own)),
        ]
    return compiled_lib.Compiled.of(traced, functions(parts))


def at_the_end(
    traced: computations.Computations,
    record: "Optional[Mapping[str, Any]]",
    names: "Sequence[str]",
) -> "dict[str, remote.Function]":
    """Computations that clients come to at the end of a training alone, by name, kept apart from
    those of its rounds; of `compiled.AT_HOME_FUNCTIONS` or `FINISHING_FUNCTIONS`, other arguments
    as of `compiled`.
    """
    how = compiled_lib.tracers(traced, names)
    told = None if record is None else {"at the end": list(names), "client": record["client"]}
    return functions([(told, how)])


def functions(parts: "Sequence[_Part]") -> "dict[str, remote.Function]":
    """Computations by name, compiled: here, or by an earlier process of this user.

    Args:
      parts: what is kept together, each with all that its graphs depend on as plain data, None
        where nothing may be kept, and with what traces each computation, by name.
    """
    place = store.of_user(_DIRECTORY)
    keys = [None if place is None or record is None else _key(record) for record, _ in parts]
    found: dict[str, remote.Function] = {}
    for key, (_, how) in zip(keys, parts):
        kept = None if place is None or key is None else place.load(key)
        if kept is not None and set(kept) == set(how):
            found.update(compiled_lib.restored(kept))
    made = compiled_lib.traced_functions(
        {name: trace for _, how in parts for name, trace in how.items() if name not in found}
    )
    for key, (_, how) in zip(keys, parts):
        if place is not None and key is not None and made.keys() >= set(how):
            place.save(key, compiled_lib.serialised({name: made[name] for name in how}))
    return {**found, **made}


def _key(record: "Mapping[str, Any]") -> str:
    """The name of what depends on a record and on what traces it."""
    return hashlib.sha256(json.dumps([_maker(), record], sort_keys=True).encode()).hexdigest()


@functools.lru_cache(maxsize=1)
def _maker() -> "list[Any]":
    """What traced and compiled, as plain data: our own code, the packages under it, the processor
    that constants were folded on.
    """
    root = pathlib.Path(pfrec.__file__).parent.parent
    code = hashlib.sha256()
    for package in ("pfrec", "tff_process"):
        for path in sorted((root / package).rglob("*.py")):
            code.update(f"{path.relative_to(root)}\n".encode())
            code.update(hashlib.sha256(path.read_bytes()).digest())
    return [
        code.hexdigest(),
        [importlib.metadata.version(name) for name in _PACKAGES],
        list(sys.version_info[:3]),
        [os.environ.get(name, "") for name in _ENVIRONMENT],
        [platform.machine(), _processor(), len(os.sched_getaffinity(0))],
    ]


def _processor() -> "list[str]":
    """What /proc/cpuinfo says of the processor's make and instructions."""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    first = text.split("\n\n", 1)[0].splitlines()
    return [line for line in first if line.startswith(("vendor_id", "model name", "flags"))]
