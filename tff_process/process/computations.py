"""What a client and the server compute, each traced once and where it is needed."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, Callable

import tensorflow_federated as tff

from tff_process.client import variables
from tff_process.process import client_step, custom_gradients, server_step
from tff_process.process import types as types_lib
from tff_process.process.spec import ProcessSpec


@dataclasses.dataclass(frozen=True)
class Body:
    """What is traced: a function of tensors, and the types of its parameters."""

    function: Callable[..., Any]
    parameters: "tuple[tff.Type, ...]"

    def trace(self) -> tff.Computation:
        """The function as a graph."""
        with custom_gradients.forgotten():
            return tff.tensorflow.computation(*self.parameters)(self.function)


@dataclasses.dataclass(frozen=True)
class Computations:
    """The computations that a process is composed of, and their types:
    what every runtime shares, however it connects them.

    A computation is traced when it is first asked for, which takes seconds; from one thread at a
    time, see `keras_in_tff`.

    Attributes:
      spec: what the process is made of.
      types: of the values that pass between the computations.
      bodies: of the computations, by name.
    """

    spec: ProcessSpec
    types: types_lib.ProcessTypes
    bodies: "Mapping[str, Body]"

    @property
    def layout(self) -> variables.ModelVariables:
        """The variables."""
        return self.spec.layout

    @property
    def client_count(self) -> int:
        """How many clients there are, present or not."""
        return self.spec.client_count

    @property
    def averages(self) -> bool:
        """Whether what is served is not what is trained from."""
        return self.spec.algorithm.keeps_trained

    @property
    def finds_spread(self) -> bool:
        """Whether clients evaluate by `evaluate_spreads`, with one factor or several."""
        return self.spec.algorithm.finds_spread

    def initial_state(self, values: "Mapping[str, Any]") -> Any:
        """The server's state before the first round, of the model's initial values by name."""
        return server_step.initial_state(self.spec, values)

    @functools.cached_property
    def train(self) -> tff.Computation:
        """`(shared, personal, client) -> (private, report)`, one client's round."""
        return self.bodies["train"].trace()

    @functools.cached_property
    def train_at_home(self) -> tff.Computation:
        """`client -> (private, done)`, what a client does with its private state after its last
        aggregation, see `Strategy.train_at_home`.
        """
        return self.bodies["train_at_home"].trace()

    @functools.cached_property
    def finish_client(self) -> tff.Computation:
        """`(shared, personal, client, first) -> (values, metrics)`, what a client serves at last,
        see `home.finish`.
        """
        return self.bodies["finish_client"].trace()

    @functools.cached_property
    def count_client(self) -> tff.Computation:
        """`shards -> row counts`, by table, see `counting.count_ids`."""
        return self.bodies["count_client"].trace()

    @functools.cached_property
    def evaluate_client(self) -> tff.Computation:
        """`(shared, personal, client) -> float64 [tasks, metrics]`."""
        return self.bodies["evaluate_client"].trace()

    @functools.cached_property
    def evaluate_spreads(self) -> tff.Computation:
        """`(shared, personal, client) -> float64 [factors, tasks, metrics]`."""
        return self.bodies["evaluate_spreads"].trace()

    @functools.cached_property
    def aggregate(self) -> tff.Computation:
        """`(state, collected) -> (state, report of the round)`, at the server."""
        return self.bodies["aggregate"].trace()


def trace(spec: ProcessSpec) -> Computations:
    """The computations of an algorithm, none of them traced yet."""
    types = types_lib.types_of(spec)
    client = client_step.ClientStep(spec, types.private)
    server = server_step.ServerStep(spec)
    received = (types.shared, types.personal)
    return Computations(
        spec,
        types,
        bodies={
            "train": Body(client.train, (*received, types.client)),
            "train_at_home": Body(client.train_at_home, (types.client,)),
            "finish_client": Body(client.finish, (*received, types.finishing_client, types.whole)),
            "count_client": Body(client.count, (types.evaluation_client["shards"],)),
            "evaluate_client": Body(client.evaluate, (*received, types.evaluation_client)),
            "evaluate_spreads": Body(client.evaluate_spreads, (*received, types.spreads_client)),
            "aggregate": Body(server.aggregate, (types.state, types.collected)),
        },
    )
