"""PF-MSMTrec whose clients mix for themselves: where all clients are alike it is the server's form
to the last rounding, and what it cannot be is refused.
"""

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from pfrec import errors, groups, run_model
from tests.small_model import SHAPE
from tff_process import plan as plan_lib
from tff_process.aggregation import mix, tables
from tff_process.algorithms import pf_msmtrec, pf_sums
from tff_process.client import counting, variables, work
from tff_process.process import federation
from tff_process.training import loop

SETTINGS = pf_msmtrec.Settings(coordination="mean", mu=0.5, tower_mu=0.25, rows_prior=30.0)
PLAN = plan_lib.Plan(
    "pf_msmtrec",
    rounds=2,
    aggregations=2,
    batch_size=50,
    model=SHAPE,
    settings=SETTINGS,
    secure_sums=True,
)


def spec(name, kind, member, shape):
    group = f"{kind}/{member}"
    return variables.VariableSpec(name, kind, group, member, shape, True, variables.COMMON)


LAYOUT = variables.ModelVariables(
    (
        spec("e", "expert", "0", (2,)),
        spec("t", "tower", "buy", (1,)),
        spec("table", "embedding", "item", (3, 1)),
        spec("other", "batch_norm", "x", (1,)),
    )
)


def trained_by(monkeypatch, change):
    """Training that adds a number to all that it is given."""

    def train(model, inputs):
        upload = collections.OrderedDict((k, v + change) for k, v in inputs.incoming.items())
        return work.ClientRound(dict(inputs.private), upload, tf.constant(10.0), tf.constant(0.0))

    monkeypatch.setattr(work, "train", train)


def inputs_of(private, incoming, serves=1.0):
    return work.ClientInputs(
        LAYOUT,
        work.TrainingSettings(),
        collections.OrderedDict((k, tf.constant(v, tf.float32)) for k, v in incoming.items()),
        {},
        {k: tf.constant(v, tf.float32) for k, v in private.items()},
        {"serves": tf.constant([1.0, serves]), "shards": tf.constant(["shard"])},
    )


PRIVATE = {
    **{"ended/e": [3.0, 3.0], "ended/t": [5.0], "ended/table": [[2.0], [4.0], [0.0]]},
    **{"e": [1.0, 3.0], "t": [1.0], "table": [[1.0], [1.0], [0.0]]},
    **{"received_before/e": [2.0, 3.0], "received_before/t": [1.0]},
    "received_before/table": [[0.0], [0.0], [0.0]],
    **{"rows_before": 10.0, "met/item": [0.0, 1000.0, 7.0], "optimizer/0000": [0.5]},
}
INCOMING = {"e": [2.5, 3.0], "t": [1.5], "table": [[0.5], [0.5], [0.5]], "other": [9.0]}


