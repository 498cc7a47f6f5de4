"""What a client and the server compute, each traced once and where it is needed,
and the types between.
"""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from pfrec import coarsening, metrics
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import pipeline
from tff_process.algorithms import base
from tff_process.client import variables
from tff_process.client import work as work_lib
from tff_process.process import collecting, keras_in_tff

OD = collections.OrderedDict
# Of a client: `pipeline.order_seed` is made of it.
SECRET_TYPE = tff.TensorType(np.int64, [2])


@dataclasses.dataclass(frozen=True)
class ProcessSpec:
    """What a process is made of.

    Attributes:
      algorithm: what the server does.
      layout: of the client model under the algorithm's policy.
      schema: of the rows.
      make_network: makes the client's network.
      settings: how clients train.
      initial: the model's initial values by name.
      client_count: how many clients there are.
      withhold_loss: whether clients report a loss of 0.
    """

    algorithm: base.Algorithm
    layout: variables.ModelVariables
    schema: schema_lib.Schema
    make_network: Callable[[], tf.keras.Model]
    settings: work_lib.TrainingSettings
    initial: "OD[str, np.ndarray]"
    client_count: int
    withhold_loss: bool = False


@dataclasses.dataclass(frozen=True)
class Body:
    """What is traced: a function of tensors, and the types of its parameters."""

    function: Callable[..., Any]
    parameters: "tuple[Any, ...]"

    def trace(self) -> tff.Computation:
        """The function as a graph."""
        return tff.tensorflow.computation(*self.parameters)(self.function)


@dataclasses.dataclass(frozen=True)
class Computations:
    """The computations that a process is composed of, and their types:
    what every runtime shares, however it connects them.

    A computation is traced when it is first asked for, which takes seconds; from one thread at a
    time, see `keras_in_tff`.

    Attributes:
      bodies: of the computations, by name.
      state_type, shared_type, personal_type, client_type, evaluation_client_type, private_type,
        counts_type, report_type, collected_type: of the values that pass between them.
      initial_state: the server's state before the first round, of the model's initial values by
        name.
      layout: the variables.
      client_count: how many clients there are, present or not.
      averages: whether what is served is not what is trained from.
    """

    bodies: "Mapping[str, Body]"
    state_type: tff.StructType
    shared_type: tff.StructType
    personal_type: tff.StructType
    client_type: tff.StructType
    evaluation_client_type: tff.StructType
    private_type: tff.StructType
    counts_type: tff.StructType
    report_type: tff.StructType
    metrics_type: tff.TensorType
    collected_type: tff.StructType
    initial_state: Callable[[Mapping[str, Any]], Any]
    layout: variables.ModelVariables
    client_count: int
    averages: bool

    @functools.cached_property
    def train(self) -> tff.Computation:
        """`(shared, personal, client) -> (private, report)`, one client's round."""
        return self.bodies["train"].trace()

    @functools.cached_property
    def count_client(self) -> tff.Computation:
        """`shards -> row counts`, by table, see `work_lib.count_ids`."""
        return self.bodies["count_client"].trace()

    @functools.cached_property
    def evaluate_client(self) -> tff.Computation:
        """`(shared, personal, client) -> float64 [tasks, metrics]`."""
        return self.bodies["evaluate_client"].trace()

    @functools.cached_property
    def aggregate(self) -> tff.Computation:
        """`(state, collected) -> (state, report of the round)`, at the server."""
        return self.bodies["aggregate"].trace()


def _types(specs: "list[variables.VariableSpec]", *leading: int) -> "OD[str, tff.TensorType]":
    return OD((s.name, tff.TensorType(np.float32, [*leading, *s.shape])) for s in specs)


