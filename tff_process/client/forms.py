"""Whether what code of a user's own returns has the names, types and shapes that the process takes
it to have.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping
from typing import Any

from pfrec import errors, lazy

with lazy.imports():
    import tensorflow as tf


def tensors(
    place: str, values: Any, asked: Mapping[str, Any], remedy: str
) -> collections.OrderedDict[str, tf.Tensor]:
    """Values as tensors, checked by what is known of them before a graph has values.

    Args:
      place: what `values` is, as "`upload` of what Own.train returns".
      values: tensors, or what becomes one, by name.
      asked: what has a `dtype` and a `shape`, by name: the names that values must have.
      remedy: what to do where a name is missing or one too many.

    Returns:
      the values as tensors, in their order.

    Raises:
      PfrecError: where it is no mapping, holds other names, or a value is no tensor or of another
        type or shape.
    """
    errors.require_kind(values, Mapping, place, "give values by name")
    for name in sorted({*values} ^ {*asked}):
        what = "lacks" if name in asked else "has, beyond what was asked,"
        raise errors.PfrecError(f"{place} {what} {name!r}; {remedy}")
    made = collections.OrderedDict(
        (name, tensor(f"{name!r} in {place}", value)) for name, value in values.items()
    )
    for name, value in made.items():
        form = asked[name]
        if value.dtype != form.dtype or not value.shape.is_compatible_with(form.shape):
            raise errors.PfrecError(
                f"{place} has {name!r} as {value.dtype.name} {value.shape}; it is "
                f"{form.dtype.name} {form.shape}"
            )
    return made


def tensor(place: str, value: Any) -> tf.Tensor:
    """The value, which stands at a place, as a tensor.

    Raises:
      PfrecError: where it cannot be one.
    """
    try:
        return tf.convert_to_tensor(value)
    except (TypeError, ValueError) as error:
        raise errors.PfrecError(f"{place} is a {type(value).__name__}; give a tensor") from error