@pytest.mark.parametrize("serves", [1.0, 0.0])
def test_by_hand(monkeypatch, serves):
    trained_by(monkeypatch, 1.0)
    never = tf.fill([3], np.float32(np.nan))
    monkeypatch.setattr(counting, "count_ids", lambda *arguments: {"table": never})
    client = pf_sums.OwnMixing(
        dataclasses.replace(SETTINGS, attraction=0.1, rows_prior=40.0, table_prior=1000.0),
        ("click", "buy"),
        None,
        0.25,
    )
    done = client.train(None, inputs_of(PRIVATE, INCOMING, serves))
    # v of experts is 0.5 * 10 / (10 + 10), of towers 0.75 of a half, and g is 0.1.
    expected = {
        "e": [0.25 * 3 + 0.75 * (1 + 0.1 * 1 + 0.5), 3.0],
        "t": [0.375 * 5 + 0.625 * (1 + 0.5)] if serves else [5.0],
        # Held so often that it says nothing, a half, and not moved.
        "table": [[(2 + 1000 * 1.5) / 1001], [0.5 * 4 + 0.5 * 1.5], [0.5]],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(done.private[name], value, rtol=1e-6)
        np.testing.assert_allclose(done.private[f"ended/{name}"], np.array(value) + 1.0, rtol=1e-6)
        np.testing.assert_allclose(done.upload[name], np.array(INCOMING[name]) + 1.0, rtol=1e-6)
        np.testing.assert_array_equal(done.private[f"received_before/{name}"], INCOMING[name])
    assert done.upload["other"] == [10.0]
    assert "other" not in done.private
    assert done.private["rows_before"] == 10.0
    assert {k: v.shape for k, v in done.private.items()} == {
        k: np.shape(v) for k, v in PRIVATE.items()
    }


def test_alike_clients_come_to_what_the_server_makes():
    """Two clients that have the same values, rows and counts, and train to different ones."""
    client = pf_sums.OwnMixing(SETTINGS, ("click", "buy"), None, 1.0)
    draw = np.random.default_rng(0)
    before = {s.name: draw.normal(size=s.shape).astype(np.float32) for s in LAYOUT.specs[:3]}
    after = [
        {
            name: value + draw.normal(size=value.shape).astype(np.float32)
            for name, value in before.items()
        }
        for _ in range(2)
    ]
    mean = {name: (after[0][name] + after[1][name]) / 2 for name in before}
    met = np.array([0.0, 8.0, 4096.0], np.float32)
    for trained in after:
        private = {
            **before,
            **{f"ended/{name}": value for name, value in trained.items()},
            **{f"received_before/{name}": value for name, value in before.items()},
            "rows_before": 10.0,
        }
        inputs = inputs_of(private, {**mean, "other": [0.0]})
        found = {
            s.name: client._begins(s, inputs, {"item": tf.constant(met)}).numpy()
            for s in LAYOUT.specs[:3]
        }
        for name, mu in (("e", SETTINGS.mu), ("t", SETTINGS.tower_mu)):
            taken = 1.0 - (1.0 - mu) * 10.0 / (10.0 + SETTINGS.rows_prior)
            # P is the same at both, so attraction draws nowhere.
            wanted = mix.personalise(
                tf.constant(trained[name])[tf.newaxis],
                tf.constant(mean[name])[tf.newaxis],
                taken,
                tf.constant([True]),
            )
            np.testing.assert_allclose(found[name], wanted[0], rtol=1e-5)
        seen = tf.constant(np.maximum(met, 1.0))[tf.newaxis]
        wanted = tables.blend_rows(
            tf.constant(before["table"])[tf.newaxis],
            tf.constant(trained["table"])[tf.newaxis],
            tf.constant(mean["table"] - before["table"]),
            mix.own_weight(seen, SETTINGS.table_prior),
        )
        np.testing.assert_allclose(found["table"], wanted[0], rtol=1e-5)


def test_each_kind_has_a_mu_of_its_own():
    """From P and G of 0 to W of 1 with nothing learned by others: what is kept of W."""
    mus = {"expert": 0.1, "tower": 0.2, "gate": 0.3, "numeric": 0.4}
    settings = dataclasses.replace(
        SETTINGS, mu=0.1, tower_mu=0.2, gate_mu=0.3, numeric_mu=0.4, rows_prior=0.0
    )
    client = pf_sums.OwnMixing(settings, ("click", "buy"), None, 1.0)
    for kind, mu in mus.items():
        private = {"x": [0.0], "ended/x": [1.0], "received_before/x": [0.0], "rows_before": 9.0}
        found = client._begins(spec("x", kind, "buy", (1,)), inputs_of(private, {"x": [0.0]}), {})
        np.testing.assert_allclose(found, [1.0 - mu], rtol=1e-6)


def test_the_form_keeps_nothing_at_its_server_and_reckons_with_epochs(schema):
    made = pf_msmtrec.pf_msmtrec(schema, SETTINGS, epochs=0.25).in_sums()
    assert not made.finds_spread
    assert not made.initial_extra(LAYOUT, 4)
    assert made.client.reckons_with_epochs
    assert made.client._epochs == 0.25
    assert not made.personal_kinds


def test_a_run_mixes_at_its_clients(dataset, tmp_path):
    """The server has one value of each shared variable, and models differ."""
    made = federation.Federation(PLAN, dataset)
    assert not made.layout.joined(variables.PERSONAL)
    run = loop.train(PLAN, dataset, tmp_path / "run").run
    state = run.load(2)
    name = next(s.name for s in made.layout.uploaded if "expert" in s.name and "kernel" in s.name)
    shapes = {spec.name: spec.shape for spec in made.layout.specs}
    assert state.server[f"common/{name}"].shape == shapes[name]
    nl, es = (
        {item.name: item.variable.numpy() for item in groups.tag(run_model.load(run, scenario))}
        for scenario in ("nl", "es")
    )
    assert not np.array_equal(nl[name], es[name])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"coordination": "conflict_averse"}, "take --pf_coordination=mean"),
        ({"coordination": "none"}, "take --pf_coordination=mean"),
        ({"log_counts": True}, "pf_log_counts"),
        ({"weigh_by_rows": False}, "pf_weigh_by_rows"),
        ({"temperature": 0.5}, "pf_temperature=0.5"),
        ({"proximal": 0.1}, "pf_proximal"),
        ({"server_step": 0.5}, "pf_server_step"),
        ({"quick_start": 100.0}, "pf_quick_start"),
    ],
)
def test_what_needs_single_updates_is_refused(changed, told, dataset):
    plan = dataclasses.replace(PLAN, settings=dataclasses.replace(SETTINGS, **changed))
    with pytest.raises(errors.PfrecError, match=told):
        federation.Federation(plan, dataset)


def test_tables_without_a_prior_are_common(dataset):
    settings = dataclasses.replace(SETTINGS, table_prior=0.0)
    made = federation.Federation(dataclasses.replace(PLAN, settings=settings), dataset)
    kept = {item.name for item in made.algorithm.client.kept(made.layout)}
    assert any(name.startswith("ended/expert/") for name in kept)
    assert not any(name.startswith(("ended/embedding/", "met/")) for name in kept)
