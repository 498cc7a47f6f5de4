"""A client of an algorithm without TFF: a round of a single weight, or some of a small MMoE."""

import numpy as np
import tensorflow as tf

from pfrec import groups
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tests.tff_process import one_weight as one_weight_lib
from tff_process.client import variables
from tff_process.client import work as work_lib

SMALL = ModelConfig(
    embedding_dim=2, numeric_dim=2, experts=2, expert_units=(3,), tower_units=(2,), dropout=0.1
)


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def work_of(dataset, scenario, steps, first=0):
    numbers = {"seed": 1, "first_step": first, "steps": steps, "epoch_steps": steps}
    return {
        "shards": tf.constant(dataset.shards(scenario, "train")),
        **{k: tf.constant(v, tf.int64) for k, v in numbers.items()},
    }


class Client:
    """A client of an algorithm, traced once for all rounds,
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
        self.rounds, self._train = 0, tf.function(self._trained)

    def _trained(self, incoming, private, work):
        inputs = work_lib.ClientInputs(self.layout, self.settings, incoming, {}, private, work)
        done = self.algorithm.client.train(self.model, inputs)
        return done.private, done.upload, done.examples, done.loss

    def round(self, incoming):
        # A round starts from what it is given, whatever another one left in the model.
        for variable in (*self.model.variables.values(), *self.model.slots.values()):
            variable.assign(tf.fill(variable.shape, 7.0))
        work = work_of(self._dataset, self._scenario, self._steps, self.rounds * self._steps)
        done = work_lib.ClientRound(*self._train(incoming, self.private, work))
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
        done = self.round({one_weight_lib.NAME: tf.constant([[received]])})
        return float(done.upload[one_weight_lib.NAME]), {
            name: np.asarray(value).item() for name, value in done.private.items()
        }


def one_weight(algorithm, dataset):
    """A client of the model of one weight."""
    return Client(algorithm, dataset, "a", one_weight_lib.make, 1, 0.1, 3)


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


def assert_equal(found, expected, what):
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=f"{what} {name}")
