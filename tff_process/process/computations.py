"""The federated process: client work and aggregation composed by TFF, and nothing else.

What is placed where: the server's state at SERVER; a client's private state at CLIENTS, in one
round and out of it into that client's next; the only way from CLIENTS to SERVER is `_collector`,
which takes the fields of `report_type`, of `counts_type` once a run, and metrics, and no other. A
test walks the built computations and checks that. A client's `secret` decides the order of its rows
and goes nowhere.
"""

import collections
import dataclasses
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
from tff_process.process import keras_in_tff

OD = collections.OrderedDict
# Of a client: `pipeline.order_seed` is made of it.
SECRET_TYPE = tff.TensorType(np.int64, [2])


@dataclasses.dataclass(frozen=True)
class FederatedProcess:
    """An algorithm as TFF computations.

    Attributes:
      iterative: a `tff.templates.IterativeProcess`; its `next(state, clients)` takes the server's
        state and, for each client present, its `client_id`, `private` state, `secret`, `work` (see
        `work_lib.train`) and `serves`; it returns the state, the clients' private states in the
        same order, and what the server learned of the round.
      count: `(state, clients) -> state`, which asks each client, of which it takes `client_id` and
        `shards`, once a run how often it holds the ids of shared tables.
      evaluate: `(state, clients) -> float64 [clients, tasks, metrics]`, of the personalised models;
        for each client its `client_id`, `private` state and `shards`.
      layout: the variables.
      client_count: how many clients there are, present or not.
    """

    iterative: tff.templates.IterativeProcess
    count: tff.Computation
    evaluate: tff.Computation
    layout: variables.ModelVariables
    client_count: int


@dataclasses.dataclass(frozen=True)
class Computations:
    """The computations that a process is composed of, and their types:
    what every runtime shares, however it connects them.

    Attributes:
      train: `(shared, personal, client) -> (private, report)`, one client's round.
      count_client: `shards -> row counts`, by table, see `work_lib.count_ids`.
      evaluate_client: `(shared, personal, client) -> float64 [tasks, metrics]`.
      aggregate: `(state, collected) -> (state, report of the round)`, at the server.
      aggregate_values: the same as a function of tensors, for a runtime whose server needs no
        worker.
      state_type, shared_type, personal_type, client_type, evaluation_client_type, private_type,
        counts_type, report_type, collected_type: of the values that pass between them.
      initial_state: the server's state before the first round, of the model's initial values by
        name.
      layout: the variables.
      client_count: how many clients there are, present or not.
    """

    train: tff.Computation
    count_client: tff.Computation
    evaluate_client: tff.Computation
    aggregate: tff.Computation
    aggregate_values: Callable[[Any, Any], Any]
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


def _types(specs: "list[variables.VariableSpec]", *leading: int) -> "OD[str, tff.TensorType]":
    return OD((s.name, tff.TensorType(np.float32, [*leading, *s.shape])) for s in specs)


