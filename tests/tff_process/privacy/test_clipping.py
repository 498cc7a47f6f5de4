"""One row more or less changes the clipped sum by at most the clip, whatever the row holds, and the
sum is that of single rows' gradients as TensorFlow makes them.
"""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from pfrec import groups
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import row_block
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import first_layer, mmoe, per_example_first, per_example_sources
from tff_process.privacy import clipping

SCHEMA = schema_lib.Schema(
    categorical=(
        schema_lib.Categorical("user", 6),
        schema_lib.Categorical("item", 5, "shared"),
        schema_lib.Categorical("genres", 4, "shared", values=3, separator="|"),
    ),
    numerical=(schema_lib.Numerical("price"), schema_lib.Numerical("age", normalise="standard")),
    tasks=(schema_lib.Task("ctr", "click"), schema_lib.Task("cvr", "conversion", given="ctr")),
)
FIRST_LAYER = ("expert/0/shared/expert_0/dense_0/kernel", "gate/ctr/gate_ctr/dense/kernel")
ABSENT = frozenset({"user", "age"})
SHAPES = {
    "projected": ModelConfig(
        embedding_dim=3,
        numeric_dim=2,
        experts=2,
        expert_units=(4, 3),
        tower_units=(3,),
        batch_norm=False,
    ),
    "plain numbers": ModelConfig(
        embedding_dim=2,
        numeric_dim=0,
        experts=1,
        expert_units=(3,),
        tower_units=(2, 2),
        batch_norm=False,
    ),
}


# Whether the first layer is multiplied out: what it costs to do so decides.
COSTS = {"as it is": 1e30, "folded": -1e30}


def make(shape):
    network = mmoe.build(SCHEMA, SHAPES[shape], seed=3)
    random = np.random.default_rng(0)
    for item in groups.tag(network):
        # Biases that are not zero, so that ReLU has both sides.
        if item.variable.trainable:
            item.variable.assign(random.normal(0, 0.5, item.variable.shape))
    return network


@pytest.fixture(scope="module", params=sorted(SHAPES))
def made(request):
    return make(request.param)


@pytest.fixture(params=sorted(COSTS))
def network(request, made, monkeypatch):
    monkeypatch.setattr(first_layer, "OPERATIONS_COST", COSTS[request.param])
    return made


def rows(count, seed, scale=1.0):
    random = np.random.default_rng(seed)
    genres = random.integers(-1, 4, [count, 3])
    genres = -np.sort(-genres, axis=1)  # places without a value stand last
    ids = np.concatenate([random.integers(0, 6, [count, 1]), random.integers(0, 5, [count, 1])], 1)
    return {
        "categorical": np.concatenate([ids, genres], 1).astype(np.int32),
        "numerical": (scale * random.normal(size=[count, 2])).astype(np.float32),
        "labels": random.choice([0, 1, row_block.UNOBSERVED], [count, 2]).astype(np.uint8),
    }


def tensors(batch):
    return {name: tf.constant(value) for name, value in batch.items()}


def sums(network, batch, clip):
    found = clipping.clipped_sums(network, tensors(batch), clip, ABSENT)
    return {
        item.name: found.sums[item.variable.ref()].numpy()
        for item in groups.tag(network)
        if item.variable.ref() in found.sums
    }, found.norms.numpy()


def single_gradients(network, batch, row):
    """The gradient of one row's loss by the network's own forward pass, absent columns at zero."""
    one = {name: value[row : row + 1] for name, value in batch.items()}
    one["numerical"] = one["numerical"] * np.float32([1, 0])
    table = next(layer.table for layer in network.embeddings if layer.feature == "user")
    before = table.read_value()
    table.assign(tf.zeros_like(table))
    trained = [i for i in groups.tag(network) if i.variable.trainable]
    with tf.GradientTape() as tape:
        logits = network.plain(tensors(one), training=False)
        loss = tf.reduce_sum(clipping.row_losses(logits, tf.constant(one["labels"])))
    gradients = tape.gradient(loss, [item.variable for item in trained])
    table.assign(before)
    return {
        item.name: np.zeros(item.variable.shape)
        if gradient is None
        else tf.convert_to_tensor(gradient).numpy()
        for item, gradient in zip(trained, gradients)
        if item.name != "embedding/user/embedding_user/table"
    }


