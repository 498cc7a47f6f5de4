"""How a client makes the model that it serves of what it received.

Whatever it does for that stays with it and feeds nothing that leaves, so that it costs neither an
aggregation nor privacy. It trains from two starts by plain steps on all its rows and groups: from
what it received, and from first values, as if nobody had sent it anything. What was received
knows more than the client's rows do, and is kept: its step size is a third, and what was not
received, as a user table that a private training leaves at zero, is trained for the first epochs
alone, so that it learns what is left to explain before anything received moves. The two know
different things, since only one of them learned all groups together; a third model goes on from
what became of the first and is taught what both answer in the mean (`teaching`), in which the
better one counts for more.

Weights are averaged as every algorithm averages what it serves (`averaging`), four times an epoch,
and statistics of batches with them. After each epoch the average is measured on the client's own
`valid` rows; the best of each model stands for it, and of the first also what was received as it
is. What came from nobody is better than the first only where it is ahead by more than chance: what
was received is not given up for the accidents of few rows. The third is served unless it is behind
the better of both by more than chance: so what is of no use is left aside. Chance is the standard
error of AUC on so many rows, or 0.02 where that is more; who has too few rows to tell keeps what it
received. Under differential privacy it is always 0.02, and nobody does: what noise has made useless
is to be left aside by all.
"""

import dataclasses
import functools
from collections.abc import Mapping

import tensorflow as tf

from pfrec import evaluation, metrics
from tff_process.algorithms import averaging
from tff_process.client import work as work_lib
from tff_process.finishing import teaching

STEPS: str = "home_steps"
EPOCH_STEPS: str = "home_epoch_steps"
VALID: str = "valid_shards"
# What is measured once a model is finished.
TEST: str = "test_shards"
SERVES = "serves"
# Of the step size, what is left from what was received.
_RECEIVED_RATE = 0.3
# How much better on `valid` training alone must be to be served, and how much worse what is taught
# may be: `valid` has few rows, what was received is of the rows of all, and a mean of two models
# goes by chance less than either.
_AHEAD = 0.02
# Standard error of AUC on `valid` above which nothing can be told by it.
_TOO_FEW = 0.1
# Epochs, at most half of all, in which only what was not received is trained.
_NEW_EPOCHS = 4
_PIECES = 4
_MODELS = 3
# Epochs without a better one after which a start is given up.
_PATIENCE = 3

_plain = tf.autograph.experimental.do_not_convert


@dataclasses.dataclass(frozen=True)
class Training:
    """How a client makes its models.

    Attributes:
      model: with what was received; its optimizers begin anew from each start.
      settings: with the batch size at home.
      work: that of a round, with `STEPS` as the most of each of the three; `EPOCH_STEPS`; `VALID`,
        paths; and `SERVES`, float32 [tasks], 1 where the client has labels of the task.
      first: first values by name; of other variables both starts have what the model has, and
        those of them that are trained are what was not received.
      share: of the average, see `averaging.part`.
      learning_rate: of training from the first values.
      noised: whether what was received was trained under differential privacy. If not, labels are
        learned by the statistics of each batch, and with dropout, as in a round.
    """

    model: work_lib.ClientModel
    settings: work_lib.TrainingSettings
    work: work_lib.Values
    first: work_lib.Values
    share: float
    learning_rate: float
    noised: bool = False

    @functools.cached_property
    def evaluator(self) -> evaluation.Evaluator:
        """Of the model."""
        return evaluation.Evaluator(self.model.network, self.model.schema)

    def on_valid(self) -> tf.Tensor:
        """Metrics of the model as it stands, float64 [tasks, metrics]."""
        return self.evaluator(self.work[VALID])


@dataclasses.dataclass(frozen=True)
class Made:
    """What became of the two starts, and what was taught.

    Attributes:
      received, alone, taught: values of all variables by name.
      scores: of the three on `valid`, float64 [3]; -1 where one was not made.
      margin: by how much a score must be ahead to be so by more than chance, float64 scalar.
    """

    received: work_lib.Values
    alone: work_lib.Values
    taught: work_lib.Values
    scores: tf.Tensor
    margin: tf.Tensor

    @_plain
    def chosen(self) -> work_lib.Values:
        """The one to serve."""
        received, alone, taught = (self.scores[number] for number in range(_MODELS))
        is_alone = alone > received + self.margin
        better = _either(is_alone, self.alone, self.received)
        behind = taught <= tf.where(is_alone, alone, received) - self.margin
        return _either(behind, better, self.taught)