def trace(
    algorithm: base.Algorithm,
    layout: variables.ModelVariables,
    schema: schema_lib.Schema,
    make_network: Callable[[], tf.keras.Model],
    settings: work_lib.TrainingSettings,
    initial: "OD[str, np.ndarray]",
    client_count: int,
    withhold_loss: bool = False,
) -> Computations:
    """Traces the computations of an algorithm, each once.

    Args:
      algorithm: what the server does.
      layout: of the client model under the algorithm's policy.
      schema: of the rows.
      make_network: makes the client's network.
      settings: how clients train.
      initial: the model's initial values by name.
      client_count: how many clients there are.
      withhold_loss: whether clients report a loss of 0.
    """
    tasks = tuple(task.name for task in schema.tasks)
    personal_specs, common_specs = (
        layout.joined(variables.PERSONAL),
        layout.joined(variables.COMMON),
    )

    counted = [spec for spec in layout.specs if spec.counts_rows]

    def initial_state(values: Mapping[str, Any]) -> Any:
        state = base.initial_state(
            algorithm, layout, client_count, {k: tf.constant(v) for k, v in values.items()}
        )
        return _state_struct(
            state, OD((spec.name, tf.zeros([client_count, spec.shape[0]])) for spec in counted)
        )

    with tf.Graph().as_default():
        state_type = tff.to_type(_tensor_types(initial_state(initial)))
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
            for name in ("seed", "first_step", "steps", "epoch_steps")
        },
        learning_rate=tff.TensorType(
            np.float32
        ),  # a value, so that a comparison that tunes it traces its graphs once
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
            common=_types(common_specs), template=_types(algorithm.anchors(layout))
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
                make_network, schema, learning_rate, optimizers, settings.lazy_adam
            )

    def incoming(shared: Any, personal: Any) -> "OD[str, tf.Tensor]":
        return OD((*shared["common"].items(), *personal["values"].items()))

    @tff.tensorflow.computation(shared_type, personal_type, client_type)
    def train(shared: Any, personal: Any, client: Any) -> Any:
        work = OD(client["work"].items())
        work["seed"] = pipeline.order_seed(client["secret"], work["seed"])
        done = algorithm.client.train(
            new_model(client["work"]["learning_rate"]),
            layout,
            settings,
            incoming(shared, personal),
            shared["template"],
            client["private"],
            work,
        )
        loss = tf.zeros_like(done.loss) if withhold_loss else coarsening.loss(done.loss)
        report = OD(values=done.upload, examples=done.examples, serves=client["serves"], loss=loss)
        return OD(
            private=OD(
                (name, done.private[name]) for name, _ in tff.structure.to_elements(private_type)
            ),
            report=report,
        )

    @tff.tensorflow.computation(shards_type)
    def count_client(shards: tf.Tensor) -> Any:
        return work_lib.count_ids(layout, schema, shards)

    @tff.tensorflow.computation(shared_type, personal_type, evaluation_client_type)
    def evaluate_client(shared: Any, personal: Any, client: Any) -> Any:
        values = work_lib.evaluate(
            new_model(), incoming(shared, personal), client["private"], client["shards"]
        )
        return coarsening.evaluated(values)

    collected_type = _collected_type(report_type, client_count)

    def aggregate_values(state: Any, collected: Any) -> Any:
        report = collected["value"]
        before = {**state["common"], **state["personal"]}
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
            (*diagnostics.items(), *base.template_distances(layout, new_state).items())
        )
        round_report = OD(
            examples=reports.examples,
            loss=report["loss"],
            present=reports.present,
            diagnostics=all_diagnostics,
        )
        return _state_struct(new_state, state["row_counts"]), round_report

    @tff.tensorflow.computation(state_type, collected_type)
    def aggregate(state: Any, collected: Any) -> Any:
        return aggregate_values(state, collected)

    return Computations(
        train=train,
        count_client=count_client,
        evaluate_client=evaluate_client,
        aggregate=aggregate,
        aggregate_values=aggregate_values,
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
    )


