"""What clients run is in order: no two operations on a variable, one of which writes,
may take place in either order.
"""

import dataclasses

import pytest
import tensorflow as tf
import tensorflow_federated as tff

from tests.small_model import TEMPLATED
from tests.tff_process.process import graph_order
from tff_process import plan
from tff_process.process import computations
from tff_process.process import federation as federation_lib

VARIANTS = {
    "dropout": {"model": dataclasses.replace(TEMPLATED, dropout=0.2)},
    "lazy_adam": {"lazy_adam": True},
    "no_template": {"model": dataclasses.replace(TEMPLATED, template="none")},
    "two_layers": {"model": dataclasses.replace(TEMPLATED, expert_units=(4, 3))},
}


def traced(dataset, algorithm, **settings):
    federation = federation_lib.Federation(
        plan.Plan(algorithm, batch_size=50, **{"model": TEMPLATED, **settings}), dataset
    )
    return computations.trace(federation.process_spec())


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_training_of_other_models(dataset, variant):
    assert (
        graph_order.unordered(
            *graph_order.graph_of(traced(dataset, "pf_msmtrec", **VARIANTS[variant]).train)
        )
        == []
    )


def test_training_on_lists_of_values(dataset):
    """Only the schema matters to what is traced, so the rows need no lists."""
    user, item = dataset.schema.categorical
    schema = dataclasses.replace(
        dataset.schema, categorical=(user, dataclasses.replace(item, values=3, separator="|"))
    )
    listed = dataclasses.replace(dataset, schema=schema)
    assert graph_order.unordered(*graph_order.graph_of(traced(listed, "pf_msmtrec").train)) == []


def test_evaluation(dataset):
    assert (
        graph_order.unordered(*graph_order.graph_of(traced(dataset, "pf_msmtrec").evaluate_client))
        == []
    )


def test_evaluation_of_several_spreads(dataset):
    made = traced(dataset, "pf_msmtrec")
    assert graph_order.unordered(*graph_order.graph_of(made.evaluate_spreads)) == []


def counted(body):
    """A computation that calls `body(variable, total)` three times in a loop of a `tf.function`."""

    @tff.tensorflow.computation(tf.float32)
    def run(start):
        variable = tf.Variable(0.0)

        @tf.function
        def loop():
            variable.assign(start)
            total = tf.zeros([])
            for _ in tf.range(3):
                total = body(variable, total)
            return total, variable.read_value()

        return loop()

    return graph_order.graph_of(run)


def plain(variable, total):
    total += variable.read_value()
    variable.assign_add(total)
    return total


def test_a_plain_loop_is_in_order():
    assert graph_order.unordered(*counted(plain)) == []


def test_an_edge_lost_before_the_assignment_is_found():
    """Where a step assigns a constant, nothing but a control edge keeps its reading first."""
    graph, results = counted(plain)
    for node in graph.node:
        if node.op == "AssignAddVariableOp":
            del node.input[1:]
    assert [pair for pair in graph_order.unordered(graph, results) if ">" not in pair]


def test_an_edge_lost_after_the_assignment_is_found():
    """Nothing but control edges keeps the next step, and the end,
    from reading before the assignment.
    """
    graph, results = counted(plain)
    written = {f"^{node.name}" for node in graph.node if node.op == "AssignAddVariableOp"}
    changed = 0
    for node in graph.node:
        kept = [source for source in node.input if source not in written]
        changed += len(node.input) - len(kept)
        node.input[:] = kept
    assert changed
    # Otherwise the assignment would not run at all.
    found = graph_order.unordered(graph, [*results, *(name[1:] for name in written)])
    assert [pair for pair in found if ">" in pair]
    assert [pair for pair in found if ">" not in pair]


def test_the_tie_of_a_custom_gradient_is_no_order():
    """What the fused layers must not do: a result of a custom gradient that needs an argument no
    more than by the tie of all with all.
    """

    def tied(variable, total):
        @tf.custom_gradient
        def forward(x, y):
            return (x * 2.0, y + 1.0), lambda to_x, to_y: (to_x, to_y)

        doubled, one_more = forward(total, variable.read_value())
        variable.assign(doubled)
        return total + one_more

    assert graph_order.unordered(*counted(tied))


def test_private_training_and_what_follows_at_home(dataset):
    made = traced(
        dataset, "fedavg", dp_epsilon=4.0, model=dataclasses.replace(TEMPLATED, template="none")
    )
    for computation in (made.train, made.train_at_home):
        assert graph_order.unordered(*graph_order.graph_of(computation)) == []