def trace(spec: ProcessSpec) -> Computations:
    """The computations of an algorithm, none of them traced yet."""
    algorithm, layout, schema = spec.algorithm, spec.layout, spec.schema
    settings, client_count = spec.settings, spec.client_count
    tasks = tuple(task.name for task in schema.tasks)
    personal_specs, common_specs = (
        layout.joined(variables.PERSONAL),
        layout.joined(variables.COMMON),
    )

    counted = [s for s in layout.specs if s.counts_rows]

    def initial_state(values: Mapping[str, Any]) -> Any:
        state = base.initial_state(
            algorithm, layout, client_count, {k: tf.constant(v) for k, v in values.items()}
        )
        return _state_struct(
            state, OD((s.name, tf.zeros([client_count, s.shape[0]])) for s in counted)
        )

    with tf.Graph().as_default():
        state_type = tff.to_type(_tensor_types(initial_state(spec.initial)))
    optimizers = algorithm.client.optimizers(layout)
    kept = OD(
        (item.name, tff.TensorType(np.float32, item.shape))
        for item in algorithm.client.kept(layout)
    )
    private_type = tff.to_type(
        OD(
            (
                *_types(layout.joined(variables.PRIVATE)).items(),
                *_optimizer_types(optimizers, layout).items(),
                *kept.items(),
            )
        )
    )
    shards_type = tff.TensorType(np.str_, [None])
    work_type = OD(
        shards=shards_type,
        **{
            name: tff.TensorType(np.int64)
            for name in ("seed", "first_step", "steps", "epoch_steps", *algorithm.client.asked)
        },
        learning_rate=tff.TensorType(
            np.float32
        ),  # a value, so that a comparison that tunes it traces its graphs once
        **dict.fromkeys(
            ("task_weights", "positive_weights"), tff.TensorType(np.float32, [len(tasks)])
        ),
    )
    serves_type = tff.TensorType(np.float32, [len(tasks)])
    client_type = tff.to_type(
        OD(
            client_id=tff.TensorType(np.int32),
            private=private_type,
            secret=SECRET_TYPE,
            work=work_type,
            serves=serves_type,
        )
    )
    evaluation_client_type = tff.to_type(
        OD(client_id=tff.TensorType(np.int32), private=private_type, shards=shards_type)
    )
    shared_type = tff.to_type(
        OD(
            common=_types(common_specs), consensus=_types(algorithm.anchors(layout))
        )  # what every client may see
    )
    personal_type = tff.to_type(
        OD(client_id=tff.TensorType(np.int32), values=_types(personal_specs))
    )
    counts_type = tff.to_type(
        OD((s.name, tff.TensorType(np.float32, [s.shape[0]])) for s in counted)
    )
    report_type = tff.to_type(
        OD(
            values=_types(layout.uploaded),
            examples=tff.TensorType(np.float32),
            serves=serves_type,
            loss=tff.TensorType(np.float32),
        )
    )

    @tf.autograph.experimental.do_not_convert
    def new_model(learning_rate: Any = 0.0) -> work_lib.ClientModel:
        with keras_in_tff.version_2():
            return work_lib.ClientModel(
                spec.make_network, schema, learning_rate, optimizers, settings.lazy_adam
            )

    def incoming(shared: Any, personal: Any) -> "OD[str, tf.Tensor]":
        return OD((*shared["common"].items(), *personal["values"].items()))

    def train(shared: Any, personal: Any, client: Any) -> Any:
        work = OD(client["work"].items())
        work["seed"] = pipeline.order_seed(client["secret"], work["seed"])
        work.update(algorithm.client.own_work(client["client_id"], client["secret"]))
        done = algorithm.client.train(
            new_model(client["work"]["learning_rate"]),
            work_lib.ClientInputs(
                layout,
                settings,
                incoming(shared, personal),
                shared["consensus"],
                client["private"],
                work,
            ),
        )
        loss = tf.zeros_like(done.loss) if spec.withhold_loss else coarsening.loss(done.loss)
        report = OD(values=done.upload, examples=done.examples, serves=client["serves"], loss=loss)
        return OD(
            private=OD(
                (name, done.private[name]) for name, _ in tff.structure.to_elements(private_type)
            ),
            report=report,
        )

    def count_client(shards: tf.Tensor) -> Any:
        return work_lib.count_ids(layout, schema, shards)

    def evaluate_client(shared: Any, personal: Any, client: Any) -> Any:
        values = work_lib.evaluate(
            new_model(), incoming(shared, personal), client["private"], client["shards"]
        )
        return coarsening.evaluated(values)

    collected_type = collecting.collected_type(report_type, client_count)

    def aggregate(state: Any, collected: Any) -> Any:
        report = collected["value"]
        trained_from = training_values(state)
        before = {**trained_from["common"], **trained_from["personal"]}
        present = collected["present"]
        seen = OD(
            (name, rows_met(counts, report["values"][name], before[name], present))
            for name, counts in state["row_counts"].items()
        )
        reports = base.ClientReports(
            report["values"], seen, report["examples"], report["serves"], present
        )
        new_state, diagnostics = algorithm.aggregate(
            layout,
            tasks,
            base.ServerState(
                **{f.name: state[f.name] for f in dataclasses.fields(base.ServerState)}
            ),
            reports,
        )
        all_diagnostics = OD(
            (*diagnostics.items(), *base.consensus_distances(layout, new_state).items())
        )
        round_report = OD(
            examples=reports.examples,
            loss=report["loss"],
            present=reports.present,
            diagnostics=all_diagnostics,
        )
        return _state_struct(new_state, state["row_counts"]), round_report

    return Computations(
        bodies={
            "train": Body(train, (shared_type, personal_type, client_type)),
            "count_client": Body(count_client, (shards_type,)),
            "evaluate_client": Body(
                evaluate_client, (shared_type, personal_type, evaluation_client_type)
            ),
            "aggregate": Body(aggregate, (state_type, collected_type)),
        },
        state_type=state_type,
        shared_type=shared_type,
        personal_type=personal_type,
        client_type=client_type,
        evaluation_client_type=evaluation_client_type,
        private_type=private_type,
        counts_type=counts_type,
        report_type=report_type,
        metrics_type=tff.TensorType(np.float64, [len(tasks), len(metrics.METRICS)]),
        collected_type=collected_type,
        initial_state=initial_state,
        layout=layout,
        client_count=client_count,
        averages=algorithm.keeps_trained,
    )


