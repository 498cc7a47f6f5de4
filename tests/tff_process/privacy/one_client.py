"""One client of an algorithm under differential privacy."""

import copy

import numpy as np
import tensorflow as tf

from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.client import work as work_lib
from tff_process.process import federation

SHAPE = ModelConfig(embedding_dim=3, numeric_dim=2, experts=2, expert_units=(4,), tower_units=(3,))
SECRET = np.array([5, 17], np.int64)
ITEM = "embedding/item/embedding_item/table"
USER = "embedding/user/embedding_user/table"


class Client:
    """One client of an algorithm, whose work is traced once."""

    def __init__(self, algorithm, dataset, **settings):
        self.dataset = dataset
        plan = plan_lib.Plan(
            algorithm,
            rounds=4,
            aggregations=1,
            batch_size=50,
            dp_epsilon=4.0,
            model=SHAPE,
            **{"home_rate": 0.05, **settings},
        )
        self.made = federation.Federation(plan, dataset)
        self.layout, self.strategy = self.made.layout, self.made.algorithm.client
        self.model = work_lib.ClientModel(
            lambda: mmoe.build(dataset.schema, plan.model, 0),
            dataset.schema,
            0.05,
            self.strategy.optimizers(self.layout),
        )
        initial = self.made._initial
        self.settings, self.consensus = work_lib.TrainingSettings(50), {}
        self._graphs = {}
        self.incoming = {spec.name: initial[spec.name] for spec in self.layout.uploaded}
        self.private = {
            **{s.name: initial[s.name] for s in self.layout.joined("private")},
            **{item.name: initial[item.name] for item in self.strategy.kept(self.layout)},
            **{name: np.zeros(slot.shape, np.float32) for name, slot in self.model.slots.items()},
        }

    def train(
        self, *, incoming=None, private=None, secret=SECRET, scenario="nl", own=(), **numbers
    ):
        """An aggregation step; with `home_steps` the training at home after it."""
        told = {"seed": 1, "first_step": 0, "steps": 2, "epoch_steps": 6, "home_steps": 0}
        work = {
            "shards": tf.constant(self.dataset.shards(scenario, "train")),
            "valid_shards": tf.constant(self.dataset.shards(scenario, "valid")),
            "learning_rate": tf.constant(0.05),
            "serves": tf.ones([len(self.dataset.schema.tasks)]),
            **{k: tf.constant(v, tf.int64) for k, v in {**told, **numbers}.items()},
            **self.strategy.own_work(tf.constant(0), tf.constant(secret)),
            **dict(own),
        }
        given = [
            {name: tf.constant(value) for name, value in values.items()}
            for values in (incoming or self.incoming, private or self.private)
        ]
        upload, state, said = self._called(self._train, *given, work)
        if numbers.get("home_steps"):
            state = {**state, **self._called(self._train_at_home, state, work)}
        return (
            {name: value.numpy() for name, value in upload.items()},
            {name: value.numpy() for name, value in state.items()},
            {name: float(value) for name, value in said.items()},
        )

    def _called(self, function, *given):
        """A function's result, which is traced once whatever the values and however many files: as
        a client's is.
        """
        if tf.config.functions_run_eagerly():
            return function(*given)
        types = tf.nest.map_structure(_type, given)
        key = function.__name__, str(types)
        if key not in self._graphs:
            self._graphs[key] = tf.function(function).get_concrete_function(*types)
        return self._graphs[key](*given)

    def traced_anew_at_home(self):
        """The same client, whose training at home is traced anew, of functions that a test
        replaced.
        """
        other = copy.copy(self)
        other._graphs = {key: of for key, of in self._graphs.items() if key[0] == "_train"}
        return other

    def _train(self, incoming, private, work):
        inputs = work_lib.ClientInputs(
            self.layout, self.settings, incoming, self.consensus, private, work
        )
        done = self.strategy.train(self.model, inputs)
        return done.upload, done.private, {"examples": done.examples, "loss": done.loss}

    def _train_at_home(self, private, work):
        return self.strategy.train_at_home(self.model, self.settings, private, work)


def _type(value):
    return tf.TensorSpec([None] if value.dtype == tf.string else value.shape, value.dtype)
