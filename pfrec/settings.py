"""Settings: fields of frozen dataclasses that know their bounds and what they mean.

Each is written once; flags, checks, plain data for files and tables of documents are made of it:

    @dataclasses.dataclass(frozen=True)
    class Settings(settings.Settings, prefix="mine"):
        momentum: float = settings.setting(0.9, "how much of a step is taken again", low=0.0)

is the flag `--mine_momentum`. Neither TensorFlow nor NumPy is imported here, as `--help` reads
every setting.
"""

import dataclasses
import math
import numbers
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Optional, TypeVar

from pfrec import errors

_T = TypeVar("_T", bound="Settings")
_KEY = "pfrec"
_TRUTHS = {
    **dict.fromkeys(("true", "t", "1", "yes"), True),
    **dict.fromkeys(("false", "f", "0", "no"), False),
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """One field of a `Settings` class.

    Attributes:
      name: of the field.
      flag: the flag that sets it, without the dashes.
      alias: another flag that sets it; empty for none.
      default: its value where nobody says another; its type is the setting's, and of a tuple the
        first element's is that of all elements.
      help: what it is, as a noun phrase.
      low, high: the bounds that it, or each element of a tuple, may reach; None for none.
      above, below: the bounds that it may not reach; None for none.
      choices: the texts that it may be; empty for any.
      least: the fewest elements of a tuple.
    """

    name: str
    flag: str
    alias: str
    default: Any
    help: str
    low: Optional[float] = None
    high: Optional[float] = None
    above: Optional[float] = None
    below: Optional[float] = None
    choices: "tuple[str, ...]" = ()
    least: int = 0

    @property
    def names(self) -> "frozenset[str]":
        """Its flag, and its alias where it has one."""
        return frozenset(filter(None, (self.flag, self.alias)))

    @property
    def kind(self) -> type:
        """The type of its value, or of each element of a tuple."""
        return type(self.default[0] if self.many else self.default)

    @property
    def many(self) -> bool:
        """Whether it is a tuple."""
        return isinstance(self.default, tuple)

    @property
    def range(self) -> str:
        """What it must be, as words; empty where anything will do."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        bounds = {
            "at least": self.low,
            "above": self.above,
            "at most": self.high,
            "below": self.below,
        }
        words = " and ".join(
            f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None
        )
        endless = self.kind is float and self.high is None and self.below is None
        return f"finite{' and ' * bool(words)}{words}" if endless else words

    def parse(self, text: str) -> Any:
        """The value that a text stands for, elements of a tuple between commas.

        Raises:
          PfrecError: where it stands for none.
        """
        try:
            if self.many:
                return tuple(self._one(part.strip()) for part in text.split(",") if part.strip())
            return self._one(text)
        except (KeyError, ValueError):
            what = {bool: "true or false", int: "whole numbers", float: "numbers"}[self.kind]
            several = " between commas" if self.many else ""
            raise errors.PfrecError(f"{self.flag}={text}: give {what}{several}") from None

    def _one(self, text: str) -> Any:
        return _TRUTHS[text.lower()] if self.kind is bool else self.kind(text)

    def text(self, value: Any) -> str:
        """The inverse of `parse`."""
        if self.many:
            return ",".join(map(str, value))
        if self.kind is float:
            return f"{value:g}"
        return str(value).lower() if self.kind is bool else str(value)

    def converted(self, value: Any) -> Any:
        """A value as JSON or a caller gives it: lists are tuples, whole numbers may be others, and
        NumPy's numbers are Python's.
        """
        if self.many and isinstance(value, (list, tuple)):
            return tuple(map(self._number, value))
        return self._number(value)

    def _number(self, value: Any) -> Any:
        if not isinstance(value, bool):
            if self.kind is int and isinstance(value, numbers.Integral):
                return int(value)
            if self.kind is float and isinstance(value, numbers.Real):
                return float(value)
        return value

    def check(self, value: Any) -> None:
        """Checks a value.

        Raises:
          PfrecError: where it is of another type or out of bounds; it says what it must be.
        """
        elements = value if self.many and isinstance(value, tuple) else (value,)
        if isinstance(value, tuple) != self.many or {type(e) for e in elements} - {self.kind}:
            kind = f"several {self.kind.__name__}" if self.many else self.kind.__name__
            raise errors.PfrecError(f"{self.flag} is {value!r}; it must be {kind}")
        if len(elements) < self.least:
            raise errors.PfrecError(f"{self.flag} is empty; it must hold at least {self.least}")
        if not all(map(self._fits, elements)):
            each = ", each" if self.many else ""
            raise errors.PfrecError(f"{self.flag} is {value!r}; it must be {self.range}{each}")

    def _fits(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        if self.kind in (str, bool):
            return True
        return (
            math.isfinite(value)
            and (self.low is None or value >= self.low)
            and (self.above is None or value > self.above)
            and (self.high is None or value <= self.high)
            and (self.below is None or value < self.below)
        )


def setting(
    default: Any,
    help: str,
    *,
    low: Optional[float] = None,
    high: Optional[float] = None,
    above: Optional[float] = None,
    below: Optional[float] = None,
    choices: "Sequence[str]" = (),
    least: int = 0,
    flag: str = "",
    alias: str = "",
) -> Any:
    """A field of a `Settings` class.

    Args:
      default, help, low, high, above, below, choices, least, alias: see `Setting`.
      flag: what stands after the prefix in its flag; the field's name where it is empty.
    """
    given = {
        "help": help,
        "low": low,
        "high": high,
        "above": above,
        "below": below,
        "choices": tuple(choices),
        "least": least,
        "flag": flag,
        "alias": alias,
    }
    return dataclasses.field(default=default, metadata={_KEY: given})


class Settings:
    """Base of frozen dataclasses whose fields are made by `setting`; others may stand beside them.

    Class arguments:
      prefix: of its flags, with an underscore after it; empty for none.

    Raises:
      PfrecError: where a value does not fit.
    """

    prefix: ClassVar[str] = ""

    def __init_subclass__(cls, prefix: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.prefix = prefix

    def __post_init__(self) -> None:
        for one in of(type(self)):
            value = one.converted(getattr(self, one.name))
            one.check(value)
            object.__setattr__(self, one.name, value)

    def to_json(self) -> "dict[str, Any]":
        """Plain data."""
        return {one.name: _plain(getattr(self, one.name)) for one in of(type(self))}

    @classmethod
    def from_json(cls: "type[_T]", value: "Mapping[str, Any]") -> _T:
        """The inverse of `to_json`, also after a trip through JSON.

        What is missing has its default.

        Raises:
          PfrecError: where a name is unknown or a value does not fit.
        """
        known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        for name in value:
            if name not in known:
                told = ", ".join(sorted(known))
                raise errors.PfrecError(f"{name} is no setting of this pfrec, which has {told}")
        return cls(**value)

    def replaced(self: _T, texts: "Mapping[str, str]") -> _T:
        """The same with other values, as texts by their flags or aliases.

        Names that are none of its are passed over.

        Raises:
          PfrecError: where a text stands for no value, or the value does not fit.
        """
        found = {
            one.name: one.parse(texts[name])
            for one in of(type(self))
            for name in (one.alias, one.flag)
            if name in texts
        }
        return dataclasses.replace(self, **found)  # type: ignore[type-var]


def of(settings: "type[Settings]") -> "list[Setting]":
    """The settings of a class, in its order."""
    return list(_of(settings))


def _of(settings: "type[Settings]") -> "Iterator[Setting]":
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        if _KEY in field.metadata:
            given = dict(field.metadata[_KEY])
            own = given.pop("flag") or field.name
            flag = f"{settings.prefix}_{own}" if settings.prefix else own
            yield Setting(name=field.name, flag=flag, default=field.default, **given)


def names(settings: "type[Settings]") -> "set[str]":
    """The flags of a class, aliases too."""
    return {name for one in of(settings) for name in one.names}


def _plain(value: Any) -> Any:
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def first_difference(
    before: "Mapping[str, Any]", now: "Mapping[str, Any]", defaults: "Mapping[str, Any]"
) -> str:
    """What differs first between two plain records of settings, in words; empty where nothing does.

    Args:
      before, now: what is compared.
      defaults: what stands for a name that one of them does not hold, as the record of an older
        pfrec does not hold what came later.
    """
    for name in sorted({*before, *now}):
        default = defaults.get(name)
        first, second = before.get(name, default), now.get(name, default)
        if isinstance(first, Mapping) and isinstance(second, Mapping):
            inner = first_difference(first, second, default or {})
            if inner:
                return f"{name}.{inner}"
        elif _plain(first) != _plain(second):
            return f"{name} was {first!r} and is {second!r}"
    return ""


def table(settings: "type[Settings]") -> "list[str]":
    """The rows of a Markdown table: flag, default, what it may be, and what it is."""
    rows = []
    for one in of(settings):
        flags = f"`--{one.flag}`" + (f", `--{one.alias}`" if one.alias else "")
        default = one.text(one.default) or "none"
        rows.append(f"| {flags} | {default} | {one.range} | {one.help} |")
    return rows