def training_values(state: Any) -> "Mapping[str, Any]":
    """`common`, `personal` and `consensus` that clients train from."""
    return base.training_parts(state)


def served_values(state: Any) -> "Mapping[str, Any]":
    """`common`, `personal` and `consensus` that are evaluated and exported: averages, where the
    algorithm keeps them (`averaging`).
    """
    return {part: state[part] for part in base.TRAINED_PARTS}


def shared_values(state: Any, shared_type: tff.StructType) -> Any:
    """What every client may see of one of these: the common values,
    and the part of the consensus that `shared_type` names.
    """
    anchors = tff.structure.name_list(shared_type["consensus"])
    return OD(
        common=state["common"], consensus=OD((name, state["consensus"][name]) for name in anchors)
    )


def rows_met(
    counts: tf.Tensor, trained: tf.Tensor, before: tf.Tensor, present: tf.Tensor
) -> tf.Tensor:
    """How much each client's training of each row of a shared table counts,
    of what the server knows anyhow.

    A row that training left as it was, the client has not met. One that moved counts as the client
    said at the run's start, and at least 1: ids below `coarsening.FLOOR` are said to be met 0
    times, as all are where counts are withheld.

    Args:
      counts: [clients, ids], `coarsening.id_counts`.
      trained: [clients, ids, d], the clients' values.
      before: [clients, ids, d] or [ids, d], what they started from.
      present: bool [clients]; rows of absent ones count 0.

    Returns:
      [clients, ids].
    """
    moved = tf.reduce_any(tf.not_equal(trained, before), axis=-1) & present[:, tf.newaxis]
    return tf.where(moved, tf.maximum(counts, 1.0), tf.zeros_like(counts))


def _state_struct(state: base.ServerState, row_counts: Mapping[str, tf.Tensor]) -> "OD[str, Any]":
    return OD(
        (
            *((f.name, getattr(state, f.name)) for f in dataclasses.fields(base.ServerState)),
            ("row_counts", row_counts),
        )
    )


def _tensor_types(value: Any) -> Any:
    if isinstance(value, Mapping):
        return OD((name, _tensor_types(inner)) for name, inner in value.items())
    return tff.TensorType(value.dtype.as_numpy_dtype, value.shape.as_list())


def _optimizer_types(
    optimizers: "Mapping[str, Sequence[str]]", layout: variables.ModelVariables
) -> "OD[str, Any]":
    """The types of the optimizers' slots: optimizers of stand-ins have the same,
    and a third network need not be built.
    """
    shapes = {spec.name: spec.shape for spec in layout.specs}
    types: OD[str, Any] = OD()
    with tf.Graph().as_default():
        for prefix, names in optimizers.items():
            stand_ins = [tf.Variable(tf.zeros(shapes[name])) for name in names]
            slots = work_lib.optimizer_slots(work_lib.make_optimizer(stand_ins, 0.0), prefix)
            types.update(
                (name, tff.TensorType(np.float32, list(slot.shape))) for name, slot in slots.items()
            )
    return types