def norm(gradients):
    return np.sqrt(sum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradients.values()))


@pytest.fixture(scope="module")
def single(made):
    """A batch, and the gradient of each of its rows."""
    batch = rows(40, seed=1, scale=3.0)
    return batch, [single_gradients(made, batch, row) for row in range(40)]


def test_sums_and_norms_are_those_of_single_gradients(network, single):
    (batch, gradients), clip = single, 0.7
    found, norms = sums(network, batch, clip)
    expected = {name: np.zeros(value.shape) for name, value in found.items()}
    lengths = [norm(own) for own in gradients]
    for own, length in zip(gradients, lengths):
        assert set(own) == set(found)
        for name, gradient in own.items():
            expected[name] += gradient * min(1.0, clip / max(length, 1e-30))
    np.testing.assert_allclose(norms, lengths, rtol=1e-5, atol=1e-7)
    assert min(lengths) < clip < max(lengths)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=2e-6, err_msg=name)


@hypothesis.settings(max_examples=20, deadline=None, derandomize=True)
@hypothesis.given(
    st.integers(0, 2**31),
    st.integers(1, 12),
    st.floats(0.01, 10.0),
    st.sampled_from([0.0, 1.0, 1e3, 1e15, 1e30, np.inf, np.nan]),
    st.sampled_from(sorted(COSTS)),
)
def test_a_row_changes_the_sum_by_at_most_the_clip(seed, count, clip, scale, cost):
    for shape in SHAPES:
        network = _NETWORKS.setdefault(shape, make(shape))
        batch = rows(count, seed)
        batch["numerical"][0] *= np.float32(scale)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(first_layer, "OPERATIONS_COST", COSTS[cost])
            whole, _ = sums(network, batch, clip)
            without, _ = sums(network, {name: value[1:] for name, value in batch.items()}, clip)
        change = norm({name: value - without[name] for name, value in whole.items()})
        # Of sums in float32, which add up to `count` rows.
        assert change <= clip * (1.0 + 1e-5 * count), (shape, change / clip)
        assert all(np.isfinite(value).all() for value in whole.values())


_NETWORKS = {}


def test_clipping_holds_where_the_square_of_a_gradient_is_no_number(network):
    """A server may send what makes a gradient so small that its square is 0, as by a logit that is
    far off, and the values beside it so large that their product is not.
    """
    before = {item.name: item.variable.read_value() for item in groups.tag(network)}
    batch, clip = rows(1, seed=5), 0.01
    batch["labels"][:] = 0
    for tower in network.towers.values():
        for layer in tower.dense:
            layer.kernel.assign(tf.zeros_like(layer.kernel))
            layer.bias.assign(tf.fill(layer.bias.shape, 3e18))
        tower.logit.kernel.assign(tf.zeros_like(tower.logit.kernel))
        tower.logit.bias.assign([-44.0])
    whole, _ = sums(network, batch, clip)
    for item in groups.tag(network):
        item.variable.assign(before[item.name])
    assert 0.0 < norm(whole) <= clip * (1.0 + 1e-5)


