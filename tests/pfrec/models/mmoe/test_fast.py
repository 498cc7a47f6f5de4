"""The fast form equals the plain Keras form: logits, loss, gradients, batch statistics, masks;
and repeats bit for bit.
"""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from pfrec.data import schema as schema_lib
from pfrec.models import dropout, ranker
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import fast, first_layer, fused, mmoe


def make_schema(cardinalities, numbers, tasks, lists=()):
    """Features of the given cardinalities, after them lists of at most three values."""
    return schema_lib.Schema(
        (
            *(schema_lib.Categorical(f"c{i}", c) for i, c in enumerate(cardinalities)),
            *(
                schema_lib.Categorical(f"l{i}", c, values=3, separator="|")
                for i, c in enumerate(lists)
            ),
        ),
        tuple(schema_lib.Numerical(f"n{i}") for i in range(numbers)),
        tuple(schema_lib.Task(f"t{i}", f"label{i}") for i in range(tasks)),
    )


def make_batch(schema, rows, seed=0):
    rng = np.random.default_rng(seed)
    ids = [
        rng.integers(0 if f.values == 1 else -1, f.cardinality + 1, (rows, f.values))
        for f in schema.categorical
    ]
    return {
        "categorical": tf.constant(
            np.concatenate(ids, 1) if ids else np.zeros([rows, 0]), tf.int32
        ),
        "numerical": tf.constant(rng.normal(size=(rows, len(schema.numerical))), tf.float32),
        "labels": tf.constant(rng.integers(0, 2, (rows, len(schema.tasks))), tf.uint8),
        "dropout_seed": tf.constant([3, seed], tf.int64),
    }


def make_model(schema, config):
    """A model off its initial values, where biases and task components are zero."""
    model = mmoe.build(schema, config, 1)
    for number, variable in enumerate(model.variables):
        variable.assign_add(0.1 * tf.random.stateless_uniform(variable.shape, [5, number]))
    return model


def step(model, batch, graph):
    """Loss, dense gradients by variable, moving statistics after the step,
    and logits of inference after it.
    """
    ranking = ranker.MultiTaskRanker(model, list(model.towers))

    def run():
        with tf.GradientTape() as tape:
            loss = ranking.compute_loss(batch, training=True)
        gradients = tape.gradient(loss, model.trainable_variables, unconnected_gradients="zero")
        return loss, [tf.convert_to_tensor(g) for g in gradients]

    loss, gradients = tf.function(run)() if graph else run()
    return (
        loss,
        gradients,
        [v.numpy() for v in model.non_trainable_variables],
        model(batch, training=False),
    )


def assert_equal_steps(schema, config, rows, tolerance=1e-5, graph=False):
    batch = make_batch(schema, rows)
    model = make_model(schema, config)
    start = model.get_weights()
    results = []
    for model.use_plain in (True, False):
        model.set_weights(start)
        results.append(step(model, batch, graph))
    (loss, gradients, statistics, logits), (own_loss, own_gradients, own_statistics, own_logits) = (
        results
    )
    np.testing.assert_allclose(own_loss, loss, rtol=tolerance)
    cancelled = {
        id(dense.bias)
        for block in (*model.experts, *model.towers.values())
        if block.norms
        for dense in block.dense
    }
    largest = max(float(tf.reduce_max(tf.abs(g))) for g in gradients)
    for variable, plain, own in zip(model.trainable_variables, gradients, own_gradients):
        if id(variable) in cancelled:
            # Batch normalisation takes a bias out again: the plain form's gradient is rounding,
            # ours is zero.
            np.testing.assert_allclose(plain, 0.0, atol=tolerance * largest, err_msg=variable.name)
            np.testing.assert_array_equal(own, 0.0, err_msg=variable.name)
        else:
            # What batch normalisation takes out of a variable's gradient leaves rounding of the
            # parts, hence the floor.
            scale = max(float(tf.reduce_max(tf.abs(plain))), 0.1 * largest)
            np.testing.assert_allclose(
                own / scale, plain / scale, atol=tolerance, err_msg=variable.name
            )
    for variable, plain, own in zip(model.non_trainable_variables, statistics, own_statistics):
        np.testing.assert_allclose(own, plain, rtol=tolerance, atol=1e-6, err_msg=variable.name)
    for task, plain in logits.items():
        np.testing.assert_allclose(own_logits[task], plain, rtol=tolerance, atol=2e-5)


