"""The federated process: client work and aggregation composed by TFF, and nothing else.

What is placed where: the server's state at SERVER; a client's private state at CLIENTS, in one
round and out of it into that client's next; the only way from CLIENTS to SERVER is
`collecting.collector`, which takes the fields of `ProcessTypes.report`, of `counts` once a run, and
metrics, and no other. A test walks the built computations and checks that. A client's `secret`
decides the order of its rows and goes nowhere.
"""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any, Callable

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_process.client import variables
from tff_process.process import collecting, computations, server_step

OD = collections.OrderedDict


@dataclasses.dataclass(frozen=True)
class FederatedProcess:
    """An algorithm as TFF computations.

    Attributes:
      iterative: a `tff.templates.IterativeProcess`; its `next(state, clients)` takes the server's
        state and, for each client present, its `client_id`, `private` state, `secret`, `work` (see
        `work_lib.ClientInputs`) and `serves`; it returns the state, the clients' private states in
        the same order, and what the server learned of the round.
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


def build(made: computations.Computations) -> FederatedProcess:
    """Composes the process of its computations, which are traced here where they were not yet."""
    iterative = tff.templates.IterativeProcess(
        initialize_fn=_initialize(made), next_fn=_next_round(made)
    )
    return FederatedProcess(
        iterative, _count(made), _evaluate(made), made.layout, made.client_count
    )


def _initialize(made: computations.Computations) -> tff.Computation:
    """`() -> state`, at the server."""

    @tff.tensorflow.computation
    def initialize() -> Any:
        return made.initial_state(made.spec.initial)

    @tff.federated_computation
    def initialize_at_server() -> Any:
        return tff.federated_eval(initialize, tff.SERVER)

    return initialize_at_server


def _next_round(made: computations.Computations) -> tff.Computation:
    """`(state, clients) -> (state, private states, report of the round)`."""
    train, aggregate, client_type = made.train, made.aggregate, made.types.client
    receive = _receiver(made, client_type, server_step.training_values)
    collect = collecting.collector(made.types.report, made.client_count)

    @tff.tensorflow.computation(train.type_signature.result)
    def report_of(result: Any) -> Any:
        return result["report"]

    @tff.tensorflow.computation(train.type_signature.result)
    def private_of(result: Any) -> Any:
        return result["private"]

    @tff.federated_computation(_at_server(made), tff.FederatedType(client_type, tff.CLIENTS))
    def next_round(state: Any, clients: Any) -> Any:
        shared, personal = receive(state, clients)
        result = tff.federated_map(train, (shared, personal, clients))
        collected = collect(
            tff.federated_map(collecting.client_id_of(client_type), clients),
            tff.federated_map(report_of, result),
        )
        new_state, report = tff.federated_map(aggregate, (state, collected))
        return new_state, tff.federated_map(private_of, result), report

    return next_round


def _count(made: computations.Computations) -> tff.Computation:
    """`(state, clients) -> state` with what clients say of their ids."""
    collect = collecting.collector(made.types.counts, made.client_count)
    shards_type = made.types.evaluation_client["shards"]
    client_type = tff.to_type(OD(client_id=tff.TensorType(np.int32), shards=shards_type))

    @tff.tensorflow.computation(client_type)
    def shards_of(client: Any) -> tf.Tensor:
        return client["shards"]

    @tff.tensorflow.computation(made.types.state, collect.result_type)
    def with_counts(state: Any, collected: Any) -> Any:
        return OD(
            (name, collected["value"] if name == "row_counts" else value)
            for name, value in state.items()
        )

    @tff.federated_computation(_at_server(made), tff.FederatedType(client_type, tff.CLIENTS))
    def count(state: Any, clients: Any) -> Any:
        counts = tff.federated_map(made.count_client, tff.federated_map(shards_of, clients))
        collected = collect(
            tff.federated_map(collecting.client_id_of(client_type), clients), counts
        )
        return tff.federated_map(with_counts, (state, collected))

    return count


def _evaluate(made: computations.Computations) -> tff.Computation:
    """`(state, clients) -> metrics of each client`."""
    evaluate_client, client_type = made.evaluate_client, made.types.evaluation_client
    receive = _receiver(made, client_type, server_step.served_values)
    collect = collecting.collector(tff.to_type(OD(metrics=made.types.metrics)), made.client_count)

    @tff.tensorflow.computation(made.types.metrics)
    def named(values: tf.Tensor) -> Any:
        return OD(metrics=values)

    @tff.tensorflow.computation(collect.result_type)
    def metrics_of(collected: Any) -> Any:
        absent = tf.fill([1, 1, 1], tf.constant(np.nan, tf.float64))
        return tf.where(
            collected["present"][:, tf.newaxis, tf.newaxis], collected["value"]["metrics"], absent
        )

    @tff.federated_computation(_at_server(made), tff.FederatedType(client_type, tff.CLIENTS))
    def evaluate(state: Any, clients: Any) -> Any:
        shared, personal = receive(state, clients)
        values = tff.federated_map(
            named, tff.federated_map(evaluate_client, (shared, personal, clients))
        )
        collected = collect(
            tff.federated_map(collecting.client_id_of(client_type), clients), values
        )
        return tff.federated_map(metrics_of, collected)

    return evaluate


def _receiver(
    made: computations.Computations,
    client_type: tff.StructType,
    values_of: "Callable[[Any], Mapping[str, Any]]",
) -> "Callable[[Any, Any], tuple[Any, Any]]":
    """What each client is given, `(state, clients) -> (shared, personal)`: what all share, and by
    `federated_select` its own personal values and nobody else's.

    Args:
      made: what is composed.
      client_type: of the clients.
      values_of: `server_step.training_values` or `server_step.served_values`.
    """
    types = made.types

    @tff.tensorflow.computation(types.state)
    def shared_part(state: Any) -> Any:
        return server_step.shared_values(values_of(state), types.shared)

    @tff.tensorflow.computation(types.state)
    def personal_part(state: Any) -> Any:
        return values_of(state)["personal"]

    @tff.tensorflow.computation(types.state["personal"], np.int32)
    def personal_of(personal: Any, client_id: tf.Tensor) -> Any:
        return OD(
            client_id=client_id,
            values=OD((name, value[client_id]) for name, value in personal.items()),
        )

    @tff.tensorflow.computation(client_type)
    def key(client: Any) -> tf.Tensor:
        return client["client_id"][tf.newaxis]

    @tff.tensorflow.computation(tff.SequenceType(types.personal))
    def only(selected: tf.data.Dataset) -> Any:
        return selected.get_single_element()

    def receive(state: Any, clients: Any) -> "tuple[Any, Any]":
        shared = tff.federated_broadcast(tff.federated_map(shared_part, state))
        chosen = tff.federated_select(
            tff.federated_map(key, clients),
            tff.federated_value(made.client_count, tff.SERVER),
            tff.federated_map(personal_part, state),
            personal_of,
        )
        return shared, tff.federated_map(only, chosen)

    return receive


def _at_server(made: computations.Computations) -> tff.FederatedType:
    return tff.FederatedType(made.types.state, tff.SERVER)