def test_large_numbers_are_not_summed_before_kernels_cancel_them(monkeypatch):
    """A sum of numbers times gradients is rounded by more than a row has where numbers are a
    million, which kernels of the server's choice that cancel in every row would show.
    """
    monkeypatch.setattr(first_layer, "OPERATIONS_COST", -1e30)
    random, count, width = np.random.default_rng(0), 512, 8
    layer = tf.keras.layers.Dense(3)
    layer.build([None, width])
    layer.kernel.assign(np.outer(np.ones(width), [1024.0, 1024.0, -1024.0]))
    source = per_example_sources.Projection(
        tf.Variable(tf.zeros([1, width])),
        tf.Variable(tf.zeros([width])),
        tf.constant(random.normal(0.0, 1e6, (count, 1)), tf.float32),
        np.array([True]),
    )
    # Exact in float32, as is that the third is the sum of the others.
    two = random.integers(-8, 9, (count, 2)) / 64
    upstream = tf.constant(np.concatenate([two, two.sum(1, keepdims=True)], 1), tf.float32)
    piece = per_example_first.FirstLayer.of([layer], [source], count)
    squares, sums = piece.backward(upstream)
    assert np.sqrt(squares).max() < 1.0  # Nothing is clipped at 1.
    found = {variable.ref(): value for variable, value in sums(tf.ones([count, 1]))}
    # Of the projection, whose gradient the kernel cancels in every row.
    for variable in (source.kernel, source.bias):
        np.testing.assert_array_equal(found[variable.ref()], np.zeros(variable.shape))


def test_a_batch_without_rows_comes_to_nothing(network):
    found, norms = sums(network, rows(0, seed=0), 1.0)
    assert norms.shape == (0,)
    assert all((value == 0).all() for value in found.values())


def test_what_is_absent_has_neither_gradient_nor_noise(network):
    batch = rows(30, seed=2)
    found = clipping.clipped_sums(network, tensors(batch), 1.0, ABSENT)
    other = dict(
        batch, categorical=batch["categorical"].copy(), numerical=batch["numerical"].copy()
    )
    other["categorical"][:, 0] = 0
    other["numerical"][:, 1] = np.nan
    changed = clipping.clipped_sums(network, tensors(other), 1.0, ABSENT)
    dim = network.config.embedding_dim
    assert set(FIRST_LAYER) <= {item.name for item in groups.tag(network)}
    for item in groups.tag(network):
        reference = item.variable.ref()
        if item.name == "embedding/user/embedding_user/table" or not item.variable.trainable:
            assert reference not in found.sums
            continue
        np.testing.assert_array_equal(found.sums[reference], changed.sums[reference])
        noised = clipping.noised(found, item.variable, tf.ones) - found.sums[reference]
        if item.name in FIRST_LAYER:
            np.testing.assert_array_equal(found.sums[reference][:dim], 0.0)
            np.testing.assert_array_equal(noised[:dim], 0.0)
            np.testing.assert_allclose(noised[dim : 2 * dim], 1.0, rtol=1e-6)
        elif item.name == "embedding/item/embedding_item/table":
            # Ids that no row holds get it too: else noise would tell which are held.
            np.testing.assert_allclose(noised, 1.0, rtol=1e-6)


def test_a_large_table_is_told_by_the_rows_that_were_met_and_comes_to_the_same(made, monkeypatch):
    batch = tensors(rows(30, seed=4))
    tables = [layer.table for layer in made.embeddings if layer.feature not in ABSENT]
    plain = clipping.clipped_sums(made, batch, 1.0, ABSENT)
    monkeypatch.setattr(per_example_sources, "LARGE_ELEMENTS", 1)
    found = clipping.clipped_sums(made, batch, 1.0, ABSENT)
    for table in tables:
        assert isinstance(found.sums[table.ref()], tf.IndexedSlices)
        for chosen in (None, tf.constant([0, 2], tf.int64)):
            one, other = (clipping.noised(of, table, tf.ones, chosen) for of in (plain, found))
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-7)


def test_what_sums_are_divided_by(made):
    batch = tensors(rows(20, seed=5))
    whole = clipping.clipped_sums(made, batch, 0.5, ABSENT)
    found = clipping.clipped_sums(made, batch, 0.5, ABSENT, divisor=tf.constant(8.0))
    for reference, value in whole.sums.items():
        np.testing.assert_allclose(found.sums[reference], value / 8.0, rtol=1e-5, atol=1e-8)
