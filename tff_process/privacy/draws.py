"""Random draws of a client that nobody else can foresee and that a replay repeats.

A server that knew the seed could subtract the noise. One that asks for the same step twice, with
other values the second time, could subtract two answers, were the noise the same. So the key of a
step's draws is a function of the client's secret and of everything else that the answer depends on:
asked the same, a client answers the same bytes, and asked anything else it draws anew.

TensorFlow's graph has no cryptographic hash and no cryptographic generator: keys are SipHash over a
message that begins and ends with the secret, 63 bits twice, and draws are Philox's.
"""

from collections.abc import Sequence

import tensorflow as tf

# Arbitrary numbers that tell the two halves of a key apart.
_HALVES = ([0x51A9, 0x7C3E], [0x2F4D, 0x90B1])
_BUCKETS = 2**63 - 1


def key(secret: tf.Tensor, parts: "Sequence[tf.Tensor]") -> tf.Tensor:
    """A key, int64 [2].

    Args:
      secret: int64 [2], the client's own.
      parts: tensors of any type that are of one shape in every call, or strings.
    """
    own = tf.io.serialize_tensor(secret)
    # What has no fixed length is told by its hash.
    told = [
        _halves(tf.strings.join([own, part])) if part.dtype == tf.string else part for part in parts
    ]
    return _halves(tf.strings.join([own, *map(tf.io.serialize_tensor, told), own]))


def folded(seed: tf.Tensor, number: "tf.Tensor | int") -> tf.Tensor:
    """Another key for each number, as long as the first: `stateless_fold_in` keeps half of it."""
    parts = (seed, tf.cast(number, tf.int64))
    return _halves(tf.strings.join([tf.io.serialize_tensor(part) for part in parts]))


def poisson_sample(seed: tf.Tensor, rows: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
    """Which rows a batch holds, each with probability `rate` by itself; int64 [rows of the batch].

    Args:
      seed: int64 [2].
      rows: how many there are.
      rate: float64 scalar; counts to 2^-32, rounded down.
    """
    drawn = tf.random.stateless_uniform([rows], seed, None, None, tf.uint32)
    threshold = tf.cast(tf.floor(rate * 2.0**32), tf.int64)
    return tf.where(tf.cast(drawn, tf.int64) < threshold)[:, 0]


def noise(seed: tf.Tensor, shape: "Sequence[int]", deviation: tf.Tensor) -> tf.Tensor:
    """Gaussian noise, float32 of a shape."""
    return tf.random.stateless_normal(shape, seed) * deviation


def _halves(message: tf.Tensor) -> tf.Tensor:
    return tf.stack([tf.strings.to_hash_bucket_strong(message, _BUCKETS, half) for half in _HALVES])
