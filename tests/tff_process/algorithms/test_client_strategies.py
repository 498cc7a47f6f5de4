"""What clients do in the baselines that change it: one step of a single weight by hand, and
degenerate hyperparameters against FedAvg and local training.
"""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import groups
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block, writer
from pfrec.models import roles
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan
from tff_process.algorithms import (
    apfl,
    ditto,
    fedala,
    fedavg,
    fedavg_finetune,
    fedbabu,
    fedrep,
    local,
    mr_mtl,
    pfedme,
)
from tff_process.client import variables
from tff_process.client import work as work_lib

ONE = schema_lib.Schema((), (schema_lib.Numerical("x"),), (schema_lib.Task("click", "click"),))
NAME = "expert/0/shared/dense/kernel"
SMALL = ModelConfig(
    embedding_dim=2, numeric_dim=2, experts=2, expert_units=(3,), tower_units=(2,), dropout=0.1
)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


class OneWeight(tf.keras.Model):
    """logit = w * x, with w = 1 at first."""

    def __init__(self):
        super().__init__()
        self.dense = tf.keras.layers.Dense(
            1, use_bias=False, kernel_initializer="ones", name="dense"
        )
        roles.declare(self.dense, roles.expert(0))

    def call(self, inputs, training=None):
        return {"click": self.dense(inputs["numerical"])[:, 0]}


def make_one():
    made = OneWeight()
    made({"numerical": tf.zeros([1, 1])})
    return made


@pytest.fixture(scope="module")
def one_batch(tmp_path_factory):
    """One client of one batch: three rows of x = 1 with label 1,
    so the gradient at w is sigmoid(w) - 1.
    """
    path = tmp_path_factory.mktemp("data") / "one"
    with writer.DatasetWriter(path, ONE, source_format="test", split_seed=0) as target:
        for split in ("train", "valid", "test"):
            rows = row_block.Rows(
                np.zeros([3, 0], np.int32), np.ones([3, 1], np.float32), np.ones([3, 1], np.uint8)
            )
            target.add("a", split, rows)
    return dataset_lib.Dataset.open(path)


def work_of(dataset, scenario, steps, first=0):
    numbers = {"seed": 1, "first_step": first, "steps": steps, "epoch_steps": steps}
    return {
        "shards": tf.constant(dataset.shards(scenario, "train")),
        **{k: tf.constant(v, tf.int64) for k, v in numbers.items()},
    }


class Client:
    """A client of an algorithm, called eagerly,
    that carries its private state from round to round as the process does.
    """

    def __init__(
        self, algorithm, dataset, scenario, make_network, steps, learning_rate, batch_size
    ):
        self.algorithm, self._dataset, self._scenario, self._steps = (
            algorithm,
            dataset,
            scenario,
            steps,
        )
        self.layout = variables.of(
            groups.tag(make_network()), algorithm.policy, algorithm.personal_kinds
        )
        self.settings = work_lib.TrainingSettings(batch_size, algorithm.proximal, algorithm.anchor)
        self.model = work_lib.ClientModel(
            make_network, dataset.schema, learning_rate, algorithm.client.optimizers(self.layout)
        )
        self.initial = {name: tf.constant(v.numpy()) for name, v in self.model.variables.items()}
        self.private = dict(self.model.private_state(self.layout))
        for item in algorithm.client.kept(self.layout):
            first = (
                self.initial[item.copy_of] if item.copy_of else tf.fill(item.shape, item.initial)
            )
            self.private.setdefault(item.name, first)
        self.rounds = 0

    def round(self, incoming):
        work = work_of(self._dataset, self._scenario, self._steps, self.rounds * self._steps)
        inputs = work_lib.ClientInputs(self.layout, self.settings, incoming, {}, self.private, work)
        done = self.algorithm.client.train(self.model, inputs)
        assert set(done.private) == set(self.private)
        self.private, self.rounds = done.private, self.rounds + 1
        return done

    def one(self, received, **private):
        """A round of the single weight."""
        self.private.update(
            {
                name: tf.fill(self.private[name].shape, float(value))
                for name, value in private.items()
            }
        )
        done = self.round({NAME: tf.constant([[received]])})
        return float(done.upload[NAME]), {
            name: np.asarray(value).item() for name, value in done.private.items()
        }


