"""The parameter template: a dense layer split into a scenario component and low-rank task
components.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from pfrec.models import roles

COMPOSITIONS = ("none", "additive", "hadamard")


@tf.keras.utils.register_keras_serializable("pfrec")
class LowRank(tf.keras.layers.Layer):
    """The factors A [inputs, rank] and B [rank, units] of one task component; B starts at zero,
    so their product does.
    """

    def __init__(self, inputs: int, units: int, rank: int, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inputs, self.units, self.rank, self.seed = inputs, units, rank, seed

    def build(self, input_shape: Any) -> None:
        self.a = self.add_weight(
            "a",
            [self.inputs, self.rank],
            initializer=tf.keras.initializers.GlorotUniform(seed=self.seed),
        )
        self.b = self.add_weight("b", [self.rank, self.units], initializer="zeros")
        super().build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(tf.matmul(x, self.a), self.b)

    def product(self) -> tf.Tensor:
        """A @ B, float32 [inputs, units]."""
        return tf.matmul(self.a, self.b)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "inputs": self.inputs,
            "units": self.units,
            "rank": self.rank,
            "seed": self.seed,
        }


@tf.keras.utils.register_keras_serializable("pfrec")
class TemplateDense(tf.keras.layers.Layer):
    """A dense layer of an expert whose kernel has a shared scenario component and private task
    components.

    Formula, for task t: `y[t] = x[t] @ W[t] + b` with `W[t] = S` (composition `none`), `S + A[t] @
    B[t]` (`additive`) or `S * (1 + A[t] @ B[t])` (`hadamard`, element by element, as STAR). S and b
    are the scenario component; A and B belong to the task.

    Args:
      units: the width of the output.
      expert: the expert's number.
      tasks: names of the tasks, in model order.
      composition: `none`, `additive` or `hadamard`.
      rank: of the task components; unused with `none`.
      seed: of the initial values.

    Call arguments:
      x: float32 [tasks or 1, rows, inputs].

    Returns:
      float32 [tasks, rows, units], or [1, rows, units] with composition `none`.

    References:
      Ding et al., arXiv 2406.18938 (decoupled expert parameters); Sheng et al., CIKM 2021 (STAR).
    """

    def __init__(
        self,
        units: int,
        expert: int,
        tasks: Sequence[str],
        composition: str = "none",
        rank: int = 0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if composition not in COMPOSITIONS:
            raise ValueError(f"composition {composition!r} is not one of {', '.join(COMPOSITIONS)}")
        self.units, self.expert, self.tasks = units, expert, list(tasks)
        self.composition, self.rank, self.seed = composition, rank, seed
        roles.declare(self, roles.expert(expert))
        self.task_components: list[LowRank] = []

    def build(self, input_shape: Any) -> None:
        inputs = int(input_shape[-1])
        self.kernel = self.add_weight(
            "kernel",
            [inputs, self.units],
            initializer=tf.keras.initializers.GlorotUniform(seed=self.seed),
        )
        self.bias = self.add_weight("bias", [self.units], initializer="zeros")
        if self.composition != "none":
            for number, task in enumerate(self.tasks):
                component = LowRank(
                    inputs, self.units, self.rank, self.seed + 1 + number, name=f"task_{task}"
                )
                roles.declare(component, roles.expert_task(self.expert, task))
                # A scope of its own: in a graph, a second weight of the same name in one scope is
                # renamed, and `groups.tag` goes by its name.
                with tf.name_scope(component.name):
                    component.build(input_shape)
                self.task_components.append(component)
        super().build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        if self.composition == "none":
            return tf.matmul(x, self.kernel) + self.bias
        per_task = tf.unstack(
            tf.broadcast_to(x, tf.concat([[len(self.tasks)], tf.shape(x)[1:]], 0)), len(self.tasks)
        )
        if self.composition == "additive":
            shared = tf.matmul(x, self.kernel)
            own = tf.stack(
                [component(rows) for component, rows in zip(self.task_components, per_task)]
            )
            return shared + own + self.bias
        kernels = [self.kernel * (1.0 + component.product()) for component in self.task_components]
        return (
            tf.stack([tf.matmul(rows, kernel) for rows, kernel in zip(per_task, kernels)])
            + self.bias
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "units": self.units,
            "expert": self.expert,
            "tasks": self.tasks,
            "composition": self.composition,
            "rank": self.rank,
            "seed": self.seed,
        }
