"""What a federated process is made of."""

import collections
import dataclasses
from typing import Callable

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from tff_process.algorithms import base
from tff_process.client import variables
from tff_process.client import work as work_lib


@dataclasses.dataclass(frozen=True)
class ProcessSpec:
    """What a process is made of.

    Attributes:
      algorithm: what the server does.
      layout: of the client model under the algorithm's policy.
      schema: of the rows.
      make_network: makes the client's network.
      settings: how clients train.
      initial: the model's initial values by name.
      client_count: how many clients there are.
      withhold_loss: whether clients report a loss of 0.
      measured: whether clients evaluate what they serve.
      average_over: of what a client finishes, see `averaging.part`.
    """

    algorithm: base.Algorithm
    layout: variables.ModelVariables
    schema: schema_lib.Schema
    make_network: Callable[[], tf.keras.Model]
    settings: work_lib.TrainingSettings
    initial: "collections.OrderedDict[str, np.ndarray]"
    client_count: int
    withhold_loss: bool = False
    measured: bool = True
    average_over: float = 0.0

    @property
    def tasks(self) -> "tuple[str, ...]":
        """The names of the tasks, in model order."""
        return tuple(task.name for task in self.schema.tasks)

    @property
    def counted(self) -> "list[variables.VariableSpec]":
        """The shared tables, of which clients may say how often they hold each id."""
        return [spec for spec in self.layout.specs if spec.counts_rows]
