"""HMoE: every scenario scores every row, and a row's score is a mixture of all of them.

References:
  Li et al., "Improving Multi-Scenario Learning to Rank in E-commerce by Exploiting Task
  Relationships in the Label Space", CIKM 2020.
"""

from collections.abc import Mapping
from typing import Any, Optional

import tensorflow as tf

from pfrec.models.mmoe import layers
from pfrec.models.pooled import base as pooled


@tf.keras.utils.register_keras_serializable("pfrec")
class HMoE(pooled.PooledModel):
    """Experts that all share, a gate and a tower for each scenario and task, and above them a gate
    of each task over the scenarios' scores.

    Formula, for a row of domain d and task t: `z[s] = tower[s, t](sum over experts m of gate[s,
    t](x)[m] * expert[m](x))` and `logit[t] = sum over s of mix[t](x, embedding of d)[s] * z[s]`,
    where the row trains z[d] alone: what other scenarios say of it is used as it is.

    The experts are the MMoE's; towers and gates of each scenario come on top, as is the method's
    nature. With one scenario this is the MMoE.

    Args, call arguments and result: see `pooled.PooledModel`.
    """

    own_parts = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config = self.config
        self.experts = [
            self.block(m, config.expert_units, f"expert_{m}") for m in range(config.experts)
        ]
        self.gates = [
            {
                task: layers.Gate(
                    task, config.experts, self.next_seed(), name=f"scenario_{s}_gate_{task}"
                )
                for task in self.tasks
            }
            for s in range(self.scenarios)
        ]
        self.towers = [
            {
                task: layers.Tower(
                    task,
                    config.tower_units,
                    s * len(self.tasks) + t,
                    config.normalised_towers,
                    config.dropout,
                    self.next_seed(),
                    name=f"scenario_{s}_tower_{task}",
                )
                for t, task in enumerate(self.tasks)
            }
            for s in range(self.scenarios)
        ]
        self.domain = pooled.scenario_embedding(self)
        self.mixes = {
            task: layers.Gate(task, self.scenarios, self.next_seed(), name=f"mix_{task}")
            for task in self.tasks
        }

    def call(
        self, inputs: Mapping[str, tf.Tensor], training: Optional[bool] = None
    ) -> dict[str, tf.Tensor]:
        x, domain = self.features(inputs, training), inputs[pooled.SCENARIO]
        hidden = tf.stack([pooled.hidden(e, x, inputs, training) for e in self.experts], axis=1)
        beside = tf.concat([x, self.domain(domain)], axis=1)
        own = tf.one_hot(domain, self.scenarios)
        seed = inputs.get("dropout_seed")
        logits = {}
        for task in self.tasks:
            scores = tf.stack(
                [
                    towers[task](
                        tf.einsum("bm,bmu->bu", gates[task](x), hidden),
                        dropout_seed=seed,
                        training=training,
                    )
                    for gates, towers in zip(self.gates, self.towers)
                ],
                axis=1,
            )
            scores = own * scores + (1.0 - own) * tf.stop_gradient(scores)
            logits[task] = tf.reduce_sum(self.mixes[task](beside) * scores, axis=1)
        return logits
