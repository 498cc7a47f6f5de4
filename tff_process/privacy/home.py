"""How a client makes the model that it serves of what it received, where what leaves is private.

Whatever it does for that stays with it and feeds nothing that leaves, so that it is free of the
budget. It trains from two starts by plain steps on all its rows and groups: from what it received,
and from the values that training began with, as if nobody had sent it anything. What was received
knows more than the client's rows do, and is kept: its step size is a third, and what the released
model did not read, as a user table that is zero, is trained for the first epochs alone, so that it
learns what is left to explain before anything received moves. The two know different things, since
only one of them learned all groups together; a third model goes on from what became of the first
and is taught what both answer in the mean (`teaching`), in which the better one counts for more.

Weights are averaged as every algorithm averages what it serves (`averaging`), four times an epoch,
and after each epoch the average is measured on the client's own `valid` rows; the best of each
model stands for it, and of the first also what was received as it is. What came from nobody is
better than the first only where it is ahead by more than chance: what was received is not given up
for the accidents of few rows. The third is served unless it is behind the better of both by more
than chance: so what noise has made useless is left aside.
"""

import dataclasses
from collections.abc import Mapping

import tensorflow as tf

from pfrec import evaluation, metrics
from tff_process.algorithms import averaging
from tff_process.client import work as work_lib
from tff_process.privacy import teaching

STEPS, EPOCH_STEPS, VALID = "home_steps", "home_epoch_steps", "valid_shards"
SERVES = "serves"
# Of the step size, what is left from what was received.
_RECEIVED_RATE = 0.3
# How much better on `valid` training alone must be to be served, and how much worse what is taught
# may be: `valid` has few rows, what was received is of the rows of all, and a mean of two models
# goes by chance less than either.
_AHEAD = 0.02
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
      work: that of a round, with `STEPS` as the most of each of the three, where 0 leaves the model
        as it is; `EPOCH_STEPS`; `VALID`, paths; and `SERVES`, float32 [tasks], 1 where the client
        has labels of the task.
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
        best, best_score = received, _nothing()
        # What became of each start, which the third model is taught.
        one, other = received, alone
        one_score = other_score = _nothing()
        for turn in tf.range(3):
            is_alone, is_taught = tf.equal(turn, 1), tf.equal(turn, 2)
            served = _either(is_alone, alone, one)
            rate = learning_rate * tf.where(is_alone, 1.0, _RECEIVED_RATE)
            new_epochs = _new_epochs(tf.equal(turn, 0), epochs) if new else tf.zeros_like(epochs)
            _begin(model, served)
            found, found_score = served, score(evaluator(work[VALID]))
            if is_taught:
                found_score = _nothing()
            shares = teaching.shares_of((one_score, other_score))
            latest, waited, averaged = _nothing(), tf.constant(0), tf.constant(0)
            # Nothing is taught where nothing could be measured.
            idle = is_taught & (best_score <= 0.0)
            for epoch in tf.range(tf.where(idle, tf.zeros_like(epochs), epochs)):
                for piece in tf.range(tf.constant(_PIECES, tf.int64)):
                    begin, end = (
                        tf.minimum(epoch * epoch_steps + at * epoch_steps // _PIECES, most)
                        for at in (piece, piece + 1)
                    )
                    lesson = _Lesson(rate, new, epoch < new_epochs, (one, other), shares, is_taught)
                    _steps(model, settings, work, begin, end, lesson)
                    averaged += 1
                    served = _averaged(model, served, averaging.part(averaged, share))
                own = _measured(model, evaluator, served, work[VALID])
                if own > found_score:
                    found, found_score = served, own
                waited += 1
                if own > latest or epoch < new_epochs:
                    latest, waited = own, tf.constant(0)
                if waited >= _PATIENCE:
                    break
            one, other = _either(is_alone, one, found), _either(is_alone, found, other)
            if is_alone:
                other_score = found_score
            else:
                one_score = found_score
            if found_score > best_score + _margin(is_alone, is_taught):
                best, best_score = found, found_score
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
def _margin(is_alone: tf.Tensor, is_taught: tf.Tensor) -> tf.Tensor:
    """By how much a model must be ahead to be served."""
    return _AHEAD * (tf.cast(is_alone, tf.float64) - tf.cast(is_taught, tf.float64))


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


@dataclasses.dataclass(frozen=True)
class _Lesson:
    """How to train.

    Attributes:
      rate: float32 scalar, the step size.
      new: names of variables that were not received.
      only_new: bool scalar, whether these alone are trained.
      teachers: values of each teacher.
      shares: see `teaching.with_answers`.
      is_taught: bool scalar, whether what they answer is learnt, and not labels.
    """

    rate: tf.Tensor
    new: "frozenset[str]"
    only_new: tf.Tensor
    teachers: "tuple[work_lib.Values, ...]"
    shares: tf.Tensor
    is_taught: tf.Tensor


def _steps(
    model: work_lib.ClientModel,
    settings: work_lib.TrainingSettings,
    work: work_lib.Values,
    begin: tf.Tensor,
    end: tf.Tensor,
    lesson: _Lesson,
) -> None:
    """Plain steps on all groups, or on new variables alone: while moments are still zero, a zero
    gradient moves nothing.
    """

    @_plain
    def step(batch: work_lib.Values, state: "tuple[()]") -> "tuple[tf.Tensor, tuple[()]]":
        seed = batch["dropout_seed"]  # There is no dropout here.
        rows = tf.cond(
            lesson.is_taught,
            lambda: teaching.with_answers(
                model, lesson.teachers, lesson.shares, batch, seed, work[SERVES]
            ),
            lambda: teaching.with_labels(batch),
        )
        # Numbers are scaled as in the released model, which knows no batch's statistics.
        loss, gradients = work_lib.loss_and_gradients(model, settings, rows, {}, training=False)
        kept = {
            name: value
            if name in lesson.new or value is None
            else tf.where(lesson.only_new, 0.0, tf.convert_to_tensor(value))
            for name, value in gradients.items()
        }
        model.apply(kept, learning_rate=lesson.rate)
        return loss, state

    own = dict(work)
    own.update(first_step=begin, steps=end - begin, epoch_steps=work[EPOCH_STEPS])
    work_lib.for_each_batch(model, settings, own, step, ())
