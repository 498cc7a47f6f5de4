"""Modules of the libraries below us that training needs nothing of, imported once somebody does.

`import tensorflow_federated` imports all of it: learning algorithms, simulation data sets,
analytics, JAX. Half of its time goes there. Here each of these parts is a module that is there by
name and is executed when one of its attributes is first asked for, by Python's own
`importlib.util.LazyLoader`. Who looks through all modules for a file, as AutoGraph does for each
function that it converts, is told a module's file and name without that.
"""

import atexit
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import threading
import types
from collections.abc import Sequence
from typing import Optional

_TFF = "tensorflow_federated.python"
MODULES = frozenset(
    {
        f"{_TFF}.aggregators",
        f"{_TFF}.analytics",
        f"{_TFF}.learning",
        f"{_TFF}.program",
        f"{_TFF}.simulation",
        f"{_TFF}.core.backends.test",
        f"{_TFF}.core.backends.xla",
        f"{_TFF}.core.environments.jax",
        f"{_TFF}.core.test",
        # TensorFlow's own, which imports JAX, by all its names.
        *(
            f"{place}.lite"
            for place in (
                "tensorflow._api.v2",
                "tensorflow._api.v2.compat.v1",
                "tensorflow._api.v2.compat.v2",
                "tensorflow.compat.v1",
                "tensorflow.compat.v2",
            )
        ),
        # What Keras looks for to take tables and images of theirs.
        "pandas",
    }
)

_LOCK = threading.Lock()


class _Unread(importlib.util._LazyModule):  # type: ignore[name-defined,misc]
    """A module that was not executed yet, and is where something is asked of it that its file does
    not hold already.
    """

    def __getattribute__(self, name: str) -> object:
        if name in ("__file__", "__name__"):
            spec = object.__getattribute__(self, "__spec__")
            return spec.origin if name == "__file__" else spec.name
        # Python 3.11.9 and later execute what is of their own class alone.
        with _LOCK:
            if type(self) is _Unread:
                self.__class__ = importlib.util._LazyModule  # type: ignore[attr-defined]
        return getattr(self, name)


class _Loader(importlib.util.LazyLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        module.__class__ = _Unread


class _Finder(importlib.abc.MetaPathFinder):
    """Finds these modules as others are found, and puts off their execution."""

    def find_spec(
        self,
        fullname: str,
        path: "Optional[Sequence[str]]",
        target: "Optional[types.ModuleType]" = None,
    ) -> "Optional[importlib.machinery.ModuleSpec]":
        if fullname not in MODULES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


def postpone() -> None:
    """Puts these modules off, where they are not imported yet; once for a process."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
        atexit.register(_forget_default_context)


def _forget_default_context() -> None:
    """Lets go of TFF's default context, which we never use, while the modules are still there that
    it asks at its end whether it has a worker.
    """
    default = sys.modules.get(
        "tensorflow_federated.python.core.impl.context_stack.set_default_context"
    )
    if default is not None:
        default.set_no_default_context()
