"""Ranking and calibration metrics, as TensorFlow graph operations alone.

Every function can be called eagerly, inside `tf.function` with unknown shapes, and in a graph that
runs without Python. Sums and results are float64. What is not defined (an AUC of one class,
anything of no rows, anything of a prediction that is not a number) is NaN, never an error: a client
without labels of a task must not stop a round.

References:
  Mann and Whitney, 1947: the AUC is the share of (positive, negative) pairs that are ranked
  rightly, a tie counting half. Zhou et al., "Deep Interest Network for Click-Through Rate
  Prediction", KDD 2018 (AUC averaged over users). Guo et al., "On Calibration of Modern Neural
  Networks", ICML 2017 (expected calibration error).
"""

from typing import Any, Optional

import tensorflow as tf

METRICS = ("auc", "gauc", "logloss", "ece", "rows", "positives")
UNOBSERVED = 255
# Where a choice weighs tasks by how well their AUC is known, this well is well enough.
_KNOWN_WELL = 0.01


def chance_variance(rows: Any, pairs: Any) -> Any:
    """The variance of the AUC of scores that know nothing.

    Formula (Mann and Whitney, 1947), of n rows with p positives: `(n + 1) / (12 p (n - p))`.

    Args:
      rows: n, float64, an array or a tensor.
      pairs: `p (n - p)`, likewise, above 0.
    """
    return (rows + 1.0) / (12.0 * pairs)


def auc_weight(variance: Any) -> Any:
    """What an AUC counts for in a mean by which something is chosen: `1 / (variance + 0.01^2)`, so
    that all those weigh the same that are known to better than a hundredth.

    Args:
      variance: its `chance_variance`.
    """
    return 1.0 / (variance + _KNOWN_WELL**2)


def _nan() -> tf.Tensor:
    return tf.constant(float("nan"), tf.float64)


def _observed_rows(observed: tf.Tensor, *columns: tf.Tensor) -> "list[tf.Tensor]":
    mask = tf.reshape(tf.cast(observed, tf.bool), [-1])
    return [tf.boolean_mask(tf.reshape(column, [-1]), mask) for column in columns]


def _sortable(scores: tf.Tensor) -> "tuple[tf.Tensor, tf.Tensor]":
    """The scores with NaN replaced (a sort must not see it), and a float64 scalar to add to a
    result: NaN where there was one, else 0.
    """
    bad = tf.math.is_nan(scores)
    return tf.where(bad, tf.zeros_like(scores), scores), tf.where(
        tf.reduce_any(bad), _nan(), tf.zeros([], tf.float64)
    )


def _differs_from_previous(values: tf.Tensor) -> tf.Tensor:
    """bool [n - 1]: whether each value but the first differs from the one before it."""
    return tf.not_equal(values[1:], values[:-1])