def one_weight(algorithm, dataset):
    return Client(algorithm, dataset, "a", make_one, 1, 0.1, 3)


def test_ditto_by_hand(one_batch):
    """Adam's first step is the learning rate.

    At v = 2 the pull 10 * (2 - 1) outweighs the gradient sigmoid(2) - 1, without it v goes up.
    """
    upload, kept = one_weight(ditto.ditto(ONE, ditto.Settings(10.0)), one_batch).one(
        1.0, **{NAME: 2.0}
    )
    assert upload == pytest.approx(1.1, rel=1e-5)
    assert kept[NAME] == pytest.approx(1.9, rel=1e-5)
    assert kept["optimizer/personal/0000"] == pytest.approx(0.1 * (sigmoid(2) - 1 + 10), rel=1e-5)
    _, free = one_weight(ditto.ditto(ONE, ditto.Settings(0.0)), one_batch).one(1.0, **{NAME: 2.0})
    assert free[NAME] == pytest.approx(2.1, rel=1e-5)


def test_pfedme_by_hand(one_batch):
    """theta goes from the received 1.0 to 1.1, whatever it was before;
    w follows by 0.075 of that.
    """
    settings = pfedme.Settings(weight=15.0, steps=1, outer=0.075)
    upload, kept = one_weight(pfedme.pfedme(ONE, settings), one_batch).one(1.0, **{NAME: 3.0})
    assert kept[NAME] == pytest.approx(1.1, rel=1e-5)
    assert upload == pytest.approx(1.0075, rel=1e-5)


def test_pfedme_pulls_theta_to_w_from_the_second_step_on(one_batch):
    """m after two steps is 0.9 * 0.1 * g(1) + 0.1 * (g(1.1) + 15 * 0.1),
    with g(w) = sigmoid(w) - 1.
    """
    _, kept = one_weight(pfedme.pfedme(ONE, pfedme.Settings(15.0, 2)), one_batch).one(1.0)
    expected = 0.09 * (sigmoid(1) - 1) + 0.1 * (sigmoid(1.1) - 1 + 15 * 0.1)
    assert kept["optimizer/0000"] == pytest.approx(expected, rel=1e-4)


def test_apfl_by_hand(one_batch):
    """w and v go from 1 to 1.1 and from 2 to 2.1; at m = 0.5 * 2 + 0.5 * 1.1,
    alpha loses 0.1 * (2 - 1.1) * (sigmoid(m) - 1).
    """
    upload, kept = one_weight(apfl.apfl(ONE, apfl.Settings(0.5, 0.1)), one_batch).one(
        1.0, **{f"local/{NAME}": 2.0}
    )
    alpha = 0.5 - 0.1 * 0.9 * (sigmoid(1.55) - 1)
    assert upload == pytest.approx(1.1, rel=1e-5)
    assert kept[f"local/{NAME}"] == pytest.approx(2.1, rel=1e-5)
    assert kept["alpha"] == pytest.approx(alpha, rel=1e-4)
    assert kept[NAME] == pytest.approx(alpha * 2.1 + (1 - alpha) * 1.1, rel=1e-5)
    assert kept["optimizer/local/0000"] == pytest.approx(0.1 * 0.5 * (sigmoid(1.55) - 1), rel=1e-5)


def test_fedala_by_hand(one_batch):
    """Own 2, received 1: at W = 1 the merge is 1, so W loses (sigmoid(1) - 1) * (1 - 2); the merge
    is then 2 - W, and training adds 0.1.
    """
    settings = fedala.Settings(kinds=("expert",))
    upload, kept = one_weight(fedala.fedala(ONE, settings), one_batch).one(1.0, **{NAME: 2.0})
    weight = 1 + (sigmoid(1) - 1)
    assert kept[f"merge/{NAME}"] == pytest.approx(weight, rel=1e-5)
    assert upload == pytest.approx(2 - weight + 0.1, rel=1e-5)
    assert kept[NAME] == upload


ROUNDS, STEPS = 2, 3


def trajectory(algorithm, dataset, incoming):
    """The uploads and private states of some rounds of a small MMoE,
    each of which receives given values of what is shared.
    """
    client = Client(
        algorithm, dataset, "nl", lambda: mmoe.build(dataset.schema, SMALL, 0), STEPS, 1e-2, 50
    )
    return client, [
        client.round({s.name: incoming(client, s.name, r) for s in client.layout.uploaded})
        for r in range(ROUNDS)
    ]


