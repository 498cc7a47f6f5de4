"""Working on the clients present alone.

A computation over the clients present is carried out on their rows only and put back in place
after, so that what an absent client holds cannot touch it, not even by the rounding of a longer
sum.
"""

import tensorflow as tf


def mask(present: tf.Tensor) -> tf.Tensor:
    """bool [N] of a bool or number [N]; not 0 is present."""
    return tf.cast(present, tf.bool)


def indices(present: tf.Tensor) -> tf.Tensor:
    """int64 [P]: the places of the P clients present, ascending."""
    return tf.reshape(tf.where(mask(present)), [-1])


def submatrix(matrix: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """float64 [P, P]: the rows and columns of a matrix [N,
    N] that belong to the clients present.
    """
    places = indices(present)
    return tf.gather(tf.gather(tf.cast(matrix, tf.float64), places), places, axis=1)


def subvector(vector: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """float64 [P]: the elements of a vector [N] that belong to the clients present."""
    return tf.gather(tf.cast(vector, tf.float64), indices(present))


def _placement(present: tf.Tensor) -> tf.Tensor:
    clients = (
        present.shape[0]
        if present.shape.rank is not None and present.shape[0] is not None
        else tf.size(present)
    )
    return tf.gather(tf.eye(clients, dtype=tf.float64), indices(present))


def spread(vector: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """float64 [N]: a vector [P] of the clients present put in place, zero for the absent."""
    return tf.linalg.matvec(_placement(present), vector, transpose_a=True)


def spread_matrix(matrix: tf.Tensor, present: tf.Tensor) -> tf.Tensor:
    """float64 [N, N]: a matrix [P, P] of the clients present put in place, zero for the absent."""
    placement = _placement(present)
    return tf.matmul(placement, tf.matmul(matrix, placement), transpose_a=True)