def _closed(boundaries: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """bool [n]: the last row of every run of equal rows,
    given the [n - 1] boundaries between rows.
    """
    return tf.concat([boundaries, tf.ones([tf.minimum(rows, 1)], tf.bool)], axis=0)


def _tied_runs(positive: tf.Tensor, last: tf.Tensor) -> "tuple[tf.Tensor, tf.Tensor, tf.Tensor]":
    """Counts in each run of tied rows, of rows in ascending order of score.

    Args:
      positive: float64 [n], 1 for a positive row and 0 for a negative one.
      last: bool [n], marks the last row of every run.

    Returns:
      float64 [runs] each: positives in the run, negatives in it, negatives in all runs before it.
    """
    positives_up_to = tf.boolean_mask(tf.cumsum(positive), last)
    negatives_up_to = tf.boolean_mask(tf.cumsum(1.0 - positive), last)
    positives_before = tf.concat([tf.zeros_like(positives_up_to[:1]), positives_up_to[:-1]], axis=0)
    negatives_before = tf.concat([tf.zeros_like(negatives_up_to[:1]), negatives_up_to[:-1]], axis=0)
    return positives_up_to - positives_before, negatives_up_to - negatives_before, negatives_before


def auc(labels: tf.Tensor, scores: tf.Tensor, observed: tf.Tensor) -> tf.Tensor:
    """The area under the ROC curve, exact, ties counted half.

    Counts of pairs stay below 2**53 for tens of millions of rows, so the only rounding is the final
    division.

    Args:
      labels: bool or number [n]; not 0 is positive.
      scores: float [n]; only their order matters.
      observed: bool [n]; rows that count.

    Returns:
      float64 scalar; NaN where the observed rows hold one class only or a score is NaN.
    """
    label, score = _observed_rows(observed, labels, scores)
    score, spoilt = _sortable(score)
    order = tf.argsort(score, stable=True)
    score = tf.gather(score, order)
    positive = tf.cast(tf.gather(tf.cast(label, tf.bool), order), tf.float64)
    last = _closed(_differs_from_previous(score), tf.size(score))
    run_positives, run_negatives, negatives_before = _tied_runs(positive, last)
    ranked_rightly = tf.reduce_sum(run_positives * (negatives_before + 0.5 * run_negatives))
    pairs = tf.reduce_sum(positive) * tf.reduce_sum(1.0 - positive)
    return ranked_rightly / pairs + spoilt


def grouped_auc(
    labels: tf.Tensor, scores: tf.Tensor, groups: tf.Tensor, observed: tf.Tensor
) -> tf.Tensor:
    """GAUC: the mean of each group's own AUC, weighted by the group's observed rows;
    groups of one class only take no part.

    Args:
      labels: bool or number [n]; not 0 is positive.
      scores: float [n].
      groups: int64 [n], such as user ids.
      observed: bool [n]; rows that count.

    Returns:
      float64 scalar; NaN where no group holds both classes or a score is NaN.
    """
    label, score, group = _observed_rows(observed, labels, scores, tf.cast(groups, tf.int64))
    score, spoilt = _sortable(score)
    by_score = tf.argsort(score, stable=True)
    order = tf.gather(by_score, tf.argsort(tf.gather(group, by_score), stable=True))
    score, group = tf.gather(score, order), tf.gather(group, order)
    positive = tf.cast(tf.gather(tf.cast(label, tf.bool), order), tf.float64)
    new_group = _differs_from_previous(group)
    last = _closed(tf.logical_or(new_group, _differs_from_previous(score)), tf.size(score))
    index = tf.concat([tf.zeros_like(order[:1]), tf.cumsum(tf.cast(new_group, tf.int32))], axis=0)
    run_positives, run_negatives, negatives_before = _tied_runs(positive, last)
    run_index = tf.boolean_mask(index, last)
    positives = tf.math.segment_sum(positive, index)
    negatives = tf.math.segment_sum(1.0 - positive, index)
    negatives_before -= tf.gather(tf.cumsum(negatives, exclusive=True), run_index)
    ranked_rightly = tf.math.segment_sum(
        run_positives * (negatives_before + 0.5 * run_negatives), run_index
    )
    both = tf.logical_and(positives > 0.0, negatives > 0.0)
    weights = tf.where(both, positives + negatives, tf.zeros_like(positives))
    group_auc = tf.math.divide_no_nan(ranked_rightly, positives * negatives)
    return tf.reduce_sum(weights * group_auc) / tf.reduce_sum(weights) + spoilt


def logloss(labels: tf.Tensor, logits: tf.Tensor, observed: tf.Tensor) -> tf.Tensor:
    """The mean binary cross-entropy in nats, from logits: `softplus(-z)` for a positive row and
    `softplus(z)` for a negative one.

    Args:
      labels: bool or number [n]; not 0 is positive.
      logits: float [n].
      observed: bool [n]; rows that count.

    Returns:
      float64 scalar; NaN of no rows.
    """
    label, logit = _observed_rows(observed, labels, logits)
    logit = tf.cast(logit, tf.float64)
    return tf.reduce_mean(tf.math.softplus(tf.where(tf.cast(label, tf.bool), -logit, logit)))


def expected_calibration_error(
    labels: tf.Tensor, logits: tf.Tensor, observed: tf.Tensor, bins: int = 20
) -> tf.Tensor:
    """ECE: how far predicted probabilities lie from observed frequencies, 0 (calibrated) to 1.

    Formula: `sum over bins b of rows[b] / rows * |positives[b] / rows[b] - mean prediction[b]|`,
      with bins of equal width,
    [i / bins, (i + 1) / bins), the last one closed.

    Args:
      labels: bool or number [n]; not 0 is positive.
      logits: float [n].
      observed: bool [n]; rows that count.
      bins: how many.

    Returns:
      float64 scalar; NaN of no rows or where a logit is NaN.
    """
    label, logit = _observed_rows(observed, labels, logits)
    probability = tf.sigmoid(tf.cast(logit, tf.float64))
    # A NaN has no bin; it goes to the first one, whose sum it turns into the NaN that is returned.
    place = tf.where(tf.math.is_nan(probability), tf.zeros_like(probability), probability)
    index = tf.minimum(tf.cast(tf.floor(place * bins), tf.int32), bins - 1)
    excess = tf.cast(tf.cast(label, tf.bool), tf.float64) - probability
    gaps = tf.abs(tf.math.unsorted_segment_sum(excess, index, bins))
    return tf.reduce_sum(gaps) / tf.cast(tf.size(probability), tf.float64)


def evaluate(labels: tf.Tensor, logits: tf.Tensor, groups: Optional[tf.Tensor] = None) -> tf.Tensor:
    """All metrics of all tasks.

    Args:
      labels: uint8 [n, tasks]: 0, 1, or 255 for a label that was not observed.
      logits: float [n, tasks].
      groups: int64 [n], such as user ids; without them the grouped AUC is NaN.

    Returns:
      float64 [tasks, metrics], in the order of `METRICS`.
    """

    def of_task(columns: "tuple[tf.Tensor, tf.Tensor]") -> tf.Tensor:
        label, logit = columns
        observed = tf.not_equal(label, UNOBSERVED)
        positive = tf.logical_and(observed, tf.not_equal(label, 0))
        values = {
            "auc": auc(positive, logit, observed),
            "gauc": _nan() if groups is None else grouped_auc(positive, logit, groups, observed),
            "logloss": logloss(positive, logit, observed),
            "ece": expected_calibration_error(positive, logit, observed),
            "rows": tf.math.count_nonzero(observed, dtype=tf.float64),
            "positives": tf.math.count_nonzero(positive, dtype=tf.float64),
        }
        return tf.stack([values[name] for name in METRICS])

    signature = tf.TensorSpec([len(METRICS)], tf.float64)
    return tf.map_fn(
        of_task, (tf.transpose(labels), tf.transpose(logits)), fn_output_signature=signature
    )