def shifted(client, name, number):
    """What the others made of it: other values in each round."""
    return client.initial[name] + 0.01 * number


@pytest.fixture(scope="module")
def fedavg_rounds(dataset):
    return trajectory(fedavg.fedavg(dataset.schema), dataset, shifted)[1]


@pytest.fixture(scope="module")
def local_rounds(dataset):
    return trajectory(local.local(dataset.schema), dataset, shifted)[1]


def assert_equal(found, expected, what):
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{what} {name}")


@pytest.mark.parametrize(
    "make",
    [
        lambda s: apfl.apfl(s, apfl.Settings(0.0, 0.0)),
        lambda s: pfedme.pfedme(s, pfedme.Settings(0.0, 1, 1.0, 1.0)),
        lambda s: fedala.fedala(s, fedala.Settings(kinds=())),
        fedavg_finetune.fedavg_finetune,
    ],
    ids=["apfl", "pfedme", "fedala", "fedavg_finetune"],
)
def test_what_is_uploaded_is_fedavgs_with_degenerate_hyperparameters(make, dataset, fedavg_rounds):
    client, rounds = trajectory(make(dataset.schema), dataset, shifted)
    for own, expected in zip(rounds, fedavg_rounds):
        assert_equal(own.upload, expected.upload, "upload")
        np.testing.assert_array_equal(own.loss, expected.loss)
    # The personal model is the client's trained copy, private tables included; a mixture's batch
    # statistics are its own.
    kept = {
        spec.name
        for spec in client.layout.specs
        if spec.trainable or client.algorithm.name != "apfl"
    }
    personal = {**fedavg_rounds[-1].private, **rounds[-1].upload}
    assert_equal(
        rounds[-1].private,
        {name: value for name, value in personal.items() if name in kept},
        "personal",
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda s: ditto.ditto(s, ditto.Settings(0.0)),
        lambda s: apfl.apfl(s, apfl.Settings(1.0, 0.0)),
    ],
    ids=["ditto", "apfl"],
)
def test_the_personal_model_is_that_of_local_training_with_degenerate_hyperparameters(
    make, dataset, local_rounds, fedavg_rounds
):
    client, rounds = trajectory(make(dataset.schema), dataset, shifted)
    for own, alone, averaged in zip(rounds, local_rounds, fedavg_rounds):
        assert_equal(
            own.private, {n: v for n, v in alone.private.items() if n in client.initial}, "personal"
        )
        # Whatever becomes of the personal model, the global one is trained as FedAvg's.
        assert_equal(own.upload, averaged.upload, "upload")


class HeadAndBody(tf.keras.Model):
    """logit = gate * expert * x: a body that FedRep shares and a head that it does not."""

    def __init__(self):
        super().__init__()
        self.body = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="body")
        self.head = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="head")
        roles.declare(self.body, roles.expert(0))
        roles.declare(self.head, roles.gate("click"))

    def call(self, inputs, training=None):
        return {"click": self.head(self.body(inputs["numerical"]))[:, 0]}


def test_fedrep_by_hand(one_batch):
    """The head first, by 0.1 a pass with the body at 1,
    then the body with the head where it came to; each by its own Adam.
    """

    def make():
        made = HeadAndBody()
        made({"numerical": tf.zeros([1, 1])})
        return made

    head, body = "gate/click/head/kernel", "expert/0/shared/body/kernel"
    client = Client(fedrep.fedrep(ONE, fedrep.Settings(1)), one_batch, "a", make, 1, 0.1, 3)
    done = client.round({body: tf.constant([[1.0]])})
    assert float(done.private[head]) == pytest.approx(1.1, rel=1e-5)
    assert float(done.upload[body]) == pytest.approx(1.1, rel=1e-5)
    # m = 0.1 * gradient: of the head at (1, 1), of the body at (1, 1.1).
    assert float(done.private["optimizer/head/0000"]) == pytest.approx(
        0.1 * (sigmoid(1.0) - 1), rel=1e-5
    )
    assert float(done.private["optimizer/body/0000"]) == pytest.approx(
        0.1 * 1.1 * (sigmoid(1.1) - 1), rel=1e-4
    )
    still = Client(fedrep.fedrep(ONE, fedrep.Settings(0)), one_batch, "a", make, 1, 0.1, 3).round(
        {body: tf.constant([[1.0]])}
    )
    assert float(still.private[head]) == 1.0
    assert float(still.private["optimizer/body/0000"]) == pytest.approx(
        0.1 * (sigmoid(1.0) - 1), rel=1e-5
    )


