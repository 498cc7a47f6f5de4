"""The server's part of a run, with an aggregation that is given."""

import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from pfrec import errors
from tff_process.client import variables
from tff_process.runtime import server

NAME = "expert_0/norm_0/moving_variance"


@pytest.mark.parametrize("join", [variables.COMMON, variables.PERSONAL])
@pytest.mark.parametrize("made", [-0.5, np.nan])
def test_an_aggregate_that_makes_no_variance_of_one_is_told(join, made):
    spec = variables.VariableSpec(NAME, "batch_norm", NAME, "expert_0", (2,), False, join)
    values = {variables.COMMON: {}, variables.PERSONAL: {}, "consensus": {}}
    values[join] = {NAME: tf.ones([2])}
    state = {**values, "extra": {}, "round": tf.constant(0)}
    traced = types.SimpleNamespace(
        initial_state=lambda initial: state,
        types=types.SimpleNamespace(report=tff.to_type([("loss", np.float32)])),
        client_count=1,
        layout=variables.ModelVariables((spec,)),
        spec=types.SimpleNamespace(algorithm=types.SimpleNamespace(name="mine")),
    )

    def aggregate(made):
        return lambda before, collected: (
            {**before, join: {NAME: np.array([1.0, made], np.float32)}},
            {},
        )

    def apply(made):
        one = server.Server(traced, aggregate(made), {})
        return one.apply({0: {"loss": np.float32(1)}}, one.stack())

    apply(0.0)
    with pytest.raises(errors.PfrecError, match=f"algorithm mine: .*{NAME}.*is trainable alone"):
        apply(made)


def test_what_is_said_of_a_step_does_not_keep_the_reports():
    """What an aggregation passes through is a part of what it was given."""
    state = {variables.COMMON: {}, variables.PERSONAL: {}, "consensus": {}, "extra": {}}
    traced = types.SimpleNamespace(
        initial_state=lambda initial: {**state, "round": tf.constant(0)},
        types=types.SimpleNamespace(report=tff.to_type([("loss", np.float32)])),
        client_count=2,
        layout=variables.ModelVariables(()),
        spec=types.SimpleNamespace(algorithm=types.SimpleNamespace(name="mine")),
    )
    given = []

    def aggregate(before, collected):
        given.append(collected["value"]["loss"])
        return before, {"loss": collected["value"]["loss"]}

    one = server.Server(traced, aggregate, {})
    said = one.apply({1: {"loss": np.float32(3)}}, one.stack())
    np.testing.assert_array_equal(said["loss"], [0, 3])
    assert not np.shares_memory(said["loss"], given[0])
