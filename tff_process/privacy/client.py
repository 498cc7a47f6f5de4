"""A client whose uploads are differentially private, and whose own model has no noise.

The released model is trained by DP-SGD: Poisson sampled rows, gradients clipped row by row over all
variables that what is sent depends on, Gaussian noise, a fixed divisor, then Adam, which sees
noised sums alone. Private tables are absent from it, and so are columns that were normalised by the
client's own statistics, which every row has a part in. Its private part, as towers that an
algorithm keeps at home, is clipped and noised like the rest and stands under `released/` in the
private state.

The home model stands under the variables' own names: what is evaluated, saved and exported. It is
the average over the last aggregations (`averaging`) of what was received and of the released
model's private part, and at the end, where the driver asks for it once, what `home` makes of that;
the values that training began with are kept for it under `first/`. That is a computation of its own
(`train_at_home`), since its graph is larger than that of a private step. It begins with moments of
zero in the slots of an optimizer like the released model's, whose own moments it leaves alone.
Nothing of it is read by the released model, so that it costs no privacy.

References:
  Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, algorithm 1.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from pfrec import client_directory
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import pipeline, windows
from pfrec.models.mmoe import first_layer
from tff_process.algorithms import averaging
from tff_process.client import strategy, variables
from tff_process.client import work as work_lib
from tff_process.finishing import home
from tff_process.privacy import draws, normalisation, sampled_gaussian
from tff_process.privacy import mechanism as mechanism_lib

RELEASED, RELEASED_OPTIMIZER = client_directory.RELEASED, client_directory.RELEASED_OPTIMIZER
FIRST = "first/"
_ALL_BLOCKS = 1 << 40
# Sums of a batch are rounded, and the first layer multiplies some with its kernels (`folds`): under
# kernels of 1e12 that cancel in each row, what was rounded off is some 1e6 times the clip.
LARGEST_RECEIVED = 1024.0

_plain = tf.autograph.experimental.do_not_convert


class PrivateTraining(strategy.Strategy):
    """Plain training, made private.

    Args:
      mechanism: of the run.
      schema: of the rows.
      share: of the aggregations that the home model is an average over, `averaging`.
      context: a text that is another one wherever a step would be computed otherwise: of the plan.
      home_rate: step size of the home model.
    """

    asked = (home.STEPS,)
    reads_valid = True

    def __init__(
        self,
        mechanism: mechanism_lib.Mechanism,
        schema: schema_lib.Schema,
        share: float,
        context: str,
        home_rate: float,
    ) -> None:
        self._mechanism, self._schema = mechanism, schema
        self._share, self._context, self._home_rate = share, context, home_rate

    def released(self, layout: variables.ModelVariables) -> "list[str]":
        """The trained variables of the released model."""
        return [spec.name for spec in layout.specs if spec.trainable and not _at_home(spec)]

    def absent(self, layout: variables.ModelVariables) -> "frozenset[str]":
        """The features that the released model does not read."""
        tables = {spec.member for spec in layout.specs if _at_home(spec)}
        own = {column.name for column in self._schema.numerical if column.normalise != "none"}
        return frozenset(tables | own)

    def optimizers(self, layout: variables.ModelVariables) -> Mapping[str, Sequence[str]]:
        released = self.released(layout)
        own = [s.name for s in layout.specs if s.trainable and s.name not in released]
        return {RELEASED_OPTIMIZER: released, **({variables.OPTIMIZER: own} if own else {})}

    def kept(self, layout: variables.ModelVariables) -> Sequence[strategy.Kept]:
        return [
            *strategy.personal_copies(layout),
            *strategy.second_copies(self._released_private(layout), RELEASED),
            *strategy.second_copies(self._first(layout), FIRST),
            strategy.Kept(averaging.COUNT, ()),
        ]

    def own_work(self, client_id: tf.Tensor, secret: tf.Tensor) -> work_lib.Values:
        # A silo traces its own computation, in which it is the only client, whatever its number.
        budgets = self._mechanism.budgets
        number = client_id if len(budgets) > 1 else tf.zeros([], tf.int32)

        def of(values: "Sequence[float]", kind: Any) -> tf.Tensor:
            return tf.gather(tf.constant(values, kind), number)

        return {
            "secret": secret,
            "rate": of([budget.rate for budget in budgets], tf.float64),
            "deviation": of([b.noise * self._mechanism.clip for b in budgets], tf.float32),
            "batch": of([float(budget.batch) for budget in budgets], tf.float32),
            # Weights decay by it. Not as asked: keys do not follow from it, and two answers of one
            # noise with weights decayed by two amounts would tell of rows.
            "epoch_steps": of([budget.epoch_steps for budget in budgets], tf.int64),
            home.EPOCH_STEPS: of([budget.home_epoch_steps for budget in budgets], tf.int64),
        }

    def train(
        self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs
    ) -> work_lib.ClientRound:
        layout, private = inputs.layout, inputs.private
        kept = [spec.name for spec in self._released_private(layout)]
        number = private[averaging.COUNT] + 1.0
        received = dataclasses.replace(inputs, incoming=limited(inputs.incoming))

        def loop() -> Any:
            model.load(strategy.of_optimizers(private))
            model.load(received.incoming)
            model.load(strategy.under(private, RELEASED))
            model.load(agreed_scales(layout))
            self._release(model, received)
            upload, released = model.upload(layout), model.read(kept)
            moments = {name: slot.read_value() for name, slot in model.slots.items()}
            model.load(strategy.of_variables(model, private))
            portion = averaging.part(number, self._share)
            model.load(averaging.towards(private, {**inputs.incoming, **released}, portion))
            state = {
                **model.private_state(layout),
                **moments,
                **model.upload(layout),
                **strategy.prefixed(released, RELEASED),
                **strategy.under(private, FIRST, keep=True),
                averaging.COUNT: number,
            }
            return state, upload

        state, upload = tf.function(loop)()
        # What the server asked for, not what was drawn; and no loss.
        examples = tf.cast(inputs.work["steps"], tf.float32) * inputs.work["batch"]
        return work_lib.ClientRound(state, upload, examples, tf.constant(0.0))

    def train_at_home(
        self,
        model: work_lib.ClientModel,
        settings: work_lib.TrainingSettings,
        private: work_lib.Values,
        work: work_lib.Values,
    ) -> work_lib.Values:
        """See `Strategy.train_at_home`: the home model under the variables' own names. The
        optimizers' moments, which the released model goes on from, stay those of `private`.
        """
        training = home.Training(
            model,
            dataclasses.replace(settings, batch_size=self._mechanism.budgets[0].home_batch),
            work,
            strategy.under(private, FIRST),
            self._share,
            self._home_rate,
            noised=True,
        )

        def loop() -> Any:
            model.load(strategy.of_variables(model, private))
            home.finish(training)
            return model.read(list(model.variables))

        return dict(tf.function(loop)())

    def _first(self, layout: variables.ModelVariables) -> "list[variables.VariableSpec]":
        released = set(self.released(layout))
        return [spec for spec in layout.specs if spec.name in released]

    def _released_private(self, layout: variables.ModelVariables) -> "list[variables.VariableSpec]":
        released = set(self.released(layout))
        return [spec for spec in layout.joined(variables.PRIVATE) if spec.name in released]

    def _release(self, model: work_lib.ClientModel, inputs: work_lib.ClientInputs) -> None:
        """The private steps of the released model, from where it stands; for use inside a
        `tf.function`.
        """
        work, anchors = inputs.work, inputs.anchors()
        records = tf.data.TFRecordDataset(work["shards"]).batch(_ALL_BLOCKS)
        blocks = windows.lean(records).get_single_element()
        rows = pipeline.decode_blocks(blocks, model.schema)
        own = {
            name: value
            for name, value in sorted(inputs.private.items())
            if name.startswith((RELEASED, RELEASED_OPTIMIZER))
        }
        numbers = ("rate", "deviation", "batch", "seed", "first_step", "steps", "learning_rate")
        told = [tf.constant(self._context), tf.strings.reduce_join(blocks)]
        told += [work[name] for name in numbers]
        told += [
            value for part in (inputs.incoming, inputs.consensus, own) for value in part.values()
        ]
        key = draws.key(work["secret"], told)
        names = self.released(inputs.layout)
        answering = sampled_gaussian.SampledGaussian(
            work["rate"],
            work["deviation"],
            self._mechanism.clip,
            self.absent(inputs.layout),
            self._mechanism.unit,
            self._mechanism.sparse_rows,
            work["batch"],
        )

        @_plain
        def step(number: tf.Tensor) -> None:
            # Of the plan: the first client's batch may be smaller, and in a silo is its own.
            with first_layer.expected_rows(inputs.settings.batch_size):
                gradients = answering.sums(model, names, rows, draws.folded(key, number))
            # The pull depends on what was noised already.
            for name, anchor in anchors.items():
                gradients[name] += inputs.settings.proximal * (model.variables[name] - anchor)
            model.apply(gradients, RELEASED_OPTIMIZER)

        for number in tf.range(work["steps"]):
            step(number)


def limited(incoming: work_lib.Values) -> work_lib.Values:
    """What was received as the released model takes it: no number is beyond `LARGEST_RECEIVED`."""
    return {
        name: tf.clip_by_value(value, -LARGEST_RECEIVED, LARGEST_RECEIVED)
        for name, value in incoming.items()
    }


def agreed_scales(layout: variables.ModelVariables) -> "dict[str, tf.Tensor]":
    """The statistics by which numbers are normalised, 0 and 1: nobody's rows decide them."""
    return {
        spec.name: tf.fill(spec.shape, float(normalisation.constant_of(spec.name) or 0))
        for spec in layout.specs
        if not spec.trainable
    }


def _at_home(spec: variables.VariableSpec) -> bool:
    """Whether a variable is no part of the released model: a private table."""
    return spec.kind == "embedding" and spec.join == variables.PRIVATE
