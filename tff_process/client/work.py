"""What a client does in a round: pure TensorFlow, without TFF.

All functions map tensors to tensors. The variables they use live in a `ClientModel` that the caller
makes in the graph (or eagerly) where they run; every variable is loaded before it is used, so
nothing stays in it from call to call.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

import tensorflow as tf

from pfrec import coarsening, errors, groups
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import pipeline, windows
from pfrec.models import adam, networks, precision, ranker
from pfrec.models.mmoe import first_layer
from tff_process.client import variables

CONSENSUS, RECEIVED, OPTIMIZER = variables.CONSENSUS, variables.RECEIVED, variables.OPTIMIZER

Values = Mapping[str, tf.Tensor]

_WEIGHTS = (ranker.TASK_WEIGHTS, ranker.POSITIVE_WEIGHTS)

# Autograph rewrites what it meets, Keras included, which takes longer than tracing it. Only the
# loops over batches need it.
_plain = tf.autograph.experimental.do_not_convert


@dataclasses.dataclass(frozen=True)
class TrainingSettings:
    """How a client trains.

    Attributes:
      batch_size: rows of a batch.
      proximal: weight lambda of the pull `lambda / 2 * sum of ||w - anchor||^2`; 0 turns it off.
      anchor: `CONSENSUS` pulls the experts' scenario components to G, `RECEIVED` all shared
        variables to their incoming values.
      lazy_adam: see `adam.Adam`.
      precision: of the large products of a step, see `models.precision`.
      weight_decay: see `step_decay`.
    """

    batch_size: int = 256
    proximal: float = 0.0
    anchor: str = CONSENSUS
    lazy_adam: bool = False
    precision: str = "float32"
    weight_decay: float = 0.0

    @_plain
    def step_decay(self, epoch_steps: tf.Tensor) -> Optional[tf.Tensor]:
        """`decay` of `adam.Adam` for a client with so many batches in an epoch; None without.

        What decay does goes by how long a weight lasts, in epochs (Wang and Aitchison, "How to set
        AdamW's weight decay as you scale model and dataset size", 2024): so it is said for an
        epoch, and is the same for clients with few rows and with many, in small batches and large.
        """
        if not self.weight_decay:
            return None
        return self.weight_decay / tf.cast(epoch_steps, tf.float32)


def decaying(tagged: "Sequence[groups.TaggedVariable]") -> "frozenset[str]":
    """The names of a model's variables that weight decay is for: tables and kernels. Not biases,
    nor the factors of a kernel that start at one (`pooled.star`), and nothing in a block with batch
    normalisation: what comes out of it is the same whatever the size of its kernels, and smaller
    ones would turn further with each step.
    """
    trained = [item for item in tagged if item.variable.trainable]
    normalised = {item.path[:-1] for item in trained if item.kind == groups.BATCH_NORM}
    return frozenset(
        item.name
        for item in trained
        if item.is_kernel
        and not any(item.path[:end] in normalised for end in range(1, len(item.path)))
    )


def optimizer_slots(
    optimizer: adam.Adam, prefix: str = OPTIMIZER
) -> "collections.OrderedDict[str, tf.Variable]":
    """An optimizer's variables by the name that they have in a private state."""
    return collections.OrderedDict(
        (f"{prefix}/{i:04d}", slot) for i, slot in enumerate(optimizer.slots)
    )


class ClientModel:
    """A client's model and optimizers, with their variables by name.

    Args:
      make_network: makes the network with its variables.
      schema: of the rows.
      learning_rate: of Adam, a number or a float32 scalar.
      optimizers: the names of the variables that each optimizer trains, by the prefix of its slots
        in a private state; None for one optimizer of all.
      lazy_adam, decay: see `adam.Adam`.
    """

    def __init__(
        self,
        make_network: Callable[[], tf.keras.Model],
        schema: schema_lib.Schema,
        learning_rate: Any,
        optimizers: "Optional[Mapping[str, Sequence[str]]]" = None,
        lazy_adam: bool = False,
        decay: Optional[Any] = None,
    ) -> None:
        self.schema = schema
        self.network = make_network()
        self.ranker = networks.make_ranker(self.network, schema)
        self.tagged = groups.tag(self.network)
        self.variables = collections.OrderedDict((item.name, item.variable) for item in self.tagged)
        self.trained = [item.name for item in self.tagged if item.variable.trainable]
        self._trains = {OPTIMIZER: self.trained} if optimizers is None else optimizers
        decays = decaying(self.tagged)
        self.optimizers = {
            prefix: adam.Adam(
                [self.variables[name] for name in names],
                learning_rate,
                lazy=lazy_adam,
                decay=decay,
                decays={i for i, name in enumerate(names) if name in decays},
            )
            for prefix, names in self._trains.items()
        }
        self.slots = collections.OrderedDict(
            item
            for prefix, optimizer in self.optimizers.items()
            for item in optimizer_slots(optimizer, prefix).items()
        )

    @_plain
    def load(self, values: Values) -> None:
        """Assigns variables and optimizer slots by name.

        Raises:
          PfrecError: where there is none of a name, as of what a strategy keeps besides.
        """
        for name, value in values.items():
            if name not in self.variables and name not in self.slots:
                raise errors.PfrecError(
                    f"{name!r} is no variable of the model and no slot of its optimizers; load "
                    "strategy.of_variables(...) and strategy.of_optimizers(...) of what is kept"
                )
            (self.variables[name] if name in self.variables else self.slots[name]).assign(value)

    @_plain
    def read(self, names: "Sequence[str]") -> "collections.OrderedDict[str, tf.Tensor]":
        """The present values of some variables."""
        return collections.OrderedDict((name, self.variables[name].read_value()) for name in names)

    @_plain
    def apply(
        self,
        gradients: Values,
        prefix: str = OPTIMIZER,
        learning_rate: Any = None,
        decay: Any = None,
    ) -> None:
        """One step of an optimizer, by its own learning rate and decay or others; a variable
        without a gradient gets zero.
        """
        own = [(self.variables[name], gradients.get(name)) for name in self._trains[prefix]]
        self.optimizers[prefix].apply(
            [tf.zeros_like(variable) if g is None else g for variable, g in own],
            learning_rate,
            decay,
        )

    @_plain
    def private_state(
        self, layout: variables.ModelVariables
    ) -> "collections.OrderedDict[str, tf.Tensor]":
        """What stays with the client: its private variables and all optimizer slots."""
        state = self.read([s.name for s in layout.joined(variables.PRIVATE)])
        state.update((name, slot.read_value()) for name, slot in self.slots.items())
        return state

    @_plain
    def upload(self, layout: variables.ModelVariables) -> "collections.OrderedDict[str, tf.Tensor]":
        """What leaves the client: the variables of shared groups, by name."""
        return self.read([s.name for s in layout.uploaded])


@dataclasses.dataclass(frozen=True)
class ClientInputs:
    """What a client has, and what it was sent, at the beginning of a round.

    Attributes:
      layout: what of the model's variables leaves.
      settings: how to train.
      incoming: the client's values of the shared variables, by name.
      consensus: what of G, the server's consensus, the client's values are pulled towards, by name:
        of the variables of `Algorithm.anchors`.
      private: the client's private state, by name.
      work: `shards` string [shards], `seed`, `first_step`, `steps`, `epoch_steps` int64 scalars
        (see `pipeline.epoch_batches`); `serves` float32 [tasks], 1 where the client has labels of
        a task; `task_weights` and `positive_weights` float32 [tasks] where
        there are any (see `ranker.MultiTaskRanker`). The seed is the client's own,
        `pipeline.order_seed`.
    """

    layout: variables.ModelVariables
    settings: TrainingSettings
    incoming: Values
    consensus: Values
    private: Values
    work: Values

    def anchors(self, settings: Optional[TrainingSettings] = None) -> Values:
        """What each pulled variable is pulled towards, by name; with other settings than the
        round's, by those.
        """
        settings = settings or self.settings
        if not settings.proximal:
            return {}
        if settings.anchor == CONSENSUS:
            return {
                spec.name: self.consensus[spec.name]
                for spec in self.layout.specs
                if spec.name in self.consensus
            }
        return {
            spec.name: self.incoming[spec.name] for spec in self.layout.uploaded if spec.trainable
        }


@dataclasses.dataclass(frozen=True)
class ClientRound:
    """What a round of training returns.

    Attributes:
      private: the client's next private state.
      upload: values of the shared variables after training.
      examples: float32 scalar, training rows of this round; of an epoch of less than a batch
        `coarsening.row_count`.
      loss: float32 scalar, mean training loss over the steps of this round.
    """

    private: Any
    upload: Any
    examples: Any
    loss: Any


def train(model: ClientModel, inputs: ClientInputs) -> ClientRound:
    """One round of local training.

    Args:
      model: the variables to work in.
      inputs: what the client has and was sent.
    """
    layout, anchors = inputs.layout, inputs.anchors()

    def loop() -> Any:
        model.load(inputs.incoming)
        model.load(inputs.private)
        done = train_steps(model, inputs.settings, inputs.work, anchors)
        return model.private_state(layout), model.upload(layout), done.examples, done.loss

    return in_graph(loop)


def in_graph(loop: Callable[[], Any]) -> ClientRound:
    """A round whose loops over batches are loops of a graph.

    Args:
      loop: trains, and returns the fields of a `ClientRound`.
    """
    return ClientRound(*tf.function(loop)())


@dataclasses.dataclass(frozen=True)
class PassResult:
    """What a pass over a round's batches came to.

    Attributes:
      examples, loss: see `ClientRound`.
      state: what the steps handed on.
    """

    examples: Any
    loss: Any
    state: Any


def train_steps(
    model: ClientModel,
    settings: TrainingSettings,
    work: Values,
    anchors: Values,
    prefix: str = OPTIMIZER,
) -> PassResult:
    """Trains the model from where it stands, one step of the optimizer `prefix` a batch;
    for use inside a `tf.function`.
    """

    @_plain
    def step(batch: Any, state: Any) -> Any:
        loss, gradients = loss_and_gradients(model, settings, batch, anchors)
        model.apply(gradients, prefix)
        return loss, state

    return for_each_batch(model, settings, work, step, ())


def for_each_batch(
    model: ClientModel,
    settings: TrainingSettings,
    work: Values,
    step: Callable[[Any, Any], Any],
    state: Any,
) -> PassResult:
    """Goes over a round's batches with `step(batch, state) -> (loss, state)`;
    for use inside a `tf.function`.

    Args:
      model, settings, work: see `train` and `ClientInputs`; where `work` holds `scenarios`, int32
        [shards], batches hold `scenario`, see `pipeline.epoch_batches`.
      step: called with each batch.
      state: what the first step is given, a tuple of tensors.
    """

    @_plain
    def counted(size: tf.Tensor) -> tf.Tensor:
        # Whole batches are what the server asked for; an epoch that is a single smaller one would
        # tell its exact number of rows.
        return tf.where(size < settings.batch_size, coarsening.row_counts(size), size)

    examples, loss_sum, steps = tf.constant(0.0), tf.constant(0.0), tf.constant(0.0)
    seed, first, last = work["seed"], work["first_step"], work["first_step"] + work["steps"]
    epoch_steps = work["epoch_steps"]
    # Epochs, windows and batches are loops of the graph: what a dataset would have to set up in
    # every call takes longer than a short round.
    for epoch in tf.range(first // epoch_steps, (last - 1) // epoch_steps + 1):
        start = epoch * epoch_steps
        begin, end = tf.maximum(first - start, 0), tf.minimum(last - start, epoch_steps)
        passed, rest = tf.zeros([], tf.int64), windows.no_rows(model.schema, "scenarios" in work)
        blocks_of = windows.read(work["shards"], seed, epoch, work.get("scenarios"))
        for number, blocks in iter(blocks_of):
            window = windows.Window.of(rest, blocks, model.schema, seed, epoch, number)
            size, whole = window.batches(settings.batch_size, number, passed)
            for place in tf.range(tf.maximum(begin - passed, 0), tf.minimum(end - passed, whole)):
                batch = window.batch(place, size)
                batch.update({name: work[name] for name in _WEIGHTS if name in work})
                batch["dropout_seed"] = pipeline.dropout_seed(seed, start + passed + place)
                loss, state = step(batch, state)
                examples += tf.cast(counted(size), tf.float32)
                loss_sum += loss
                steps += 1.0
            passed += whole
            if passed >= end:
                break
            rest = window.after(whole, size)
    return PassResult(examples, loss_sum / tf.maximum(steps, 1.0), state)


@_plain
def loss_and_gradients(
    model: ClientModel,
    settings: TrainingSettings,
    batch: Any,
    anchors: Values,
    training: bool = True,
) -> "tuple[tf.Tensor, dict[str, tf.Tensor]]":
    """The loss of a batch, and the gradients of the loss with its proximal term by the names of the
    trained variables; with `training` by the batch's own statistics and with dropout.
    """
    with precision.products(settings.precision):
        with tf.GradientTape() as tape:
            with first_layer.expected_rows(settings.batch_size):
                loss = model.ranker.compute_loss(batch, training=training)
            objective = loss
            for name, anchor in anchors.items():
                distance = model.variables[name] - anchor
                objective += 0.5 * settings.proximal * tf.reduce_sum(tf.square(distance))
        gradients = tape.gradient(objective, [model.variables[name] for name in model.trained])
    return loss, dict(zip(model.trained, gradients))