@hypothesis.settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
    phases=(
        hypothesis.Phase.generate,
    ),  # shrinking takes minutes; the assertion names the variable
)
@hypothesis.given(
    cardinalities=st.lists(st.integers(1, 60), max_size=4),
    numbers=st.integers(0, 5),
    tasks=st.integers(1, 3),
    rows=st.integers(30, 200),
    config=st.builds(
        ModelConfig,
        embedding_dim=st.integers(1, 9),
        numeric_dim=st.integers(0, 9),
        experts=st.integers(1, 3),
        expert_units=st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
        tower_units=st.lists(st.integers(1, 9), max_size=2).map(tuple),
        dropout=st.sampled_from([0.0, 0.2, 0.5]),
        batch_norm=st.booleans(),
        tower_batch_norm=st.booleans(),
        template=st.sampled_from(["none", "additive", "hadamard"]),
        rank=st.integers(1, 3),
    ),
    operations_cost=st.sampled_from([0.0, 1e12]),
    lists=st.lists(st.integers(1, 40), max_size=2),
)
def test_a_step_equals_the_plain_form(
    cardinalities, numbers, tasks, rows, config, operations_cost, lists
):
    hypothesis.assume(cardinalities or numbers or lists)
    # Rows and widths are small: without its price every way to read a feature is taken, with it
    # none but lookup.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(first_layer, "OPERATIONS_COST", operations_cost)
        assert_equal_steps(make_schema(cardinalities, numbers, tasks, lists), config, rows)


@pytest.mark.parametrize("template", ["none", "additive", "hadamard"])
@pytest.mark.parametrize("side_by_side", [0, 1 << 20])
def test_every_way_of_reading_and_of_grouping_equals_the_plain_form(
    monkeypatch, template, side_by_side
):
    monkeypatch.setattr(first_layer, "OPERATIONS_COST", 0.0)
    monkeypatch.setattr(first_layer, "_JOINT_ELEMENTS", 200_000)
    monkeypatch.setattr(fast, "_SIDE_BY_SIDE", side_by_side)
    schema = make_schema((5, 300, 1000, 3000), 7, 3)
    config = ModelConfig(
        embedding_dim=128,
        numeric_dim=16,
        experts=2,
        expert_units=(16, 8),
        tower_units=(6,),
        dropout=0.3,
        template=template,
    )
    assert [first_layer.way(f.cardinality + 1, 128, 2 * 19, 1200) for f in schema.categorical] == [
        first_layer.PROJECT,
        first_layer.OCCURRING,
        first_layer.LOOK_UP,
        first_layer.LOOK_UP,
    ]
    # With one thread 1,200 rows are summed one after the other, which rounds by up to 3e-5.
    graph = template == "none" and side_by_side == 0
    assert_equal_steps(schema, config, 1200, tolerance=5e-5, graph=graph)


@pytest.mark.parametrize(("cost", "projected"), [(0.0, True), (1e12, False)])
def test_lists_read_either_way_equal_the_plain_form(monkeypatch, cost, projected):
    """Between single features, and alone; with every list empty in the end."""
    monkeypatch.setattr(first_layer, "OPERATIONS_COST", cost)
    assert (first_layer.way(7, 16, 100, 200, listed=True) == first_layer.PROJECT) == projected
    # Where single values would be projected row by row, lists are looked up.
    assert first_layer.way(500, 128, 4112, 2048) == first_layer.OCCURRING or cost
    assert first_layer.way(500, 128, 4112, 2048, listed=True) == first_layer.LOOK_UP
    config = ModelConfig(embedding_dim=16, experts=2, expert_units=(6,), tower_units=(3,))
    assert_equal_steps(make_schema((5, 70), 3, 2, (6, 90)), config, 200)
    assert_equal_steps(make_schema((), 0, 1, (6,)), config, 200, graph=True)


def test_the_kernel_of_a_large_numerical_part_is_multiplied_out_and_equal():
    assert first_layer.numbers_fold(4, 9)
    assert not first_layer.numbers_fold(63, 16)
    assert_equal_steps(make_schema((3,), 4, 2), ModelConfig(numeric_dim=9), 64)


def test_ways_by_hand():
    """Width 128, batch of 2048: 39 rows cost 2 * 39 + 3 * 39 * 128 / 2048 = 85, looking up 384;
    a million rows are looked up.
    """
    assert first_layer.way(39, 128, 4112, 2048) == first_layer.PROJECT
    assert first_layer.way(1_000_000, 128, 4112, 2048) == first_layer.LOOK_UP
    # 500 rows: project 1000 + 94, look up 384, occurring 384 * 500 / 2048 + 180 = 274.
    assert first_layer.way(500, 128, 4112, 2048) == first_layer.OCCURRING
    # At width 8 there is little to save: not worth the operations.
    assert first_layer.way(3, 8, 264, 256) == first_layer.LOOK_UP
    # One request of a server: nothing is multiplied out for it.
    assert first_layer.way(39, 128, 4112, 1) == first_layer.LOOK_UP


