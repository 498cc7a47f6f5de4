"""Algorithms by name: each file registers its own, and a user's own file does the same."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
import traceback
from typing import Any, Callable, Optional, TypeVar

from pfrec import errors, lazy
from pfrec import settings as settings_lib
from pfrec.data import schema as schema_lib
from tff_process.algorithms import base

with lazy.imports():
    from pfrec.models import networks

_Make = TypeVar("_Make", bound="Callable[..., base.Algorithm]")
_GIVEN = frozenset(("settings", "epochs"))  # what a maker is given by name, where it wants it


@dataclasses.dataclass(frozen=True)
class Registered:
    """A federated algorithm that can be asked for by name.

    Attributes:
      name: as given on the command line.
      make: `(schema, ...) -> Algorithm`. It may have a parameter `settings`, whose default is the
        settings as they are without any flag, and one `epochs`: how much of its rows a client goes
        over between two aggregations.

    Raises:
      PfrecError: where `make` takes no schema, or needs something else.
    """

    name: str
    make: Callable[..., base.Algorithm]

    def __post_init__(self) -> None:
        try:
            signature = inspect.signature(self.make)
            signature.bind(None, **dict.fromkeys(_GIVEN & set(signature.parameters)))
        except (TypeError, ValueError) as error:  # ValueError: of some that are written in C
            raise errors.PfrecError(
                f"algorithm {self.name}: is no maker of an algorithm, which takes the schema, "
                f"and `settings` and `epochs` where it wants them; {error}"
            ) from error

    @property
    def settings(self) -> Optional[settings_lib.Settings]:
        """Its settings without any flag; None where it has none."""
        parameter = inspect.signature(self.make).parameters.get("settings")
        return parameter.default if parameter is not None else None

    @property
    def reckons_with_epochs(self) -> bool:
        """Whether it depends on how much lies between two aggregations."""
        return "epochs" in inspect.signature(self.make).parameters

    def build(
        self, schema: schema_lib.Schema, settings: Any = None, epochs: float = 1.0
    ) -> base.Algorithm:
        """The algorithm.

        Args:
          schema: of the rows.
          settings: its own; None for those without any flag.
          epochs: how much of its rows a client goes over between two aggregations.

        Raises:
          PfrecError: where what is made is no `base.Algorithm`, or making one of the user's fails.
        """
        given = {"settings": settings or self.settings, "epochs": epochs}
        wanted = inspect.signature(self.make).parameters
        try:
            made = self.make(schema, **{name: given[name] for name in given if name in wanted})
        except errors.PfrecError:
            raise
        except Exception as error:  # of whatever kind: it is somebody else's code
            module, own, _ = self.name.partition(":")
            if not own:
                raise
            frames = list(traceback.walk_tb(error.__traceback__))
            theirs = [one for one in frames if one[0].f_globals.get("__name__") == module]
            frame, line = (theirs or frames)[-1]
            raise errors.PfrecError(
                f"algorithm {self.name}: called with the schema it makes no Algorithm but fails "
                f"with {type(error).__name__}: {error} ({frame.f_code.co_filename}, line {line}); "
                "name a maker of an algorithm, or mend it"
            ) from error
        if not isinstance(made, base.Algorithm):
            raise errors.PfrecError(
                f"algorithm {self.name}: makes a {type(made).__name__}, no Algorithm"
            )
        return made


FEDERATED: dict[str, Registered] = {}


def register(name: str) -> Callable[[_Make], _Make]:
    """Makes an algorithm known by name; a decorator of its maker, see `Registered.make`.

    Raises:
      PfrecError: where another one has the name.
    """

    def known(make: _Make) -> _Make:
        before = FEDERATED.get(name)
        if before is not None and before.make.__qualname__ != make.__qualname__:
            raise errors.PfrecError(f"two algorithms are registered as {name!r}; rename one")
        FEDERATED[name] = Registered(name, make)
        return make

    return known


def is_pooled(name: str) -> bool:
    """Whether an algorithm trains on the rows of all scenarios together."""
    return name.startswith("pooled_")


def is_own(name: str) -> bool:
    """Whether a federated algorithm is one of this package's: what it does then follows from its
    name, its settings and the package's code.
    """
    found = FEDERATED.get(name)
    return found is not None and found.make.__module__.startswith(f"{__package__}.")


def split(entry: str) -> tuple[str, list[str]]:
    """The algorithm of `NAME:...` or `MODULE:NAME:...`, and what stands behind its further colons.

    `MODULE:NAME` is an algorithm of the user's own; the name of one of this package is none of a
    module, but before another known name. A module that was read may bear the name of an algorithm
    in it, and hold others.
    """
    first, *rest = entry.split(":")
    own = rest and rest[0].isidentifier() and not is_pooled(first)
    if own and (not is_own(first) or rest[0] in FEDERATED):
        return f"{first}:{rest[0]}", rest[1:]
    return first, rest


def names() -> tuple[str, ...]:
    """All known algorithms, pooled ones last."""
    return (*sorted(FEDERATED), "pooled_mmoe", *sorted(networks.POOLED))


def check(name: str) -> None:
    """Checks an algorithm's name.

    Raises:
      PfrecError: where it is unknown; the message names the known ones.
    """
    if not is_pooled(name):
        find(name)
    elif name not in names():
        raise _unknown(name)


def find(name: str) -> Registered:
    """A federated algorithm: a registered one, or `MODULE:NAME` of the user's own.

    Such a NAME is a maker as `Registered.make`, registered or not, or an `Algorithm`. The module is
    looked for in the working directory too.

    Raises:
      PfrecError: where there is none.
    """
    if name in FEDERATED:
        return FEDERATED[name]
    if ":" not in name:
        raise _unknown(name)
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        value = getattr(importlib.import_module(module_name), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # what the module itself imports
        raise errors.PfrecError(
            f"algorithm {name}: no module {module_name!r} here or on PYTHONPATH"
        ) from error
    if isinstance(value, base.Algorithm):
        algorithm = value
        return Registered(name, lambda schema: algorithm)
    if not callable(value):
        raise errors.PfrecError(f"algorithm {name}: {module_name} has no algorithm {attribute!r}")
    return Registered(name, value)


def default_settings(name: str) -> Optional[settings_lib.Settings]:
    """An algorithm's settings without any flag; None where it has none.

    Raises:
      PfrecError: where it is unknown.
    """
    return None if is_pooled(name) else find(name).settings


def all_settings() -> dict[type[settings_lib.Settings], list[str]]:
    """The classes of all registered algorithms' settings, and the names of those that have them."""
    found: dict[type[settings_lib.Settings], list[str]] = {}
    for name, one in FEDERATED.items():
        if one.settings is not None:
            found.setdefault(type(one.settings), []).append(name)
    return found


def _unknown(name: str) -> errors.PfrecError:
    known = ", ".join(sorted(names()))
    return errors.PfrecError(f"algorithm {name}: unknown; known are {known}")
