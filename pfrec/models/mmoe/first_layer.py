"""The first layer of experts and gates, folded: `concat(E_f[x_f], numbers) @ W` without looking up
what can be multiplied out before.

The input of the experts is linear in the one-hot form of the ids, and so is their first layer. For
a feature f with table E_f and rows W_f of a kernel W, `E_f[x_f] @ W_f = one_hot(x_f) @ (E_f @
W_f)`: with few ids, the product of a batch with the small matrix `E_f @ W_f` costs less than that
with W_f. Gradients flow through both factors, so they are those of the plain form. How a feature is
read is chosen from its cardinality and the expected rows of a batch, counting multiplications and
additions per row and output, forward and backward (c ids, width d, b rows; u <= min(b, c) distinct
ids in a batch):

    look_up      x = E[ids], x @ W                                     3 d
    project      one_hot(ids) @ (E @ W); no gradient to the left factor2 c + 3 c d / b
    occurring    (E[unique ids] @ W)[position of ids]                  3 u d / b + `_GATHER_COST`

A list of values counts as the mean of its one-hot forms; it is looked up or projected.

A number's projection is multiplied out likewise where it widens: `(x @ P + q) @ W = [x, 1] @ [P @
W; q @ W]`. What each way does stands in `readings`; which is taken is decided here.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Optional

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models import embedding
from pfrec.models.mmoe import readings
from pfrec.models.precision import matmul

LOOK_UP, PROJECT, OCCURRING = "look_up", "project", "occurring"

# Reading, adding and summing up a row of projections, in multiplications and additions per output:
# an estimate from single operations on a busy machine (gather, add and segment sum of 2048 x 512
# took about 4 ms), not from whole steps.
_GATHER_COST = 180.0
# A feature must save this many multiplications and additions per step to be worth the operations
# that folding it takes.
OPERATIONS_COST = 4e6
# Rows of a training batch where nobody said.
_DEFAULT_ROWS = 1024
# Tables up to this many elements are looked up in one go, after putting them one below the other.
_JOINT_ELEMENTS = 1 << 15

_expected_rows: "contextvars.ContextVar[Optional[int]]" = contextvars.ContextVar(
    "expected_rows", default=None
)


@contextlib.contextmanager
def expected_rows(rows: int) -> Iterator[None]:
    """While a graph is made in this context, batches whose size is not known then are taken to have
    `rows` rows. Only speed depends on it.
    """
    token = _expected_rows.set(rows)
    try:
        yield
    finally:
        _expected_rows.reset(token)


def rows_of(ids: tf.Tensor, training: bool) -> int:
    """The rows to expect in a batch; 1 where nothing is known of an inference batch, so that
    nothing is folded that must be undone per request.
    """
    return ids.shape[0] or _expected_rows.get() or (_DEFAULT_ROWS if training else 1)


def way(cardinality: int, dim: int, outputs: int, rows: int, listed: bool = False) -> str:
    """How to read a feature: `look_up`, `project` or `occurring`.

    Args:
      cardinality: rows of its table.
      dim: width of its table.
      outputs: columns of all first layers and gates together.
      rows: of a batch.
      listed: whether its rows hold lists.
    """
    costs = {
        LOOK_UP: 3.0 * dim,
        PROJECT: 2.0 * cardinality + 3.0 * cardinality * dim / rows,
        OCCURRING: 3.0 * dim * min(1.0, cardinality / rows) + _GATHER_COST,
    }
    if listed:
        del costs[OCCURRING]
    best = min(costs, key=lambda name: costs[name])
    saved = 2.0 * rows * outputs * (costs[LOOK_UP] - costs[best])
    return best if saved > OPERATIONS_COST else LOOK_UP


def numbers_fold(features: int, dim: int) -> bool:
    """Whether to multiply out the projection of the numerical features:
    the projected form needs a gradient to its left factor.
    """
    return 2 * (features + 1) < 3 * dim


@dataclasses.dataclass(frozen=True)
class Feature:
    """A categorical feature of the input.

    Attributes:
      table: [cardinality, dim].
      place: its columns among the ids, more than one where its rows hold lists.
      given: its embeddings [rows, dim] where they are not linear in its ids; None where they are.
    """

    table: tf.Variable
    place: slice
    given: Optional[tf.Tensor] = None

    @property
    def cardinality(self) -> int:
        """Rows of the table."""
        return int(self.table.shape[0])

    @property
    def width(self) -> int:
        """Columns of the table."""
        return int(self.table.shape[1])

    @property
    def listed(self) -> bool:
        """Whether its rows hold lists."""
        return int(self.place.stop - self.place.start) > 1

    def way(self, outputs: int, rows: int) -> str:
        """How to read it, see `way`."""
        if self.given is not None:
            return LOOK_UP
        return way(self.cardinality, self.width, outputs, rows, self.listed)


@dataclasses.dataclass(frozen=True)
class Numbers:
    """The numerical features of the input.

    Attributes:
      values: float32 [rows, numbers], normalised.
      projection: kernel and bias of their projection; None where they are passed on as they are.
    """

    values: tf.Tensor
    projection: "Optional[tuple[tf.Tensor, tf.Tensor]]" = None

    @property
    def width(self) -> int:
        """Columns of the input that they are."""
        last = self.projection[0] if self.projection else self.values
        return int(last.shape[1])

    def reading(self, part: int) -> readings.Reading:
        """How to read them; `part` is their place in the input."""
        if self.projection is None:
            return readings.AsItIs(self.values, (part,), constant=True)
        kernel, bias = self.projection
        if not numbers_fold(int(self.values.shape[1]), self.width):
            projected = tf.nn.bias_add(matmul(self.values, kernel), bias)
            return readings.AsItIs(projected, (part,))
        ones = tf.ones_like(self.values[:, :1])
        weights = tf.concat([kernel, bias[tf.newaxis]], axis=0)
        return readings.Projected((self.values, ones), {part: weights})


class FirstLayer:
    """The input of one batch, ready for products with kernels.

    Args:
      features: the categorical ones, in order.
      ids: int32 [rows, ids].
      numbers: the numerical ones, which follow them; None without.
      outputs: columns of all kernels that will be multiplied, for the choice.
      rows: to expect, for the choice.

    Raises (when the graph runs):
      InvalidArgumentError: where an id lies outside its table.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        ids: tf.Tensor,
        numbers: Optional[Numbers],
        outputs: int,
        rows: int,
    ) -> None:
        self._widths = [feature.width for feature in features]
        by_way: dict[str, dict[int, Feature]] = {LOOK_UP: {}, PROJECT: {}, OCCURRING: {}}
        for part, feature in enumerate(features):
            by_way[feature.way(outputs, rows)][part] = feature
        if features:
            ids = _checked(ids, features)
        found = [*_projected(ids, by_way[PROJECT]), *_looked_up(ids, by_way[LOOK_UP])]
        if numbers is not None:
            found.append(numbers.reading(len(features)))
            self._widths.append(numbers.width)
        constant = [reading for reading in found if reading.constant]
        variable = [reading for reading in found if not reading.constant]
        self._readings = constant + variable
        self._constant, self._variable = _columns(constant), _columns(variable)
        self._occurring = [
            readings.Occurring.of(feature.table, embedding.ids_at(ids, feature.place), part)
            for part, feature in by_way[OCCURRING].items()
        ]
        # Where everything is looked up in its order, a kernel need not be taken apart.
        order = [part for reading in variable for part in reading.parts]
        self._whole = not constant and order == list(range(len(self._widths)))

    def __call__(self, kernel: tf.Tensor) -> tf.Tensor:
        """`x @ kernel`: float32 [inputs, units] -> [rows, units]."""
        if self._whole:
            return matmul(self._variable, kernel)
        parts = tf.split(kernel, self._widths, axis=0)
        product = None
        if self._readings:
            rows = [row for reading in self._readings for row in reading.rows(parts)]
            weights = readings.joined(rows, axis=0)
            if self._constant is None or self._variable is None:
                columns = self._constant if self._variable is None else self._variable
                product = matmul(columns, weights)
            else:
                product = readings.half_constant_product(self._constant, self._variable, weights)
        for occurring in self._occurring:
            own = occurring.product(parts)
            product = own if product is None else product + own
        return product