def build(
    algorithm: base.Algorithm,
    layout: variables.ModelVariables,
    schema: schema_lib.Schema,
    make_network: Callable[[], tf.keras.Model],
    settings: work_lib.TrainingSettings,
    initial: "OD[str, np.ndarray]",
    client_count: int,
    withhold_loss: bool = False,
) -> FederatedProcess:
    """Composes the process of the computations of `trace`, which has the same arguments."""
    made = trace(
        algorithm, layout, schema, make_network, settings, initial, client_count, withhold_loss
    )
    train, evaluate_client, aggregate = made.train, made.evaluate_client, made.aggregate
    state_type, client_type, evaluation_client_type = (
        made.state_type,
        made.client_type,
        made.evaluation_client_type,
    )
    metrics_type, personal_type = made.metrics_type, made.personal_type
    collect_reports = _collector(made.report_type, client_count)
    collect_counts = _collector(made.counts_type, client_count)
    collect_metrics = _collector(tff.to_type(OD(metrics=metrics_type)), client_count)

    @tff.tensorflow.computation
    def initialize() -> Any:
        return made.initial_state(initial)

    @tff.tensorflow.computation(state_type)
    def shared_part(state: Any) -> Any:
        return shared_values(state, made.shared_type)

    @tff.tensorflow.computation(state_type)
    def personal_part(state: Any) -> Any:
        return state["personal"]

    @tff.tensorflow.computation(state_type["personal"], np.int32)
    def personal_of(personal: Any, client_id: tf.Tensor) -> Any:
        return OD(
            client_id=client_id,
            values=OD((name, value[client_id]) for name, value in personal.items()),
        )

    @tff.tensorflow.computation(client_type)
    def key(client: Any) -> tf.Tensor:
        return client["client_id"][tf.newaxis]

    @tff.tensorflow.computation(evaluation_client_type)
    def evaluation_key(client: Any) -> tf.Tensor:
        return client["client_id"][tf.newaxis]

    @tff.tensorflow.computation(tff.SequenceType(personal_type))
    def only(selected: tf.data.Dataset) -> Any:
        return selected.get_single_element()

    def receive(state: Any, keys: Any) -> "tuple[Any, Any]":
        """What each client is given: what all share,
        and by `federated_select` its own personal values and nobody else's.
        """
        shared = tff.federated_broadcast(tff.federated_map(shared_part, state))
        chosen = tff.federated_select(
            keys,
            tff.federated_value(client_count, tff.SERVER),
            tff.federated_map(personal_part, state),
            personal_of,
        )
        return shared, tff.federated_map(only, chosen)

    @tff.tensorflow.computation(metrics_type)
    def named(values: tf.Tensor) -> Any:
        return OD(metrics=values)

    @tff.tensorflow.computation(train.type_signature.result)
    def report_of(result: Any) -> Any:
        return result["report"]

    @tff.tensorflow.computation(train.type_signature.result)
    def private_of(result: Any) -> Any:
        return result["private"]

    @tff.tensorflow.computation(collect_metrics.result_type)
    def metrics_of(collected: Any) -> Any:
        absent = tf.fill([1, 1, 1], tf.constant(np.nan, tf.float64))
        return tf.where(
            collected["present"][:, tf.newaxis, tf.newaxis], collected["value"]["metrics"], absent
        )

    counting_client_type = tff.to_type(
        OD(client_id=tff.TensorType(np.int32), shards=evaluation_client_type["shards"])
    )

    @tff.tensorflow.computation(counting_client_type)
    def shards_of(client: Any) -> tf.Tensor:
        return client["shards"]

    @tff.tensorflow.computation(state_type, collect_counts.result_type)
    def with_counts(state: Any, collected: Any) -> Any:
        return OD(
            (name, collected["value"] if name == "row_counts" else value)
            for name, value in state.items()
        )

    @tff.federated_computation
    def initialize_at_server() -> Any:
        return tff.federated_eval(initialize, tff.SERVER)

    server_state_type = tff.FederatedType(state_type, tff.SERVER)

    @tff.federated_computation(server_state_type, tff.FederatedType(client_type, tff.CLIENTS))
    def next_round(state: Any, clients: Any) -> Any:
        keys = tff.federated_map(key, clients)
        shared, personal = receive(state, keys)
        result = tff.federated_map(train, (shared, personal, clients))
        collected = collect_reports(
            tff.federated_map(_client_id(client_type), clients),
            tff.federated_map(report_of, result),
        )
        new_state, report = tff.federated_map(aggregate, (state, collected))
        return new_state, tff.federated_map(private_of, result), report

    @tff.federated_computation(
        server_state_type, tff.FederatedType(counting_client_type, tff.CLIENTS)
    )
    def count(state: Any, clients: Any) -> Any:
        counts = tff.federated_map(made.count_client, tff.federated_map(shards_of, clients))
        collected = collect_counts(
            tff.federated_map(_client_id(counting_client_type), clients), counts
        )
        return tff.federated_map(with_counts, (state, collected))

    @tff.federated_computation(
        server_state_type, tff.FederatedType(evaluation_client_type, tff.CLIENTS)
    )
    def evaluate(state: Any, clients: Any) -> Any:
        shared, personal = receive(state, tff.federated_map(evaluation_key, clients))
        values = tff.federated_map(
            named, tff.federated_map(evaluate_client, (shared, personal, clients))
        )
        collected = collect_metrics(
            tff.federated_map(_client_id(evaluation_client_type), clients), values
        )
        return tff.federated_map(metrics_of, collected)

    iterative = tff.templates.IterativeProcess(
        initialize_fn=initialize_at_server, next_fn=next_round
    )
    return FederatedProcess(iterative, count, evaluate, layout, client_count)


