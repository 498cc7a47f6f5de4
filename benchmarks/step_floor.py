"""What a training step costs at the least: its arithmetic and its memory traffic, beside what the
machine does of each in a second.
"""

import pathlib
import sys
import time

import tensorflow as tf

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from benchmarks.shapes import Shape
from pfrec.models.mmoe import first_layer


def floor(shape: Shape) -> "tuple[float, float]":
    """What a step must compute and move: multiplications and additions, and bytes.

    Arithmetic: the products that remain after folding, forward and backward (three each; two where
      nothing needs a gradient to the left).
    Traffic: a hidden activation is written by its product, read twice and written by normalisation,
      and read by the next product; back
    again its gradient is written, read, normalised backward (two reads of the input, one of the
    output) and written, then read by two products: 13 passes of 4 bytes. A parameter is read by two
    products; its gradient, weight and moments take 8 passes in the optimizer.
    """
    c, batch, tasks = shape.config, shape.batch, shape.tasks
    outputs = c.experts * (c.expert_units[0] + tasks)
    arithmetic = 0.0
    for cardinality, listed in [
        *((c, False) for c in shape.cardinalities),
        *((c, True) for c, _ in shape.lists),
    ]:
        way = first_layer.way(cardinality + 1, c.embedding_dim, outputs, batch, listed)
        if way == first_layer.PROJECT:
            arithmetic += (
                2
                * outputs
                * (2 * batch * (cardinality + 1) + 3 * (cardinality + 1) * c.embedding_dim)
            )
        else:
            rows = min(batch, cardinality + 1) if way == first_layer.OCCURRING else batch
            arithmetic += 2 * outputs * 3 * rows * c.embedding_dim
    folded = first_layer.numbers_fold(shape.numbers, c.numeric_dim)
    arithmetic += 2 * outputs * batch * (2 * (shape.numbers + 1) if folded else 3 * c.numeric_dim)
    pairs = [*zip(c.expert_units, c.expert_units[1:])] * c.experts
    pairs += [*zip((c.expert_units[-1], *c.tower_units), (*c.tower_units, 1))] * tasks
    arithmetic += sum(6 * batch * inputs * units for inputs, units in pairs)
    activations = batch * (c.experts * sum(c.expert_units) + tasks * sum(c.tower_units))
    inputs = (len(shape.cardinalities) + len(shape.lists)) * c.embedding_dim + (
        c.numeric_dim or shape.numbers
    )
    rows = sum(shape.cardinalities) + sum(cardinality for cardinality, _ in shape.lists)
    parameters = rows * c.embedding_dim + inputs * outputs + sum(a * b for a, b in pairs)
    return arithmetic, 4.0 * (13 * activations + 10 * parameters)


def machine(repeats: int) -> "tuple[float, float]":
    """Arithmetic of a plain product per second, and bytes of a plain copy per second:
    the best seen.
    """
    size = 2048
    a, x = tf.random.normal([size, size]), tf.random.normal([16 << 20])
    product, copy = (
        tf.function(lambda: tf.matmul(a, a)[0, 0], autograph=False),
        tf.function(lambda: tf.negative(x), autograph=False),
    )

    def best(run):
        times = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            run().numpy() if run is product else run()
            times.append(time.perf_counter() - start)
        return min(times)

    return 2 * size**3 / best(product), 8 * (16 << 20) / best(copy)


if __name__ == "__main__":
    sys.exit("a part of local_training.py")
