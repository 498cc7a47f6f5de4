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
W; q @ W]`.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, Optional

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models import embedding
from pfrec.models.precision import matmul

Parts = Sequence[tf.Tensor]

LOOK_UP, PROJECT, OCCURRING = "look_up", "project", "occurring"

# Reading, adding and summing up a row of projections, in multiplications and additions per output:
# an estimate from single operations on a busy machine (gather, add and segment sum of 2048 x 512
# took about 4 ms), not from whole steps.
_GATHER_COST = 180.0
# A feature must save this many multiplications and additions per step to be worth the operations
# that folding it takes.
_OPERATIONS_COST = 4e6
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
    return best if saved > _OPERATIONS_COST else LOOK_UP


def numbers_fold(features: int, dim: int) -> bool:
    """Whether to multiply out the projection of the numerical features:
    the projected form needs a gradient to its left factor.
    """
    return 2 * (features + 1) < 3 * dim


class FirstLayer:
    """The input of one batch, ready for products with kernels.

    Args:
      tables: of the categorical features, in order, each [cardinality, dim].
      ids: int32 [rows, ids].
      numbers: float32 [rows, numbers], normalised, or None without.
      projection: kernel and bias of the projection of the numbers, or None where they are passed on
        as they are.
      outputs: columns of all kernels that will be multiplied, for the choice.
      rows: to expect, for the choice.
      places: the columns of each feature among the ids, more than one where its rows hold lists;
        None for one column each.
      given: embeddings of features that are not linear in their ids, [rows, dim], by place.

    Raises (when the graph runs):
      InvalidArgumentError: where an id lies outside its table.
    """

    def __init__(
        self,
        tables: Sequence[tf.Variable],
        ids: tf.Tensor,
        numbers: Optional[tf.Tensor],
        projection: "Optional[tuple[tf.Tensor, tf.Tensor]]",
        outputs: int,
        rows: int,
        places: Optional[Sequence[slice]] = None,
        given: "Optional[Mapping[int, tf.Tensor]]" = None,
    ) -> None:
        given = given or {}
        places = places or [slice(f, f + 1) for f in range(len(tables))]
        # What the columns of the input are multiplied with, of the kernel's parts by feature.
        self._rows: list[Callable[[Parts], tf.Tensor]] = []
        self._added: list[tuple[int, tf.Tensor, tf.Tensor]] = []
        self._widths = [int(table.shape[1]) for table in tables]
        constant, variable = [], []
        if tables:
            ids = _checked(ids, tables, places)
        listed = [place.stop - place.start > 1 for place in places]
        ways = [
            LOOK_UP if f in given else way(int(t.shape[0]), int(t.shape[1]), outputs, rows, several)
            for f, (t, several) in enumerate(zip(tables, listed))
        ]
        projected = [f for f, name in enumerate(ways) if name == PROJECT and not listed[f]]
        if projected:
            constant.append(
                _multi_hot(
                    ids,
                    [places[f].start for f in projected],
                    [int(tables[f].shape[0]) for f in projected],
                )
            )
        lists = [f for f, name in enumerate(ways) if name == PROJECT and listed[f]]
        constant += [_mean_hot(ids[:, places[f]], int(tables[f].shape[0])) for f in lists]
        self._rows += [_projected(tf.convert_to_tensor(tables[f]), f) for f in projected + lists]
        place = len(tables)
        if numbers is not None:
            self._widths.append(int(projection[0].shape[1] if projection else numbers.shape[1]))
            if projection is None:
                constant.append(numbers)
                self._rows.append(_as_it_is(place))
            elif numbers_fold(int(numbers.shape[1]), self._widths[-1]):
                kernel, bias = projection
                constant += [numbers, tf.ones_like(numbers[:, :1])]
                weights = tf.concat([kernel, bias[tf.newaxis]], axis=0)
                self._rows.append(_projected(weights, place))
        looked_up = [f for f, name in enumerate(ways) if name == LOOK_UP]
        joint = [
            f
            for f in looked_up
            if tables[f].shape.num_elements() <= _JOINT_ELEMENTS and not listed[f]
        ]
        alone = [f for f in looked_up if f not in joint]
        order = joint + alone
        if joint:
            columns = [places[f].start for f in joint]
            variable.append(
                _joint_look_up(
                    [tables[f] for f in joint],
                    tf.gather(ids, columns, axis=1) if len(joint) < ids.shape[1] else ids,
                )
            )
        variable += [
            given[f]
            if f in given
            else embedding.look_up(tables[f], embedding.ids_at(ids, places[f]))
            for f in alone
        ]
        if (
            numbers is not None
            and projection is not None
            and not numbers_fold(int(numbers.shape[1]), self._widths[-1])
        ):
            variable.append(tf.nn.bias_add(matmul(numbers, projection[0]), projection[1]))
            order.append(place)
        self._whole = not constant and order == list(range(len(self._widths)))
        self._rows += [_as_it_is(f) for f in order]
        for f, name in enumerate(ways):
            if name == OCCURRING:
                distinct, position = tf.unique(embedding.ids_at(ids, places[f]))
                self._added.append((f, tf.gather(tables[f], distinct), position))
        self._constant = _joined(constant)
        self._variable = _joined(variable)

    def __call__(self, kernel: tf.Tensor) -> tf.Tensor:
        """`x @ kernel`: float32 [inputs, units] -> [rows, units]."""
        if self._whole:
            return matmul(self._variable, kernel)
        parts = tf.split(kernel, self._widths, axis=0)
        product = None
        if self._rows:
            weights = _joined([part(parts) for part in self._rows], axis=0)
            if self._constant is None or self._variable is None:
                product = matmul(
                    self._constant if self._variable is None else self._variable, weights
                )
            else:
                product = _product(self._constant, self._variable, weights)
        for f, table, position in self._added:
            own = _rows_of_projection(matmul(table, parts[f]), position)
            product = own if product is None else product + own
        return product


def _projected(table: tf.Tensor, part: int) -> Callable[[Parts], tf.Tensor]:
    return lambda parts: matmul(table, parts[part])


def _as_it_is(part: int) -> Callable[[Parts], tf.Tensor]:
    return lambda parts: parts[part]


def _joined(parts: Sequence[tf.Tensor], axis: int = 1) -> Optional[tf.Tensor]:
    return None if not parts else parts[0] if len(parts) == 1 else tf.concat(parts, axis=axis)


def _checked(ids: tf.Tensor, tables: Sequence[tf.Variable], places: Sequence[slice]) -> tf.Tensor:
    # An id outside its table would read another feature's row.
    sizes = [place.stop - place.start for place in places]
    lowest = np.repeat([0 if size == 1 else schema_lib.NO_VALUE for size in sizes], sizes)
    above = np.repeat([int(table.shape[0]) for table in tables], sizes)
    fine = tf.reduce_all(
        (ids >= tf.constant(lowest, ids.dtype)) & (ids < tf.constant(above, ids.dtype))
    )
    check = tf.debugging.Assert(fine, ["a categorical id lies outside its feature's table"])
    with tf.control_dependencies([] if check is None else [check]):
        return tf.identity(ids)


def _offsets(cardinalities: "list[int]", dtype: tf.DType) -> tf.Tensor:
    return tf.constant([sum(cardinalities[:n]) for n in range(len(cardinalities))], dtype)


def _multi_hot(ids: tf.Tensor, columns: "list[int]", cardinalities: "list[int]") -> tf.Tensor:
    """One-hot forms of some columns of ids side by side, float32 [rows, sum of cardinalities]."""
    chosen = ids if len(columns) == ids.shape[1] else tf.gather(ids, columns, axis=1)
    rows, width = tf.shape(ids)[0], sum(cardinalities)
    place = (
        chosen
        + _offsets(cardinalities, ids.dtype)
        + width * tf.range(rows, dtype=ids.dtype)[:, tf.newaxis]
    )
    # No place occurs twice, so the sum has no order.
    ones = tf.ones([rows * len(columns)])
    return tf.reshape(tf.scatter_nd(tf.reshape(place, [-1, 1]), ones, [rows * width]), [-1, width])


def _mean_hot(ids: tf.Tensor, cardinality: int) -> tf.Tensor:
    """The means of the one-hot forms of lists [rows, values], float32 [rows, cardinality]."""
    known = tf.not_equal(ids, schema_lib.NO_VALUE)
    places = tf.where(known)
    cells = tf.stack([places[:, 0], tf.cast(tf.gather_nd(ids, places), tf.int64)], axis=1)
    # A value that stands twice adds up equal numbers, so the sum has no order.
    weights = tf.gather(embedding.shares(known)[:, 0], places[:, 0])
    return tf.ensure_shape(
        tf.scatter_nd(cells, weights, [tf.shape(ids, tf.int64)[0], cardinality]),
        [None, cardinality],
    )


def _joint_look_up(tables: "list[tf.Variable]", ids: tf.Tensor) -> tf.Tensor:
    """Embeddings of some features side by side, float32 [rows, sum of widths], in one lookup."""
    cardinalities = [int(table.shape[0]) for table in tables]
    width = int(tables[0].shape[1])
    place = tf.reshape(ids + _offsets(cardinalities, ids.dtype), [-1])

    @tf.custom_gradient
    def look_up(joint: tf.Tensor) -> Any:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.math.unsorted_segment_sum(
                tf.reshape(upstream, [-1, width]), place, sum(cardinalities)
            )

        return tf.reshape(tf.gather(joint, place), [-1, len(tables) * width]), gradient

    return look_up(_joined([tf.convert_to_tensor(table) for table in tables], axis=0))


@tf.custom_gradient
def _product(constant: tf.Tensor, variable: tf.Tensor, weights: tf.Tensor) -> Any:
    """`[constant, variable] @ weights` without a gradient to `constant`."""
    x = tf.concat([constant, variable], axis=1)
    width = int(constant.shape[1])

    def gradient(upstream: tf.Tensor) -> Any:
        return (
            None,
            matmul(upstream, weights[width:], transpose_b=True),
            matmul(x, upstream, transpose_a=True),
        )

    return matmul(x, weights), gradient


@tf.custom_gradient
def _rows_of_projection(projection: tf.Tensor, position: tf.Tensor) -> Any:
    def gradient(upstream: tf.Tensor) -> Any:
        return tf.math.unsorted_segment_sum(upstream, position, tf.shape(projection)[0]), None

    return tf.gather(projection, position), gradient