def shared_values(state: Any, shared_type: tff.StructType) -> Any:
    """What every client may see of the server's state: the common values, and the part of the
    template that `shared_type` names.
    """
    anchors = tff.structure.name_list(shared_type["template"])
    return OD(
        common=state["common"], template=OD((name, state["template"][name]) for name in anchors)
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


def _collected_type(value_type: tff.StructType, client_count: int) -> tff.StructType:
    """What `_collector` brings to the server: a client axis before every tensor,
    and who is present.
    """

    def stacked(value: tff.Type) -> Any:
        if isinstance(value, tff.StructType):
            return OD((name, stacked(inner)) for name, inner in tff.structure.to_elements(value))
        return tff.TensorType(value.dtype.type, [client_count, *value.shape])

    return tff.to_type(
        OD(value=stacked(value_type), present=tff.TensorType(np.bool_, [client_count]))
    )


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


def _client_id(client_type: tff.StructType) -> tff.Computation:
    @tff.tensorflow.computation(client_type)
    def client_id(client: Any) -> tf.Tensor:
        return client["client_id"]

    return client_id


@dataclasses.dataclass(frozen=True)
class _Collector:
    """Brings a value of each client present to the server, stacked along a client axis,
    whatever the order they come in.
    """

    aggregate: Callable[[Any], Any]
    result_type: tff.Type

    def __call__(self, client_ids: Any, values: Any) -> Any:
        return self.aggregate(tff.federated_zip((client_ids, values)))


def _collector(value_type: tff.StructType, client_count: int) -> _Collector:
    def zeros(value: tff.Type) -> Any:
        if isinstance(value, tff.StructType):
            return OD((name, zeros(inner)) for name, inner in tff.structure.to_elements(value))
        return tf.zeros([client_count, *value.shape], value.dtype)

    @tff.tensorflow.computation
    def zero() -> Any:
        return OD(value=zeros(value_type), present=tf.zeros([client_count], tf.bool))

    result_type = _collected_type(value_type, client_count)

    @tff.tensorflow.computation(result_type, (np.int32, value_type))
    def accumulate(total: Any, item: Any) -> Any:
        client_id, value = item
        index = client_id[tf.newaxis, tf.newaxis]
        return tf.nest.map_structure(
            lambda stacked, own: tf.tensor_scatter_nd_update(stacked, index, own[tf.newaxis]),
            total,
            OD(value=value, present=tf.constant(True)),
        )

    @tff.tensorflow.computation(result_type, result_type)
    def merge(first: Any, second: Any) -> Any:
        def choose(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
            chosen = tf.reshape(second["present"], [client_count] + [1] * (len(a.shape) - 1))
            return tf.where(chosen, b, a)

        return tf.nest.map_structure(choose, first, second)

    @tff.tensorflow.computation(result_type)
    def report(total: Any) -> Any:
        return total

    def aggregate(values: Any) -> Any:
        return tff.federated_aggregate(values, zero(), accumulate, merge, report)

    return _Collector(aggregate, result_type)
