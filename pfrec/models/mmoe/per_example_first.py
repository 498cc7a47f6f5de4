"""The first layer of experts and gates for `per_example`: the sums of a batch's gradients without
what can be multiplied out before, as in `first_layer`.

With an input of parts `A @ B` (`per_example_sources`) and W the rows of the kernels that belong to
one, the product is `A @ (B @ W)` where A is narrower than B. With g the gradients at the product,
each row multiplied by its factor, and S = A^T g, the sums are B^T S at W and S W^T at B: all small.

The norm of a row's gradient at B cannot be had so: it is that of the row of g W^T, times the
source's ratio. This product of the whole width of the input is what a private step costs beyond a
plain one. Of parts that are not multiplied out it serves the sums too.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from pfrec.models.mmoe import first_layer, fused
from pfrec.models.mmoe import per_example_sources as sources_lib

# The squared norms of rows' gradients at a piece's variables, [rows]; and of a factor for each row,
# float32 [rows, 1], the sums of gradients times it. A row of factor 0 may hold what is no number.
Backward = tuple[tf.Tensor, Callable[[tf.Tensor], sources_lib.Sums]]


def _joined(parts: Sequence[tf.Tensor], axis: int) -> tf.Tensor:
    return parts[0] if len(parts) == 1 else tf.concat(parts, axis=axis)


def folds(columns: int, width: int, outputs: int, rows: int) -> bool:
    """Whether to multiply a part out.

    Args:
      columns, width: of its A and of the part.
      outputs: of the layer.
      rows: of a batch.
    """
    saved = 2.0 * width - 2.0 * columns - 3.0 * columns * width / rows
    return 2.0 * rows * outputs * saved > first_layer.OPERATIONS_COST


@dataclasses.dataclass(frozen=True)
class FirstLayer:
    """`output = inputs @ [kernels side by side] + [biases one after the other]`.

    Attributes:
      kernels, biases: variables, as many of both.
      sources: of each part of the input.
      folded: the parts that are multiplied out: tables alone. Of numbers A holds what rows hold,
        however large, and S would be rounded by more than a row's part once W^T cancels it.
      columns: of each part that is read, A where it is folded, else the part.
      below: the rows of all kernels side by side that belong to each part.
      output: float32 [rows, outputs].
    """

    kernels: "Sequence[tf.Variable]"
    biases: "Sequence[tf.Variable]"
    sources: "Sequence[sources_lib.Source]"
    folded: "Mapping[int, sources_lib.LookUp]"
    columns: "Mapping[int, tf.Tensor]"
    below: "Sequence[tf.Tensor]"
    output: tf.Tensor

    @classmethod
    def of(
        cls, layers: Sequence[Any], sources: "Sequence[sources_lib.Source]", rows: int
    ) -> "FirstLayer":
        """The piece of dense layers of one input, computed.

        Args:
          layers: with kernels and biases.
          sources: see `FirstLayer`.
          rows: to expect in a batch.
        """
        kernels, biases = [layer.kernel for layer in layers], [layer.bias for layer in layers]
        whole = _joined([tf.convert_to_tensor(kernel) for kernel in kernels], axis=1)
        outputs = int(whole.shape[1])
        below = tf.split(whole, [own.width for own in sources], axis=0)
        read = [part for part, own in enumerate(sources) if own.read.any()]
        read = read or list(range(len(sources)))
        folded = {
            part: own
            for part, own in enumerate(sources)
            if part in read
            and isinstance(own, sources_lib.LookUp)
            and folds(own.narrow, own.width, outputs, rows)
        }
        columns = {
            part: folded[part].columns() if part in folded else sources[part].values()
            for part in read
        }
        if folded or len(read) < len(sources):
            weights = [
                tf.matmul(folded[part].factor(), below[part]) if part in folded else below[part]
                for part in read
            ]
            whole = _joined(weights, axis=0)
        product = tf.matmul(_joined(list(columns.values()), axis=1), whole)
        output = tf.nn.bias_add(product, fused.joined(biases))
        return cls(kernels, biases, sources, folded, columns, below, output)

    def backward(self, upstream: tf.Tensor) -> Backward:
        """See `Backward`.

        Args:
          upstream: gradients at the output.
        """
        at_parts, squares = self._at_parts(upstream)

        def sums(factor: tf.Tensor) -> sources_lib.Sums:
            scaled, counted = tf.math.multiply_no_nan(upstream, factor), factor > 0.0
            columns = tf.where(counted, _joined(list(self.columns.values()), axis=1), 0.0)
            widths = [int(own.shape[1]) for own in self.columns.values()]
            products = tf.split(tf.matmul(columns, scaled, transpose_a=True), widths, axis=0)
            at_kernels = {
                part: tf.zeros([own.width, int(upstream.shape[1])])
                for part, own in enumerate(self.sources)
            }
            found: sources_lib.Sums = []
            for part, product in zip(self.columns, products):
                if part in self.folded:
                    table = self.folded[part]
                    at_kernels[part] = tf.matmul(table.factor(), product, transpose_a=True)
                    found += table.of_factor(tf.matmul(product, self.below[part], transpose_b=True))
                else:
                    at_kernels[part] = product
                    if part in at_parts:
                        at_part = tf.math.multiply_no_nan(at_parts[part], factor)
                        found += self.sources[part].sums(at_part, counted)
            units = [int(kernel.shape[1]) for kernel in self.kernels]
            whole = _joined(list(at_kernels.values()), axis=0)
            found += zip(self.kernels, tf.split(whole, units, axis=1))
            found += zip(self.biases, tf.split(tf.reduce_sum(scaled, axis=0), units))
            return found

        return squares, sums

    def _at_parts(self, upstream: tf.Tensor) -> "tuple[dict[int, tf.Tensor], tf.Tensor]":
        """Gradients at parts that have variables, and the squared norms of all that the piece
        has.
        """
        plain = [own for part, own in self.columns.items() if part not in self.folded]
        squares = [own.squared_norms() for own in self.folded.values()]
        squares += [sources_lib.squares(_joined(plain, axis=1))] if plain else []
        found = [(tf.add_n(squares) + 1.0) * sources_lib.most_squares(upstream)]
        # Those of which the norm at the variables is that at the part are squared in one go.
        trained = {part: self.sources[part].ratio for part in self.columns}
        alike = [part for part, ratio in trained.items() if isinstance(ratio, float) and ratio]
        others = [part for part, ratio in trained.items() if not isinstance(ratio, float)]
        at_parts: dict[int, tf.Tensor] = {}
        for group in (alike, others):
            if group:
                kernel = _joined([self.below[part] for part in group], axis=0)
                at_group = tf.matmul(upstream, kernel, transpose_b=True)
                widths = [self.sources[part].width for part in group]
                at_parts.update(zip(group, tf.split(at_group, widths, axis=1)))
                if group is alike:
                    found.append(sources_lib.squares(at_group))
        found += [trained[part] * sources_lib.most_squares(at_parts[part]) for part in others]
        return at_parts, tf.add_n(found)

    def moved(self, variable: tf.Variable) -> Optional[np.ndarray]:
        """Which rows of a variable can have a gradient, bool; None for all."""
        if any(variable is kernel for kernel in self.kernels):
            read = np.concatenate([own.read for own in self.sources])
            return None if read.all() else read
        for part in self.columns:
            moved = self.sources[part].moved(variable)
            if moved is not None:
                return moved
        return None

    def look_ups(self) -> "list[sources_lib.LookUp]":
        """The tables that are looked up."""
        return [own for own in self.sources if isinstance(own, sources_lib.LookUp)]