def finish(training: Training) -> None:
    """Makes a model that holds what was received the one to serve; for use inside a
    `tf.function`. Where the work asks for no steps the model is left as it is, and where there are
    too few rows to choose by.
    """

    # Not inlined: it is optimised by itself, so that its values are the same bits in whatever
    # computation it stands.
    @functools.partial(tf.function, experimental_attributes={"_noinline": True})
    def whole() -> None:
        received = training.on_valid()
        if training.noised or chance(received) <= _TOO_FEW:
            training.model.load(made(training, received).chosen())

    if training.work[STEPS] > 0:
        whole()


def made(training: Training, on_valid: tf.Tensor) -> Made:
    """The three models; for use inside a `tf.function`.

    Args:
      training: how.
      on_valid: metrics of what was received on `VALID`, float64 [tasks, metrics].
    """
    model, work, first = training.model, training.work, training.first
    served = dict(model.read(list(model.variables)))
    received, alone, taught = served, {**served, **first}, served
    epoch_steps, most = work[EPOCH_STEPS], work[STEPS]
    new = frozenset(model.trained) - frozenset(first)
    epochs = (most + epoch_steps - 1) // epoch_steps
    scores, margin = tf.fill([_MODELS], _nothing()), tf.convert_to_tensor(_AHEAD, tf.float64)
    if not training.noised:
        margin = tf.maximum(margin, chance(on_valid))
    for turn in tf.range(_MODELS):
        is_alone, is_taught = tf.equal(turn, 1), tf.equal(turn, 2)
        served = _either(is_alone, alone, received)
        rate = training.learning_rate * tf.where(is_alone, 1.0, _RECEIVED_RATE)
        new_epochs = _new_epochs(tf.equal(turn, 0), epochs) if new else tf.zeros_like(epochs)
        _begin(model, served)
        found, found_score = served, tf.where(is_taught, _nothing(), score(on_valid))
        if is_alone:
            found_score = score(training.on_valid())
        shares = teaching.shares_of((scores[0], scores[1]))
        latest, waited, averaged = _nothing(), tf.constant(0), tf.constant(0)
        # Nothing is taught where nothing could be measured.
        idle = is_taught & (scores[0] <= 0.0)
        for epoch in tf.range(tf.where(idle, tf.zeros_like(epochs), epochs)):
            for piece in tf.range(tf.constant(_PIECES, tf.int64)):
                begin, end = (
                    tf.minimum(epoch * epoch_steps + at * epoch_steps // _PIECES, most)
                    for at in (piece, piece + 1)
                )
                lesson = _Lesson(
                    rate,
                    new,
                    epoch < new_epochs,
                    (received, alone),
                    shares,
                    is_taught,
                )
                _steps(training, begin, end, lesson)
                averaged += 1
                served = _averaged(model, served, averaging.part(averaged, training.share))
            own = _measured(training, served)
            if own > found_score:
                found, found_score = served, own
            waited += 1
            if own > latest or epoch < new_epochs:
                latest, waited = own, tf.constant(0)
            if waited >= _PATIENCE:
                break
        received = _either(tf.equal(turn, 0), found, received)
        alone, taught = _either(is_alone, found, alone), _either(is_taught, found, taught)
        scores = tf.where(tf.equal(tf.range(_MODELS), turn), found_score, scores)
    return Made(received, alone, taught, scores, margin)


@_plain
def score(values: tf.Tensor) -> tf.Tensor:
    """What `training.selection.score` says of one scenario, in a graph; float64 scalar, 0 where no
    task has rows of both classes.

    Args:
      values: float64 [tasks, metrics], in the order of `metrics.METRICS`.
    """
    auc, (weights, _) = values[:, metrics.METRICS.index("auc")], _known(values)
    auc = tf.where(tf.math.is_finite(auc), auc, tf.zeros_like(auc))
    return tf.math.divide_no_nan(tf.reduce_sum(weights * auc), tf.reduce_sum(weights))


@_plain
def chance(values: tf.Tensor) -> tf.Tensor:
    """The standard error of `score` where the model knows nothing, float64 scalar; 1 where no task
    has rows of both classes.

    Formula: of the AUC of a task the root of `metrics.chance_variance`, and of the mean of tasks as
    of independent ones.

    Args:
      values: see `score`.
    """
    weights, variances = _known(values)
    whole = tf.reduce_sum(weights)
    error = tf.math.divide_no_nan(tf.sqrt(tf.reduce_sum(weights**2 * variances)), whole)
    return tf.where(whole > 0.0, error, tf.ones_like(error))


@_plain
def _known(values: tf.Tensor) -> "tuple[tf.Tensor, tf.Tensor]":
    """Of each task the weight of its AUC, and the AUC's variance, float64 [tasks]."""
    rows, positives = (values[:, metrics.METRICS.index(name)] for name in ("rows", "positives"))
    pairs = positives * (rows - positives)
    variances = metrics.chance_variance(rows, tf.maximum(pairs, 1.0))
    weights = metrics.auc_weight(variances)
    return tf.where(pairs > 0.0, weights, tf.zeros_like(weights)), variances


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
    for optimizer in model.optimizers.values():
        for slot in optimizer.slots:
            slot.assign(tf.zeros_like(slot))


@_plain
def _averaged(
    model: work_lib.ClientModel, served: work_lib.Values, portion: tf.Tensor
) -> "dict[str, tf.Tensor]":
    return dict(averaging.towards(served, model.read(list(served)), portion))


@_plain
def _measured(training: Training, served: work_lib.Values) -> tf.Tensor:
    """The score of other values than those that training goes on from."""
    trained = training.model.read(list(served))
    training.model.load(served)
    found = score(training.on_valid())
    training.model.load(trained)
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


def _steps(training: Training, begin: tf.Tensor, end: tf.Tensor, lesson: _Lesson) -> None:
    """Plain steps on all groups, or on new variables alone: while moments are still zero, a zero
    gradient moves nothing.
    """
    model, settings, work = training.model, training.settings, training.work

    @_plain
    def taught(batch: work_lib.Values) -> "dict[str, tf.Tensor]":
        seed = batch[
            "dropout_seed"
        ]  # Of no use else: there is no dropout where answers are learnt.
        return teaching.with_answers(
            model, lesson.teachers, lesson.shares, batch, seed, work[SERVES]
        )

    @_plain
    def learned(rows: work_lib.Values, training: bool) -> "tuple[tf.Tensor, dict[str, tf.Tensor]]":
        loss, gradients = work_lib.loss_and_gradients(model, settings, rows, {}, training=training)
        # Some have none where statistics are a batch's.
        return loss, {
            name: tf.zeros_like(model.variables[name]) if g is None else tf.convert_to_tensor(g)
            for name, g in gradients.items()
        }

    @_plain
    def step(batch: work_lib.Values, state: "tuple[()]") -> "tuple[tf.Tensor, tuple[()]]":
        # Mixed rows are none whose statistics a model should have.
        if training.noised:
            rows = tf.cond(
                lesson.is_taught, lambda: taught(batch), lambda: teaching.with_labels(batch)
            )
            loss, gradients = learned(rows, training=False)
        else:
            loss, gradients = tf.cond(
                lesson.is_taught,
                lambda: learned(taught(batch), training=False),
                lambda: learned(teaching.with_labels(batch), training=True),
            )
        kept = {
            name: value if name in lesson.new else tf.where(lesson.only_new, 0.0, value)
            for name, value in gradients.items()
        }
        decay = settings.step_decay(work[EPOCH_STEPS])
        for prefix in model.optimizers:
            model.apply(kept, prefix, learning_rate=lesson.rate, decay=decay)
        return loss, state

    own = dict(work)
    own.update(first_step=begin, steps=end - begin, epoch_steps=work[EPOCH_STEPS])
    work_lib.for_each_batch(model, settings, own, step, ())
