"""A client's training: rounds cut anywhere in the epochs come to the same values."""

import dataclasses

import pytest
import tensorflow as tf

from pfrec import groups
from pfrec.models import networks
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process.algorithms import local, registry
from tff_process.client import variables
from tff_process.client import work as work_lib

SMALL = ModelConfig(
    embedding_dim=2, numeric_dim=2, experts=2, expert_units=(3,), tower_units=(2,), dropout=0.5
)
EPOCH_STEPS, STEPS = 3, 7


def after_rounds(dataset, lengths):
    """A client's private state, all of the model and optimizer,
    after rounds of these many steps.
    """
    model = work_lib.ClientModel(lambda: mmoe.build(dataset.schema, SMALL, 0), dataset.schema, 0.01)
    layout = variables.of(groups.tag(model.network), local.local(dataset.schema).policy, ())
    state, first, rows = model.private_state(layout), 0, 0.0

    @tf.function
    def train(private, work):
        inputs = work_lib.ClientInputs(layout, work_lib.TrainingSettings(16), {}, {}, private, work)
        done = work_lib.train(model, inputs)
        return done.private, done.examples

    for steps in lengths:
        numbers = {"seed": 1, "first_step": first, "steps": steps, "epoch_steps": EPOCH_STEPS}
        work = {name: tf.constant(value, tf.int64) for name, value in numbers.items()}
        work["shards"] = tf.constant(dataset.shards("nl", "train"))
        state, examples = train(state, work)
        first, rows = first + steps, rows + float(examples)
    return state, rows


def groups_that_decay(schema, **shape):
    """And those that do not, without biases and batch normalisation."""
    tagged = groups.tag(mmoe.build(schema, dataclasses.replace(SMALL, **shape), 0))
    decay = work_lib.decaying(tagged)
    kernels = [item for item in tagged if item.variable.shape.rank == 2]
    assert decay <= {item.name for item in kernels}
    found = {item.group.split("/")[0] for item in kernels if item.name in decay}
    return found, {item.group.split("/")[0] for item in kernels if item.name not in decay}


def test_kernels_decay_where_no_batch_normalisation_follows(dataset):
    most = {"embedding", "gate", "numeric"}
    assert groups_that_decay(dataset.schema) == ({*most, "tower"}, {"expert"})
    assert groups_that_decay(dataset.schema, tower_batch_norm=True) == (most, {"expert", "tower"})
    assert groups_that_decay(dataset.schema, batch_norm=False) == (
        {*most, "tower", "expert"},
        set(),
    )


def pooled_that_decay(schema, algorithm, batch_norm):
    shape = dataclasses.replace(SMALL, batch_norm=batch_norm)
    tagged = groups.tag(networks.build(algorithm, schema, shape, 0, 3))
    decay = work_lib.decaying(tagged)
    return decay, {item.name for item in tagged if item.variable.trainable} - decay


def test_only_the_block_of_a_batch_normalisation_does_not_decay(dataset):
    """Networks within a network have blocks of their own."""
    decay, others = pooled_that_decay(dataset.schema, "pooled_single_task", True)
    assert {name.split("/")[0] for name in decay} == {"embedding", "numeric", "tower"}
    kept = {name.split("/")[0] for name in others if not name.endswith("bias")}
    assert kept == {"expert", "batch_norm"}


def test_biases_and_factors_of_a_scenario_do_not_decay(dataset):
    decay, others = pooled_that_decay(dataset.schema, "pooled_star", False)
    assert not [name for name in decay if name.endswith("bias")]
    own = {name.split("/")[-1] for name in others if "/star/" in name}
    assert own == {"bias", "own_bias", "own_kernel"}
    assert "expert/0/shared/star/dense_0/kernel" in decay


@pytest.mark.parametrize("algorithm", ["fedbabu", "ditto"])
def test_every_optimizer_decays_what_it_trains(dataset, algorithm):
    """Also where the batch normalisation beside a kernel is another optimizer's."""
    made = registry.find(algorithm).build(dataset.schema)
    tagged = groups.tag(mmoe.build(dataset.schema, SMALL, 0))
    layout = variables.of(tagged, made.policy, ())
    optimizers = made.client.optimizers(layout)
    model = work_lib.ClientModel(
        lambda: mmoe.build(dataset.schema, SMALL, 0), dataset.schema, 0.01, optimizers, decay=1.0
    )
    decay = work_lib.decaying(tagged)
    assert len(model.optimizers) == 2
    for prefix, optimizer in model.optimizers.items():
        found = {name for i, name in enumerate(optimizers[prefix]) if i in optimizer._decays}
        assert found == decay & set(optimizers[prefix]) != set()


@pytest.fixture(scope="module")
def whole(dataset):
    return after_rounds(dataset, [STEPS])


@pytest.mark.parametrize("lengths", [[EPOCH_STEPS, EPOCH_STEPS, 1], [2, 3, 2], [1, 6], [5, 2]])
def test_rounds_cut_anywhere_train_alike(dataset, whole, lengths):
    state, rows = after_rounds(dataset, lengths)
    assert rows == whole[1] == 16 * STEPS
    assert set(state) == set(whole[0])
    for name, value in whole[0].items():
        tf.debugging.assert_equal(state[name], value, message=name)
