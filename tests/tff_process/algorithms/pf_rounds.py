"""Random rounds of PF-MSMTrec: server states, and the reports of their clients."""

import collections
import dataclasses

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tff_process.algorithms import base, pf_msmtrec
from tff_process.client import variables

few = hypothesis.settings(max_examples=10, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
EXPERT, TOWER = "expert/0/shared/kernel", "tower/ctr/kernel"
GATE, NUMERIC = "gate/ctr/kernel", "numeric/project/kernel"
LAYOUT = variables.ModelVariables(
    (
        variables.VariableSpec(
            EXPERT, "expert", "expert/0/shared", "0", (3, 2), True, variables.PERSONAL
        ),
        variables.VariableSpec(TOWER, "tower", "tower/ctr", "ctr", (2,), True, variables.PERSONAL),
        variables.VariableSpec(GATE, "gate", "gate/ctr", "ctr", (2, 2), True, variables.PERSONAL),
        variables.VariableSpec(
            NUMERIC, "numeric", "numeric", "numeric", (3,), True, variables.PERSONAL
        ),
    )
)


def round_of(seed, clients=4, present=None, serves=None, same=False):
    """A random state and updates of it."""
    random = np.random.default_rng(seed)
    shapes = {spec.name: spec.shape for spec in LAYOUT.specs}

    def draw(shape):
        one = random.normal(size=(1 if same else clients, *shape)).astype(np.float32)
        return np.repeat(one, clients // len(one), axis=0)

    personal = collections.OrderedDict(
        (name, tf.constant(draw(shape))) for name, shape in shapes.items()
    )
    trained = collections.OrderedDict(
        (name, tf.constant(draw(shape))) for name, shape in shapes.items()
    )
    empty = collections.OrderedDict()
    state = base.ServerState(
        tf.constant(0),
        empty,
        personal,
        collections.OrderedDict((n, v[0]) for n, v in personal.items()),
        empty,
    )
    counts = np.full(clients, 5.0) if same else random.integers(1, 50, clients)
    reports = base.ClientReports(
        trained,
        empty,
        tf.constant(counts, tf.float32),
        tf.constant(np.ones([clients, 1]) if serves is None else serves, tf.float32),
        tf.constant([True] * clients if present is None else present),
    )
    return state, reports


def aggregate(state, reports, **settings):
    # What the other settings do shows where all clients count alike and values are joined.
    plain = {"rows_prior": 0.0, "weigh_by_rows": False, "mu": 0.5, "attraction": 1.0}
    settings = pf_msmtrec.Settings(**{**plain, **settings})
    after, diagnostics = pf_msmtrec.aggregate(settings, LAYOUT, ("ctr",), state, reports)
    return {name: value.numpy() for name, value in after.personal.items()}, after, diagnostics


def round_with_a_table(seed, clients=3, rows=4):
    """A layout of one personal table, its state and updates."""
    table = variables.VariableSpec(
        "t", "embedding", "embedding/t", "t", (rows, 2), True, variables.PERSONAL
    )
    random = np.random.default_rng(seed)
    first = tf.constant(random.normal(size=(rows, 2)), tf.float32)
    empty = collections.OrderedDict()
    state = base.ServerState(
        tf.constant(0), empty, {"t": tf.stack([first] * clients)}, {"t": first}, empty
    )
    trained = {"t": tf.constant(random.normal(size=(clients, rows, 2)), tf.float32)}
    seen = {"t": tf.constant(random.integers(0, 300, (clients, rows)), tf.float32)}
    reports = base.ClientReports(
        trained, seen, tf.ones([clients]), tf.ones([clients, 1]), tf.constant([True] * clients)
    )
    return variables.ModelVariables((table,)), state, reports


def sharing(state, much):
    """The state with q of the formula."""
    return dataclasses.replace(
        state, extra=collections.OrderedDict({base.SHARING: tf.constant(much)})
    )


def with_one_far_away(reports, client, factor):
    """The same reports, but that one client's values are so many times as large."""
    values = collections.OrderedDict(
        (name, tf.tensor_scatter_nd_update(value, [[client]], [value[client] * factor]))
        for name, value in reports.values.items()
    )
    return dataclasses.replace(reports, values=values)
