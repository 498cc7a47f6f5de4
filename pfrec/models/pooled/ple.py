"""PLE: in each level tasks have experts of their own beside shared ones,
and a gate of each task chooses between both.

References:
  Tang et al., "Progressive Layered Extraction (PLE): A Novel Multi-Task Learning (MTL) Model for
  Personalized Recommendations", RecSys 2020.
"""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from pfrec.models.mmoe import layers
from pfrec.models.pooled import base as pooled

SHARED = "shared-by-all"  # stands among the tasks' names


@tf.keras.utils.register_keras_serializable("pfrec")
class PLE(pooled.PooledModel):
    """Levels of customised gate control.

    Formula, in a level, for task t with input x[t] and shared input s: `x'[t] = sum over the
    experts of t on x[t] and the shared ones on s of gate[t](x[t]) * expert`; for the level after it
    also `s' = sum over all experts of gate(s) * expert`. All start at the features, and `logit[t] =
    tower[t](x[t])` after the last level.

    By default a level has as many experts as the MMoE: one for each task, the rest shared (at least
    one).

    Args:
      levels: how many.
      own: experts of each task in a level.
      shared: shared experts of a level; None for what the configuration leaves.
      Others, call arguments and result: see `pooled.PooledModel`.
    """

    def __init__(
        self, *args: Any, levels: int = 2, own: int = 1, shared: Optional[int] = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.levels, self.own, self.shared = levels, own, shared
        common = max(1, self.config.experts - own * len(self.tasks)) if shared is None else shared
        counts = {**dict.fromkeys(self.tasks, own), SHARED: common}
        if not common and not own:
            raise ValueError("a level without experts")
        index = 0
        self.experts: list[dict[str, list[layers.Expert]]] = []
        self.gates: list[dict[str, layers.Gate]] = []
        for level in range(levels):
            here: dict[str, list[layers.Expert]] = {}
            for owner, count in counts.items():
                here[owner] = []
                for number in range(count):
                    here[owner].append(
                        self.block(
                            index, self.config.expert_units, f"level_{level}_{owner}_{number}"
                        )
                    )
                    index += 1
            self.experts.append(here)
            gates = {
                task: layers.Gate(
                    task, own + common, self.next_seed(), name=f"level_{level}_gate_{task}"
                )
                for task in self.tasks
            }
            if level + 1 < levels:
                total = own * len(self.tasks) + common
                gates[SHARED] = layers.Gate(
                    SHARED, total, self.next_seed(), name=f"level_{level}_gate_{SHARED}_all"
                )
            self.gates.append(gates)
        self.towers = {task: self.tower(task) for task in self.tasks}

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        features = self.features(inputs, training)
        x = dict.fromkeys((*self.tasks, SHARED), features)
        for experts, gates in zip(self.experts, self.gates):
            out = {
                owner: [pooled.hidden(e, x[owner], inputs, training) for e in own]
                for owner, own in experts.items()
            }
            below = x
            x = {
                owner: _mixed(
                    gate(below[owner]),
                    out[owner] + out[SHARED]
                    if owner != SHARED
                    else [e for own in out.values() for e in own],
                )
                for owner, gate in gates.items()
            }
        seed = inputs.get("dropout_seed")
        return {
            task: tower(x[task], dropout_seed=seed, training=training)
            for task, tower in self.towers.items()
        }

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "levels": self.levels,
            "own": self.own,
            "shared": self.shared,
        }


def _mixed(weights: tf.Tensor, outputs: "list[tf.Tensor]") -> tf.Tensor:
    return tf.einsum("bm,mbu->bu", weights, tf.stack(outputs))
