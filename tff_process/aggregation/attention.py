"""Attention of clients to one another, by the likeness of their updates.

Formula: `a[k, j] = softmax over j of cos(Delta[k], Delta[j]) / tau (+ log(n[j] / n))`.

References:
  Huang et al., "Personalized Cross-Silo Federated Learning on Non-IID Data", AAAI 2021 (FedAMP);
  Lu et al., "FedHCA2: Towards Hetero-Client Federated Multi-Task Learning", CVPR 2024.
"""

import tensorflow as tf

from tff_process.aggregation import gram as gram_lib
from tff_process.aggregation import present as present_lib

_LEAST_COUNT = 1e-300


def attention(
    gram: tf.Tensor, counts: tf.Tensor, present: tf.Tensor, tau: float, log_counts: bool
) -> tf.Tensor:
    """The weight that each client gives to the values of each other.

    Args:
      gram: [N, N], of the updates.
      counts: [N], rows of each client; used with `log_counts` only.
      present: bool or number [N].
      tau: temperature above 0; larger is more even.
      log_counts: whether a client's say also grows with its rows.

    Returns:
      float64 [N, N], rows sum to 1. Absent clients get no weight from others; their own rows are
      those of the identity.
    """
    logits = gram_lib.cosine(present_lib.submatrix(gram, present)) / tau
    if log_counts:
        # log(n) is the same for all j, so softmax drops it. The floor gives a client of no rows no
        # say, and keeps the softmax defined where nobody has rows.
        rows = present_lib.subvector(counts, present)
        logits += tf.math.log(tf.maximum(rows, _LEAST_COUNT))[tf.newaxis, :]
    absent = tf.cast(tf.logical_not(present_lib.mask(present)), tf.float64)
    return present_lib.spread_matrix(tf.nn.softmax(logits), present) + tf.linalg.diag(absent)