def _projected(ids: tf.Tensor, features: "dict[int, Feature]") -> "list[readings.Reading]":
    """Single values side by side, then each list."""
    single = {part: feature for part, feature in features.items() if not feature.listed}
    found: list[readings.Reading] = []
    if single:
        hot = readings.multi_hot(
            ids,
            [feature.place.start for feature in single.values()],
            [feature.cardinality for feature in single.values()],
        )
        tables = {part: tf.convert_to_tensor(f.table) for part, f in single.items()}
        found.append(readings.Projected((hot,), tables))
    for part, feature in features.items():
        if feature.listed:
            hot = readings.mean_hot(ids[:, feature.place], feature.cardinality)
            found.append(readings.Projected((hot,), {part: tf.convert_to_tensor(feature.table)}))
    return found


def _looked_up(ids: tf.Tensor, features: "dict[int, Feature]") -> "list[readings.Reading]":
    """Small tables in one go, then each other one."""
    joint = {
        part: feature
        for part, feature in features.items()
        if feature.table.shape.num_elements() <= _JOINT_ELEMENTS
        and not feature.listed
        and feature.given is None
    }
    found: list[readings.Reading] = []
    if joint:
        columns = [feature.place.start for feature in joint.values()]
        own = tf.gather(ids, columns, axis=1) if len(joint) < ids.shape[1] else ids
        tables = [feature.table for feature in joint.values()]
        found.append(readings.AsItIs(readings.joint_look_up(tables, own), tuple(joint)))
    for part, feature in features.items():
        if part not in joint:
            values = feature.given
            if values is None:
                values = embedding.look_up(feature.table, embedding.ids_at(ids, feature.place))
            found.append(readings.AsItIs(values, (part,)))
    return found


def _columns(found: "list[readings.Reading]") -> Optional[tf.Tensor]:
    return readings.joined([column for reading in found for column in reading.columns()])


def _checked(ids: tf.Tensor, features: Sequence[Feature]) -> tf.Tensor:
    # An id outside its table would read another feature's row.
    sizes = [feature.place.stop - feature.place.start for feature in features]
    lowest = np.repeat([schema_lib.NO_VALUE if f.listed else 0 for f in features], sizes)
    above = np.repeat([feature.cardinality for feature in features], sizes)
    fine = tf.reduce_all(
        (ids >= tf.constant(lowest, ids.dtype)) & (ids < tf.constant(above, ids.dtype))
    )
    check = tf.debugging.Assert(fine, ["a categorical id lies outside its feature's table"])
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(ids)
