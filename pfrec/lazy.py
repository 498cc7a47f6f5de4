"""Imports that happen at their first use.

So a file may declare settings beside code that needs TensorFlow: `--help` reads every algorithm's
settings, and importing TensorFlow takes seconds. In

    with lazy.imports():
        import tensorflow as tf
        from tff_process.aggregation import mix

`tf` and `mix` stand for the modules, which are imported when one of their attributes is first
asked for. Annotations ask for some, so such a file begins with `from __future__ import
annotations`; so do base classes and decorators, which cannot come from a module imported this way.

References:
  `etils.epy.lazy_imports` and Mercurial's `demandimport`, which do the same.
"""

import builtins
import contextlib
import importlib
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional


class _Module(types.ModuleType):
    """Stands for a module until one of its attributes is asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


class _Package(types.ModuleType):
    """What `from PACKAGE import MODULE` takes its modules from."""

    def __getattr__(self, name: str) -> Any:
        return _Module(f"{self.__name__}.{name}")


@contextlib.contextmanager
def imports() -> Iterator[None]:
    """Makes `import MODULE as NAME` and `from PACKAGE import MODULE` of the calling module lazy.

    Names that are no modules cannot be imported so.
    """
    caller = sys._getframe(2).f_globals  # above this generator and `contextlib`'s `__enter__`
    real = builtins.__import__

    def import_lazily(
        name: str,
        globals: Optional[Mapping[str, Any]] = None,
        locals: Optional[Mapping[str, Any]] = None,
        fromlist: Optional[Sequence[str]] = (),
        level: int = 0,
    ) -> types.ModuleType:
        if globals is not caller or level:  # another thread's, or another module's
            return real(name, globals, locals, fromlist or (), level)
        return _Package(name) if fromlist else _Module(name)

    builtins.__import__ = import_lazily
    try:
        yield
    finally:
        builtins.__import__ = real
