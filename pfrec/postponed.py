"""Modules of the libraries below us that training needs nothing of, imported once somebody does.

`import tensorflow_federated` imports all of it: learning algorithms, simulation data sets,
analytics, JAX. Half of its time goes there. Here each of these parts is a module that is there by
name and is executed when one of its attributes is first asked for, as Python's own
`importlib.util.LazyLoader` does, by one thread while others wait. Who looks through all modules for
a file, as AutoGraph does for each function that it converts, is told a module's file and name
without that.
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


class _Unread(types.ModuleType):
    """A module that was not executed yet, and is where something is asked of it that its file does
    not hold already.

    Whoever asks while another thread executes it waits for that thread: Python's own lazy modules
    before 3.11.9 hand out what there is so far, and two threads that convert by Arrow at once asked
    half a pandas for its version.
    """

    def __getattribute__(self, name: str) -> object:
        spec = object.__getattribute__(self, "__spec__")
        if name in ("__file__", "__name__"):
            return spec.origin if name == "__file__" else spec.name
        state = spec.loader_state
        with state.lock:
            # Of the thread that executes it, who asks is the module's own code.
            if type(self) is _Unread and not state.executing:
                state.executing = True
                try:
                    spec.loader.exec_module(self)
                    object.__setattr__(self, "__class__", types.ModuleType)
                finally:
                    state.executing = False
        return types.ModuleType.__getattribute__(self, name)


class _State:
    """What a module that is put off has to know until it is executed."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.executing = False


class _Loader(importlib.util.LazyLoader):
    """Creates a module as its own loader does, and leaves its execution to `_Unread`."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        super().__init__(loader)
        self._own = loader

    def exec_module(self, module: types.ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._own
        module.__spec__.loader_state = _State()
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
