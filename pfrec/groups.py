"""Variable groups: every variable of a model in exactly one;
which of them may leave a client is `sharing`'s.

A group is chosen by layer type and declared role, never by a substring of a name: renaming or
nesting a BatchNormalization layer cannot make it leave a client.
"""

import dataclasses
from collections.abc import Iterator
from typing import Optional

import numpy as np
import tensorflow as tf
from keras.src.layers.normalization import batch_normalization

from pfrec import errors
from pfrec.models import roles

BATCH_NORM = "batch_norm"
# Layers that hold statistics of the data they saw. The first is the common base of all of Keras's
# batch normalisations.
STATISTICS_LAYERS = (batch_normalization.BatchNormalizationBase, tf.keras.layers.Normalization)


@dataclasses.dataclass(frozen=True)
class TaggedVariable:
    """A variable and its group.

    Attributes:
      name: unique in the model: the group, then the layer's path below it and the variable's own
        name.
      kind: the role's kind, or `batch_norm`.
      group: the group, as `expert/0/shared`.
      member: what tells this group from others of its kind (`Role.member`).
      path: the names of the layers that hold it, from the model's down to its own.
      variable: the variable.
      is_kernel: whether it is a kernel or a table: a matrix, unless its layer says that it holds
        biases (`roles.declare_biases`) or is a normalisation.
    """

    name: str
    kind: str
    group: str
    member: str
    path: "tuple[str, ...]"
    variable: tf.Variable
    is_kernel: bool = False


def tag(model: tf.keras.layers.Layer) -> "list[TaggedVariable]":
    """All variables of a built model with their groups, in the model's own order.

    Raises:
      ValueError: where a layer's variables have no declared role, or a non-trainable variable is in
        a group that could be shared.
    """
    tagged: list[TaggedVariable] = []
    seen: set[int] = set()
    for path, layer, role in _walk(model, (), None):
        own = [
            v for v in layer._trainable_weights + layer._non_trainable_weights if id(v) not in seen
        ]
        biases = {id(getattr(layer, name)) for name in getattr(layer, "pfrec_biases", ())}
        for variable in own:
            seen.add(id(variable))
            leaf = variable.name.rsplit("/", 1)[-1].split(":")[0]
            if isinstance(layer, STATISTICS_LAYERS):
                group = "/".join((BATCH_NORM, *path))
                member = "/".join(path)
                tagged.append(
                    TaggedVariable(f"{group}/{leaf}", BATCH_NORM, group, member, path, variable)
                )
                continue
            if role is None:
                raise ValueError(
                    f"variable {variable.name} of layer {'/'.join(path)} has no role; declare one "
                    "(pfrec.models.roles)"
                )
            if not variable.trainable:
                raise ValueError(
                    f"variable {variable.name} of layer {'/'.join(path)} is not trained, so it may "
                    "hold statistics of the data; "
                    "only normalisation layers may have such variables"
                )
            tagged.append(
                TaggedVariable(
                    "/".join((role.group, *path, leaf)),
                    role.kind,
                    role.group,
                    role.member,
                    path,
                    variable,
                    is_kernel=variable.shape.rank == 2 and id(variable) not in biases,
                )
            )
    missing = [v.name for v in model.variables if id(v) not in seen]
    if missing:
        raise ValueError(f"variables outside any layer of the model: {', '.join(missing)}")
    names = [t.name for t in tagged]
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(
            f"two variables have one name: {', '.join(twice)}; give layers of one parent "
            "distinct names"
        )
    return tagged


def assign(item: TaggedVariable, value: Optional[np.ndarray], *, place: str) -> None:
    """Gives a variable its saved value.

    Raises:
      PfrecError: where there is none, or one of another shape or type.
    """
    shape, kind = tuple(item.variable.shape), item.variable.dtype.as_numpy_dtype
    if value is None or value.shape != shape or value.dtype != kind:
        found = "nothing" if value is None else f"{value.dtype}{list(value.shape)}"
        raise errors.PfrecError(
            f"{place}: holds {found} for {item.name}, which is {np.dtype(kind)}{list(shape)} in "
            "the model that config.json describes; train again"
        )
    item.variable.assign(value)


def _walk(
    layer: tf.keras.layers.Layer, path: "tuple[str, ...]", role: Optional[roles.Role]
) -> "Iterator[tuple[tuple[str, ...], tf.keras.layers.Layer, Optional[roles.Role]]]":
    """Every layer below `layer`, with its path and the nearest role declared on the way to it."""
    role = getattr(layer, "pfrec_role", role)
    yield path, layer, role
    for child in layer._flatten_layers(recursive=False, include_self=False):
        yield from _walk(child, (*path, child.name), role)
