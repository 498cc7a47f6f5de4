"""How a client makes the model that it serves of what it received, where what leaves is private.

Whatever it does for that stays with it and feeds nothing that leaves, so that it is free of the
budget. It trains from two starts by plain steps on all its rows and groups: from what it received,
and from the values that training began with, as if nobody had sent it anything. What was received
knows more than the client's rows do, and is kept: its step size is a third, and what the released
model did not read, as a user table that is zero, is trained for the first epochs alone, so that it
learns what is left to explain before anything received moves. Weights are averaged as every
algorithm averages what it serves (`averaging`), four times an epoch, and after each epoch the
average is measured on the client's own `valid` rows; the best of all these, and of what was
received as it is, is served. What came from nobody is served only where it is ahead by more than
chance: so what noise has made useless is left aside, and what was received is not given up for the
accidents of few rows.
"""

from collections.abc import Mapping

import tensorflow as tf

from pfrec import evaluation, metrics
from tff_process.algorithms import averaging
from tff_process.client import work as work_lib

STEPS, EPOCH_STEPS, VALID = "home_steps", "home_epoch_steps", "valid_shards"
# Of the step size, what is left from what was received.
_RECEIVED_RATE = 0.3
# How much better on `valid` training alone must be to be served: `valid` has few rows, and what was
# received is of the rows of all.
_AHEAD = 0.01
# Epochs, at most half of all, in which only what was not received is trained.
_NEW_EPOCHS = 4
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
    learning_rate: float,
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
      learning_rate: of training from the first values.
    """
    evaluator = evaluation.Evaluator(model.network, model.schema)
    received = dict(model.read(model.trained))
    alone = {**received, **first}
    epoch_steps, most = work[EPOCH_STEPS], work[STEPS]
    new = frozenset(model.trained) - frozenset(first)
    epochs = (most + epoch_steps - 1) // epoch_steps
    if most > 0:
        best, best_score = received, score(evaluator(work[VALID]))
        for start in tf.range(2):
            from_received = tf.equal(start, 0)
            served = _either(from_received, received, alone)
            rate = learning_rate * tf.where(from_received, _RECEIVED_RATE, 1.0)
            new_epochs = _new_epochs(from_received, epochs) if new else tf.zeros_like(epochs)
            _begin(model, served)
            if start > 0:
                best_score += _AHEAD
            own_best, waited, averaged = _nothing(), tf.constant(0), tf.constant(0)
            for epoch in tf.range(epochs):
                for piece in tf.range(tf.constant(_PIECES, tf.int64)):
                    begin, end = (
                        tf.minimum(epoch * epoch_steps + at * epoch_steps // _PIECES, most)
                        for at in (piece, piece + 1)
                    )
                    _steps(model, settings, work, begin, end, rate, new, epoch < new_epochs)
                    averaged += 1
                    served = _averaged(model, served, averaging.part(averaged, share))
                own = _measured(model, evaluator, served, work[VALID])
                if own > best_score:
                    best, best_score = served, own
                waited += 1
                if own > own_best or epoch < new_epochs:
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
def _new_epochs(from_received: tf.Tensor, epochs: tf.Tensor) -> tf.Tensor:
    few = tf.minimum(tf.constant(_NEW_EPOCHS, epochs.dtype), epochs // 2)
    return tf.where(from_received, few, tf.zeros_like(few))


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
    rate: tf.Tensor,
    new: "frozenset[str]",
    only_new: tf.Tensor,
) -> None:
    """Plain steps on all groups, or on new variables alone: while moments are still zero, a zero
    gradient moves nothing.
    """

    @_plain
    def step(batch: work_lib.Values, state: "tuple[()]") -> "tuple[tf.Tensor, tuple[()]]":
        # Numbers are scaled as in the released model, which knows no batch's statistics.
        loss, gradients = work_lib.loss_and_gradients(model, settings, batch, {}, training=False)
        kept = {
            name: value
            if name in new or value is None
            else tf.where(only_new, 0.0, tf.convert_to_tensor(value))
            for name, value in gradients.items()
        }
        model.apply(kept, learning_rate=rate)
        return loss, state

    own = dict(work)
    own.update(first_step=begin, steps=end - begin, epoch_steps=work[EPOCH_STEPS])
    work_lib.for_each_batch(model, settings, own, step, ())