def test_fedbabu_by_hand(one_batch):
    """The body by 0.1 under a head that stays 1, then the client's own head under that body; in
    the second round the body meets the first head again, not the client's own.
    """

    def make():
        made = HeadAndBody()
        made({"numerical": tf.zeros([1, 1])})
        return made

    head, body = "gate/click/head/kernel", "expert/0/shared/body/kernel"
    client = Client(fedbabu.fedbabu(ONE, fedbabu.Settings(1)), one_batch, "a", make, 1, 0.1, 3)
    done = client.round({body: tf.constant([[1.0]])})
    assert float(done.upload[body]) == pytest.approx(1.1, rel=1e-5)
    assert float(done.private[head]) == pytest.approx(1.1, rel=1e-5)
    assert float(done.private[f"fixed/{head}"]) == 1.0
    first = 0.1 * (sigmoid(1.0) - 1.0)
    assert float(done.private["optimizer/body/0000"]) == pytest.approx(first, rel=1e-5)
    # Of the head, at a body of 1.1.
    assert float(done.private["optimizer/head/0000"]) == pytest.approx(
        0.1 * 1.1 * (sigmoid(1.1) - 1.0), rel=1e-4
    )
    done = client.round({body: tf.constant([[1.1]])})
    second = 0.9 * first + 0.1 * (sigmoid(1.1) - 1.0)
    assert float(done.private["optimizer/body/0000"]) == pytest.approx(second, rel=1e-5)
    still = Client(fedbabu.fedbabu(ONE, fedbabu.Settings(0)), one_batch, "a", make, 1, 0.1, 3)
    assert float(still.round({body: tf.constant([[1.0]])}).private[head]) == 1.0


def test_mr_mtl_by_hand(one_batch):
    """From its own 1, pulled by a half towards a mean of 3: the gradient is
    sigmoid(1) - 1 + (1 - 3) / 2.
    """
    client = Client(mr_mtl.mr_mtl(ONE, mr_mtl.Settings(0.5)), one_batch, "a", make_one, 1, 0.1, 3)
    done = client.round({NAME: tf.constant([[3.0]])})
    assert float(done.private["optimizer/0000"]) == pytest.approx(
        0.1 * (sigmoid(1.0) - 2.0), rel=1e-5
    )
    assert float(done.upload[NAME]) == pytest.approx(1.1, rel=1e-5)
    assert float(done.private[NAME]) == float(done.upload[NAME])


def test_mr_mtl_without_a_pull_is_local_training(dataset, local_rounds):
    client, rounds = trajectory(
        mr_mtl.mr_mtl(dataset.schema, mr_mtl.Settings(0.0)), dataset, shifted
    )
    for own, alone in zip(rounds, local_rounds):
        expected = {n: v for n, v in alone.private.items() if n in client.initial}
        assert_equal(own.private, expected, "personal")


def test_hyperparameters_out_of_range_are_one_clear_error():
    from pfrec import errors
    from tff_process.algorithms import fedamp, fedhca2, server_optimizer

    for make in (
        lambda: ditto.Settings(-1.0),
        lambda: pfedme.Settings(steps=0),
        lambda: apfl.Settings(alpha=1.1),
        lambda: fedala.Settings(kinds=("tables",)),
        lambda: fedrep.Settings(-1),
        lambda: fedbabu.Settings(-1),
        lambda: mr_mtl.Settings(-1.0),
        lambda: fedamp.Settings(alpha=2.0),
        lambda: fedhca2.Settings(radius=1.0),
        lambda: server_optimizer.Settings(tau=0.0),
    ):
        with pytest.raises(errors.PfrecError):
            make()


def test_a_plan_with_an_algorithms_settings_survives_json():
    import json

    for made in (
        plan.Plan("ditto", settings=ditto.Settings(0.3)),
        plan.Plan("fedala", settings=fedala.Settings(("gate", "tower"))),
    ):
        assert plan.Plan.from_json(json.loads(json.dumps(made.to_json()))) == made