def test_expected_rows_matter_only_where_the_graph_does_not_know_them():
    known, unknown = tf.zeros([7, 2], tf.int32), tf.keras.Input([2], dtype=tf.int32)
    assert (
        first_layer.rows_of(known, True),
        first_layer.rows_of(unknown, True),
        first_layer.rows_of(unknown, False),
    ) == (
        7,
        1024,
        1,
    )
    with first_layer.expected_rows(300):
        assert (first_layer.rows_of(known, True), first_layer.rows_of(unknown, False)) == (7, 300)
    assert first_layer.rows_of(unknown, False) == 1


@pytest.mark.parametrize("wrong", [-1, 6])
@pytest.mark.parametrize("cost", [0.0, 1e12])
def test_an_id_outside_its_table_is_an_error_not_another_features_row(monkeypatch, wrong, cost):
    monkeypatch.setattr(first_layer, "OPERATIONS_COST", cost)
    features = [
        first_layer.Feature(tf.Variable(tf.ones([6, 4])), slice(place, place + 1))
        for place in range(2)
    ]
    ids = [[0, wrong]] if wrong > 0 else [[wrong, 0]]
    with pytest.raises(tf.errors.InvalidArgumentError, match="outside its feature's table"):
        first_layer.FirstLayer(features, tf.constant(ids), None, 100, 100)


@pytest.mark.parametrize(
    ("ids", "fine"),
    [([0, -1, 5], True), ([-1, 0, 0], False), ([0, -2, 0], False), ([0, 0, 6], False)],
)
def test_only_a_list_may_lack_a_value(ids, fine):
    table = tf.Variable(tf.ones([6, 4]))
    features = [first_layer.Feature(table, place) for place in (slice(0, 1), slice(1, 3))]
    if fine:
        first_layer.FirstLayer(features, tf.constant([ids]), None, 100, 100)
        return
    with pytest.raises(tf.errors.InvalidArgumentError, match="outside its feature's table"):
        first_layer.FirstLayer(features, tf.constant([ids]), None, 100, 100)


def test_fused_layer_by_hand():
    """Two rows 0 and 2: normalised -1 and 1 (epsilon 0), gamma 3, beta 1: -2 and 4, ReLU 0 and 4;
    the kernel's bias 5 shifts the mean alone.
    """
    norm = tf.keras.layers.BatchNormalization(momentum=0.9, epsilon=0.0)
    norm.build([None, 1])
    norm.gamma.assign([3.0])
    norm.beta.assign([1.0])
    y = fused.activate(tf.constant([[0.0], [2.0]]), [tf.Variable([5.0])], [norm], None, 0.0, True)
    np.testing.assert_allclose(y, [[0.0], [4.0]], rtol=1e-6)
    np.testing.assert_allclose(norm.moving_mean, [0.1 * (1 + 5)], rtol=1e-6)
    # The variance of the two rows is 1 (divided by rows, as Keras does), the moving one starts
    # at 1.
    np.testing.assert_allclose(norm.moving_variance, [1.0], rtol=1e-6)


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_a_mask_drops_at_its_rate(rate):
    seeds = [tf.constant([7, step], tf.int64) for step in range(40)]
    dropped = np.mean(
        [1.0 - dropout.keep_mask(seed, 3, 100, 50, rate).numpy().mean() for seed in seeds]
    )
    assert abs(dropped - rate) < 4 * np.sqrt(rate * (1 - rate) / (40 * 100 * 50)) + 1e-3


def test_the_threshold_of_a_mask_is_drawn_so_that_its_mean_is_the_rate():
    """0.2 of 256 is 51.2: a fifth of the masks drop bytes below 52, the others below 51."""
    drawn = [
        dropout.keep_mask(tf.constant([1, step], tf.int64), 3, 1000, 40, 0.2).numpy().mean()
        < 1 - 51.5 / 256
        for step in range(200)
    ]
    # A mask of 40,000 values tells 51 from 52 at two standard deviations only, so the share is
    # blurred.
    assert 0.1 < np.mean(drawn) < 0.4


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(),
        ModelConfig(dropout=0.2, template="additive", embedding_dim=64, numeric_dim=64),
    ],
)
def test_equal_seeds_give_equal_bits(config):
    """Eight steps, twice, with several threads: no sum depends on who came first."""
    schema = make_schema((2, 38, 400, 3000), 20, 2)
    results = []
    for _ in range(2):
        model = mmoe.build(schema, config, 4)
        ranking = ranker.MultiTaskRanker(model, ["t0", "t1"])
        optimizer = tf.keras.optimizers.legacy.Adam(1e-2)

        @tf.function
        def train(batch, model=model, ranking=ranking, optimizer=optimizer):
            with tf.GradientTape() as tape:
                loss = ranking.compute_loss(batch, training=True)
            optimizer.apply_gradients(
                zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
            )
            return loss

        losses = [float(train(make_batch(schema, 1500, seed))) for seed in range(8)]
        assert losses[-1] < losses[0]
        results.append(model.get_weights())
    for first, second in zip(*results):
        np.testing.assert_array_equal(first, second)
