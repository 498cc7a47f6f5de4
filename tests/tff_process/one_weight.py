"""The smallest model there is, and rows for it."""

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block, writer
from pfrec.models import roles

ONE = schema_lib.Schema((), (schema_lib.Numerical("x"),), (schema_lib.Task("click", "click"),))
NAME = "expert/0/shared/dense/kernel"


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


class HeadOnBody(tf.keras.Model):
    """logit = head * body * x, both 1 at first.

    Args:
      head: the role of the head; the body is an expert.
    """

    def __init__(self, head):
        super().__init__()
        self.body = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="body")
        self.head = tf.keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="head")
        roles.declare(self.body, roles.expert(0))
        roles.declare(self.head, head)

    def call(self, inputs, training=None):
        return {"click": self.head(self.body(inputs["numerical"]))[:, 0]}


def built(network):
    """The network with its variables."""
    network({"numerical": tf.zeros([1, 1])})
    return network


def make():
    """A model of one weight with its variable."""
    return built(OneWeight())


def log(path, scenarios):
    """A dataset whose rows have x = 1.

    Args:
      path: a new directory.
      scenarios: by name, how many rows each split has, and their label.
    """
    with writer.DatasetWriter(path, ONE, source_format="test", split_seed=0) as target:
        for scenario, (count, label) in scenarios.items():
            for split in ("train", "valid", "test"):
                rows = row_block.Rows(
                    np.zeros([count, 0], np.int32),
                    np.ones([count, 1], np.float32),
                    np.full([count, 1], label, np.uint8),
                )
                target.add(scenario, split, rows)
    return dataset_lib.Dataset.open(path)
