"""Inference folding: what a trained MMoE computes, as constants of fewer and smaller operations.

At inference batch normalisation is an affine map, and goes into the dense layer before it.
Embeddings, the projection of numbers, the experts' first layer and the gates are one linear map of
the ids and numbers, so `E_f @ W1_f` of a feature f is a table that can be computed once: `x @ W1 =
sum over f of table_f[id_f] + numbers @ W_n`. A feature with more than `TABLE_ROWS` ids keeps its
embedding, since its table would be many times as large. A task component of an expert is added into
the kernel.

All is computed in float64 and kept in float32. Only public parts of the layers are read: tables,
kernels, biases and normalisations.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from pfrec.models.mmoe import mmoe

# A table of one more row costs as many floats as all experts have first units.
TABLE_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class Dense:
    """`y = x @ kernel + bias`, float32 [inputs, units] and [units]."""

    kernel: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class FirstLayer:
    """A linear map of a row's ids and numbers:
    `y = sum over f of table[offset_f + id_f] + rest @ kernel + bias`.

    Attributes:
      table: float32 [rows of all folded features, units].
      kernel: float32 [rest, units]; the rest is what stands in `Folded` under `lookups` and after
        them the numbers.
      bias: float32 [units].
    """

    table: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray


@dataclasses.dataclass(frozen=True)
class Expert:
    """One expert as one task sees it; a hidden layer is followed by ReLU."""

    first: FirstLayer
    rest: "tuple[Dense, ...]"


@dataclasses.dataclass(frozen=True)
class Folded:
    """A trained MMoE at inference.

    Attributes:
      folded: positions of the features that are in the tables; none of them is of lists.
      offsets: of each of them, the row where its ids begin.
      lookups: position and embedding table of each other feature, in order; features that share a
        table have the same array.
      places: the columns of each feature among the ids.
      scale, offset: of the numbers' normalisation, float32 [numbers]; None without numbers.
      projection: of the normalised numbers, where it could not be folded to advantage.
      experts: by task and expert; one entry for all tasks where experts have no task components.
      gates: the gates of all tasks side by side, `experts` columns each.
      towers: per task its dense layers; the last one gives the logit.
      tasks: their names.
    """

    folded: "tuple[int, ...]"
    offsets: "tuple[int, ...]"
    lookups: "tuple[tuple[int, np.ndarray], ...]"
    places: "tuple[slice, ...]"
    scale: Optional[np.ndarray]
    offset: Optional[np.ndarray]
    projection: Optional[Dense]
    experts: "tuple[tuple[Expert, ...], ...]"
    gates: FirstLayer
    towers: "tuple[tuple[Dense, ...], ...]"
    tasks: "tuple[str, ...]"


def can_fold(network: tf.Module) -> bool:
    """Whether `fold` knows what this network computes: an MMoE itself, not one that was derived
    from it, and none with attention, which is not linear in the ids.
    """
    return type(network) is mmoe.MMoE and not network.attention


def fold(
    network: mmoe.MMoE,
    *,
    embedding_dtype: str = "float32",
    table_rows: int = TABLE_ROWS,
    served: "Optional[Sequence[str]]" = None,
) -> Folded:
    """Folds a trained network.

    Args:
      network: with all its variables made.
      embedding_dtype: `float16` halves the embedding tables that are kept.
      table_rows: the most rows, the unknown id's included, of a feature that becomes a table.
      served: the tasks that it is to answer; None for all.
    """
    tables = [_array(layer.table) for layer in network.embeddings]
    places = network.schema.id_places
    folded = tuple(
        f
        for f, table in enumerate(tables)
        if len(table) <= table_rows and network.schema.categorical[f].values == 1
    )
    kept = tuple(position for position in range(len(tables)) if position not in folded)
    columns = np.cumsum([0] + [table.shape[1] for table in tables])
    sizes = [len(tables[position]) for position in folded]
    scale, offset, projection, numbers = _numbers(network.numeric)

    def first(kernel: np.ndarray, bias: np.ndarray) -> FirstLayer:
        """What an input layer with a kernel [features' width, units] becomes."""
        parts = [
            kernel[columns[position] : columns[position + 1]] for position in range(len(tables))
        ]
        rest = [parts[position] for position in kept]
        if numbers is not None:
            own = kernel[columns[-1] :]
            if projection is not None:
                rest.append(own)
            else:
                rest.append(numbers[0] @ own)
                bias = bias + numbers[1] @ own
        units = kernel.shape[1]
        table = [tables[position] @ parts[position] for position in folded]
        return FirstLayer(
            _float32(np.concatenate([*table, np.zeros((0, units))])),
            _float32(np.concatenate([*rest, np.zeros((0, units))])),
            _float32(bias),
        )

    everything = tuple(network.towers)
    tasks = tuple(task for task in everything if served is None or task in served)
    own = network.config.template != "none"
    variants = [everything.index(task) for task in tasks] if own else [0]
    gates = [network.gates[task].dense for task in tasks]
    # A table that several features read is kept once.
    owners = {id(layer): tables[f] for f, layer in reversed(list(enumerate(network.embeddings)))}
    tables = [owners[id(layer)] for layer in network.embeddings]
    half = np.float16 if embedding_dtype == "float16" else np.float32
    narrow = {id(table): table.astype(half) for table in tables}
    return Folded(
        folded=folded,
        offsets=tuple(int(n) for n in np.cumsum([0, *sizes])[: len(sizes)]),
        lookups=tuple((position, narrow[id(tables[position])]) for position in kept),
        places=places,
        scale=scale,
        offset=offset,
        projection=projection,
        experts=tuple(
            tuple(_expert(expert, task, first) for expert in network.experts) for task in variants
        ),
        gates=first(
            np.concatenate([_array(dense.kernel) for dense in gates], axis=1),
            np.concatenate([_array(dense.bias) for dense in gates]),
        ),
        towers=tuple(_tower(network.towers[task]) for task in tasks),
        tasks=tasks,
    )


def template_kernel(dense: Any, task: int) -> np.ndarray:
    """The kernel of a template dense layer for one task, float64 [inputs, units]:
    see `pfrec.models.mmoe.template`.
    """
    shared = _array(dense.kernel)
    if dense.composition == "none":
        return shared
    component = dense.task_components[task]
    product = _array(component.a) @ _array(component.b)
    return shared + product if dense.composition == "additive" else shared * (1.0 + product)


def affine(norm: Any) -> "tuple[np.ndarray, np.ndarray]":
    """Batch normalisation at inference, `y = x * scale + offset`, in float64 [units] each.

    Formula: `scale = gamma / sqrt(variance + epsilon)`, `offset = beta - mean * scale`.
    """
    scale = 1.0 / np.sqrt(_array(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale = scale * _array(norm.gamma)
    offset = -_array(norm.moving_mean) * scale
    return scale, offset + _array(norm.beta) if norm.center else offset


def _expert(expert: Any, task: int, first: Any) -> Expert:
    layers = [
        _normalised(template_kernel(dense, task), _array(dense.bias), expert.norms, number)
        for number, dense in enumerate(expert.dense)
    ]
    return Expert(first(*layers[0]), tuple(_dense(*layer) for layer in layers[1:]))


def _tower(tower: Any) -> "tuple[Dense, ...]":
    hidden = [
        _dense(*_normalised(_array(dense.kernel), _array(dense.bias), tower.norms, number))
        for number, dense in enumerate(tower.dense)
    ]
    return (*hidden, _dense(_array(tower.logit.kernel), _array(tower.logit.bias)))


def _normalised(
    kernel: np.ndarray, bias: np.ndarray, norms: Sequence[Any], number: int
) -> "tuple[np.ndarray, np.ndarray]":
    """A dense layer with the normalisation after it, where there is one."""
    if not norms:
        return kernel, bias
    scale, offset = affine(norms[number])
    return kernel * scale, bias * scale + offset


def _numbers(
    layer: Any,
) -> "tuple[Optional[np.ndarray], Optional[np.ndarray], Optional[Dense], Any]":
    """Scale, offset, a projection that stays,
    and the projection's kernel and bias in float64 (None without numbers).
    """
    if layer is None:
        return None, None, None, None
    # In float32, step by step as Keras does it: where a column's mean is far larger than its
    # deviation, the rounding of these two constants shows in the trained model's own answers, which
    # are what the export has to give.
    norm = layer.normalise
    scale = tf.math.rsqrt(norm.moving_variance + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma
    offset = -norm.moving_mean * scale
    if norm.center:
        offset = offset + norm.beta
    count = int(scale.shape[0])
    if layer.project is None:
        linear = (np.eye(count), np.zeros(count))
        return scale.numpy(), offset.numpy(), None, linear
    linear = (_array(layer.project.kernel), _array(layer.project.bias))
    # A projection to fewer columns than there are numbers saves more in every expert than it costs.
    stays = count > linear[0].shape[1]
    return scale.numpy(), offset.numpy(), _dense(*linear) if stays else None, linear


def _dense(kernel: np.ndarray, bias: np.ndarray) -> Dense:
    return Dense(_float32(kernel), _float32(bias))


def _array(variable: Any) -> np.ndarray:
    return np.asarray(variable, np.float64)


def _float32(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
