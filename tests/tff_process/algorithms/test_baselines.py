"""What each simple baseline shares, and its degenerate settings."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import groups
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan
from tff_process.algorithms import base, pf_msmtrec, registry
from tff_process.client import variables, work

SMALL = ModelConfig(embedding_dim=2, numeric_dim=2, experts=2, expert_units=(3,), tower_units=(2,))
EVERYTHING = (
    "ditto",
    "pfedme",
    "apfl",
    "fedamp",
    "fedala",
    "fedavg_finetune",
    "mr_mtl",
    "fedadam",
    "fedyogi",
    "scaffold",
    "feddyn",
    "per_fedavg",
    "fedrod",
    "clustered",
)
STATISTICS = ("moving_mean", "moving_variance")


def layout_of(name, schema, **settings):
    asked = plan.Plan(name, **settings)
    algorithm = registry.find(name).build(schema, asked.settings, 0.25)
    return algorithm, variables.of(
        groups.tag(mmoe.build(schema, SMALL)), algorithm.policy, algorithm.personal_kinds
    )


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("local", set()),
        ("fedper", {"embedding", "numeric", "expert"}),
        ("fedbn", {"embedding", "numeric", "expert", "gate", "tower"}),
        ("fedavg", {"embedding", "numeric", "expert", "gate", "tower", "batch_norm"}),
        ("fedprox", {"embedding", "numeric", "expert", "gate", "tower", "batch_norm"}),
        ("pf_msmtrec", {"embedding", "numeric", "expert", "gate", "tower"}),
        ("fedrep", {"embedding", "numeric", "expert"}),
        ("fedbabu", {"embedding", "numeric", "expert"}),
        ("fedhca2", {"embedding", "numeric", "expert", "tower"}),
        *(
            (name, {"embedding", "numeric", "expert", "gate", "tower", "batch_norm"})
            for name in EVERYTHING
        ),
    ],
)
def test_kinds_that_leave_a_client(name, kinds, schema):
    algorithm, layout = layout_of(name, schema)
    assert {spec.kind for spec in layout.uploaded} == kinds
    # The schema keeps users private and shares items, for every algorithm that shares anything.
    assert {spec.member for spec in layout.uploaded if spec.kind == "embedding"} == (
        {"item"} if kinds else set()
    )
    assert {spec.kind for spec in layout.joined(variables.PERSONAL)} == set(
        algorithm.personal_kinds
    )


def test_fedprox_pulls_all_that_is_trained_and_common_to_where_it_came_from(schema):
    algorithm, layout = layout_of("fedprox", schema)
    settings = work.TrainingSettings(proximal=algorithm.proximal, anchor=algorithm.anchor)
    incoming = {spec.name: tf.zeros(spec.shape) for spec in layout.uploaded}
    anchors = work.ClientInputs(layout, settings, incoming, {}, {}, {}).anchors()
    assert set(anchors) == {s.name for s in layout.uploaded if not s.name.endswith(STATISTICS)}
    assert all(anchors[name] is incoming[name] for name in anchors)


def test_pf_msmtrec_pulls_the_experts_to_the_consensus(schema):
    settings = pf_msmtrec.Settings(proximal=0.1)
    algorithm, layout = layout_of("pf_msmtrec", schema, settings=settings)
    assert (algorithm.anchor, algorithm.proximal) == (base.CONSENSUS, 0.1)
    consensus = {spec.name: tf.zeros(spec.shape) for spec in algorithm.anchors(layout)}
    inputs = work.ClientInputs(layout, work.TrainingSettings(proximal=0.1), {}, consensus, {}, {})
    anchors = inputs.anchors()
    assert set(anchors) == {s.name for s in layout.joined(variables.PERSONAL) if s.kind == "expert"}
    assert inputs.anchors(work.TrainingSettings()) == {}


@pytest.mark.parametrize("name", sorted(registry.FEDERATED))
def test_nobody_is_sent_a_consensus_that_nothing_pulls_towards(name, schema):
    algorithm, layout = layout_of(name, schema)
    assert algorithm.anchors(layout) == []


def work_of(dataset):
    return {
        "shards": tf.constant(dataset.shards("nl", "train")),
        "seed": tf.constant(1, tf.int64),
        "first_step": tf.constant(0, tf.int64),
        "steps": tf.constant(4, tf.int64),
        "epoch_steps": tf.constant(4, tf.int64),
    }


def trained(dataset, settings):
    """Values of the shared variables after four steps under FedProx's layout, and before them."""
    _, layout = layout_of("fedprox", dataset.schema)
    model = work.ClientModel(lambda: mmoe.build(dataset.schema, SMALL, 0), dataset.schema, 1e-2)
    start = {name: tf.constant(variable.numpy()) for name, variable in model.variables.items()}
    private = dict(model.private_state(layout))
    incoming = {spec.name: start[spec.name] for spec in layout.uploaded}
    inputs = work.ClientInputs(layout, settings, incoming, {}, private, work_of(dataset))
    done = work.train(model, inputs)
    return done.upload, incoming


def test_fedprox_of_no_weight_is_fedavg_and_of_a_large_one_stays(dataset):
    plain, start = trained(dataset, work.TrainingSettings(batch_size=50))
    none, _ = trained(dataset, work.TrainingSettings(50, 0.0, base.RECEIVED))
    held, _ = trained(dataset, work.TrainingSettings(50, 1e4, base.RECEIVED))

    def distance(values):
        return np.sqrt(
            sum(
                np.sum((values[n] - start[n]).numpy() ** 2)
                for n in values
                if not n.endswith(STATISTICS)
            )
        )

    for name, value in plain.items():
        np.testing.assert_array_equal(value, none[name])
    assert distance(held) < 0.7 * distance(plain)
