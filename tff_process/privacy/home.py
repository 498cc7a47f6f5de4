"""How a client makes the model that it serves of what it received, where what leaves is private.

Whatever it does for that stays with it and feeds nothing that leaves, so that it is free of the
budget. It trains from two starts by plain steps on all its rows and groups: from what it received,
and from the values that training began with, as if nobody had sent it anything. Weights are
averaged as every algorithm averages what it serves (`averaging`), four times an epoch, and after
each epoch the average is measured on the client's own `valid` rows; the best of all these, and of
what was received as it is, is served. What noise has made useless is so left aside: up to what
`valid` can tell, the client is not behind training alone.
"""

from collections.abc import Mapping

import tensorflow as tf

from pfrec import evaluation, metrics
from tff_process.algorithms import averaging
from tff_process.client import work as work_lib

STEPS, EPOCH_STEPS, VALID = "home_steps", "home_epoch_steps", "valid_shards"
_PIECES = 4
# Epochs without a better one after which a start is given up.
_PATIENCE = 3

_plain = tf.autograph.experimental.do_not_convert


def finish(
    model: work_lib.ClientModel,
    settings: work_lib.TrainingSettings,
    work: work_lib.Values,
    first: work_lib.Values,
    share: float,
) -> None:
    """Makes a model that holds what was received the one to serve; for use inside a
    `tf.function`.

    Args:
      model: where it stands; its own optimizer begins anew from each start.
      settings: with the batch size at home.
      work: that of a round, with `STEPS` as the most from each start, where 0 leaves the model as
        it is; `EPOCH_STEPS`; and `VALID`, paths.
      first: the values that training began with, of trained variables by name; of others both
        starts have what the model has.
      share: of the average, see `averaging.part`.
    """
    evaluator = evaluation.Evaluator(model.network, model.schema)
    received = dict(model.read(model.trained))
    alone = {**received, **first}
    epoch_steps, most = work[EPOCH_STEPS], work[STEPS]
    if most > 0:
        best, best_score = received, score(evaluator(work[VALID]))
        for start in tf.range(2):
            served = _either(tf.equal(start, 0), received, alone)
            _begin(model, served)
            own_best, waited, averaged = _nothing(), tf.constant(0), tf.constant(0)
            for epoch in tf.range((most + epoch_steps - 1) // epoch_steps):
                for piece in tf.range(tf.constant(_PIECES, tf.int64)):
                    begin, end = (
                        tf.minimum(epoch * epoch_steps + at * epoch_steps // _PIECES, most)
                        for at in (piece, piece + 1)
                    )
                    _steps(model, settings, work, begin, end)
                    averaged += 1
                    served = _averaged(model, served, averaging.part(averaged, share))
                own = _measured(model, evaluator, served, work[VALID])
                if own > best_score:
                    best, best_score = served, own
                waited += 1
                if own > own_best:
                    own_best, waited = own, tf.constant(0)
                if waited >= _PATIENCE:
                    break
        model.load(best)


@_plain
def score(values: tf.Tensor) -> tf.Tensor:
    """What `training.selection.score` says of one scenario, in a graph; float64 scalar, 0 where no
    task has rows of both classes.

    Args:
      values: float64 [tasks, metrics], in the order of `metrics.METRICS`.
    """
    auc, rows, positives = (
        values[:, metrics.METRICS.index(name)] for name in ("auc", "rows", "positives")
    )
    pairs = positives * (rows - positives)
    known = 1.0 / ((rows + 1.0) / (12.0 * tf.maximum(pairs, 1.0)) + metrics.KNOWN_WELL**2)
    weights = tf.where(pairs > 0.0, known, tf.zeros_like(known))
    auc = tf.where(tf.math.is_finite(auc), auc, tf.zeros_like(auc))
    return tf.math.divide_no_nan(tf.reduce_sum(weights * auc), tf.reduce_sum(weights))


@_plain
def _nothing() -> tf.Tensor:
    return tf.constant(-1.0, tf.float64)


@_plain
def _either(
    first: tf.Tensor, one: Mapping[str, tf.Tensor], other: Mapping[str, tf.Tensor]
) -> "dict[str, tf.Tensor]":
    return {name: tf.where(first, value, other[name]) for name, value in one.items()}


@_plain
def _begin(model: work_lib.ClientModel, values: work_lib.Values) -> None:
    model.load(values)
    for slot in model.optimizers[work_lib.OPTIMIZER].slots:
        slot.assign(tf.zeros_like(slot))


@_plain
def _averaged(
    model: work_lib.ClientModel, served: work_lib.Values, portion: tf.Tensor
) -> "dict[str, tf.Tensor]":
    return dict(averaging.towards(served, model.read(model.trained), portion))


@_plain
def _measured(
    model: work_lib.ClientModel,
    evaluator: evaluation.Evaluator,
    served: work_lib.Values,
    shards: tf.Tensor,
) -> tf.Tensor:
    """The score of other values than those that training goes on from."""
    trained = model.read(model.trained)
    model.load(served)
    found = score(evaluator(shards))
    model.load(trained)
    return found


def _steps(
    model: work_lib.ClientModel,
    settings: work_lib.TrainingSettings,
    work: work_lib.Values,
    begin: tf.Tensor,
    end: tf.Tensor,
) -> None:
    """Plain steps on all groups."""

    @_plain
    def step(batch: work_lib.Values, state: "tuple[()]") -> "tuple[tf.Tensor, tuple[()]]":
        # Numbers are scaled as in the released model, which knows no batch's statistics.
        loss, gradients = work_lib.loss_and_gradients(model, settings, batch, {}, training=False)
        model.apply(gradients)
        return loss, state

    own = dict(work)
    own.update(first_step=begin, steps=end - begin, epoch_steps=work[EPOCH_STEPS])
    work_lib.for_each_batch(model, settings, own, step, ())
