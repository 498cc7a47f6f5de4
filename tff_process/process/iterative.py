"""The federated process: client work and aggregation composed by TFF, and nothing else.

What is placed where: the server's state at SERVER; a client's private state at CLIENTS, in one
round and out of it into that client's next; the only way from CLIENTS to SERVER is
`collecting.collector`, which takes the fields of `report_type`, of `counts_type` once a run, and
metrics, and no other. A test walks the built computations and checks that. A client's `secret`
decides the order of its rows and goes nowhere.
"""

import collections
import dataclasses
from typing import Any, Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_process.client import variables
from tff_process.process import collecting, computations

OD = collections.OrderedDict


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


def build(spec: computations.ProcessSpec) -> FederatedProcess:
    """Composes the process of the computations that `computations.trace` makes of a spec."""
    made, client_count = computations.trace(spec), spec.client_count
    train, evaluate_client, aggregate = made.train, made.evaluate_client, made.aggregate
    state_type, client_type, evaluation_client_type = (
        made.state_type,
        made.client_type,
        made.evaluation_client_type,
    )
    metrics_type, personal_type = made.metrics_type, made.personal_type
    collect_reports = collecting.collector(made.report_type, client_count)
    collect_counts = collecting.collector(made.counts_type, client_count)
    collect_metrics = collecting.collector(tff.to_type(OD(metrics=metrics_type)), client_count)

    @tff.tensorflow.computation
    def initialize() -> Any:
        return made.initial_state(spec.initial)

    def parts_of(values_of: "Callable[[Any], Any]") -> "tuple[tff.Computation, tff.Computation]":
        """What all share of a state, and the personal values;
        `values_of` is `computations.training_values` or `computations.served_values`.
        """

        @tff.tensorflow.computation(state_type)
        def shared_part(state: Any) -> Any:
            return computations.shared_values(values_of(state), made.shared_type)

        @tff.tensorflow.computation(state_type)
        def personal_part(state: Any) -> Any:
            return values_of(state)["personal"]

        return shared_part, personal_part

    of_training = parts_of(computations.training_values)
    of_evaluation = parts_of(computations.served_values)

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

    def receive(
        state: Any, keys: Any, values: "tuple[tff.Computation, tff.Computation]"
    ) -> "tuple[Any, Any]":
        """What each client is given: what all share,
        and by `federated_select` its own personal values and nobody else's.
        """
        shared_part, personal_part = values
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
        shared, personal = receive(state, keys, of_training)
        result = tff.federated_map(train, (shared, personal, clients))
        collected = collect_reports(
            tff.federated_map(collecting.client_id_of(client_type), clients),
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
            tff.federated_map(collecting.client_id_of(counting_client_type), clients), counts
        )
        return tff.federated_map(with_counts, (state, collected))

    @tff.federated_computation(
        server_state_type, tff.FederatedType(evaluation_client_type, tff.CLIENTS)
    )
    def evaluate(state: Any, clients: Any) -> Any:
        shared, personal = receive(state, tff.federated_map(evaluation_key, clients), of_evaluation)
        values = tff.federated_map(
            named, tff.federated_map(evaluate_client, (shared, personal, clients))
        )
        collected = collect_metrics(
            tff.federated_map(collecting.client_id_of(evaluation_client_type), clients), values
        )
        return tff.federated_map(metrics_of, collected)

    iterative = tff.templates.IterativeProcess(
        initialize_fn=initialize_at_server, next_fn=next_round
    )
    return FederatedProcess(iterative, count, evaluate, spec.layout, client_count)
