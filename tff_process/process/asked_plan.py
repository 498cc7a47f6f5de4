"""What is told of a plan where it is newly asked for, by the model's variable groups, before
anything is made for it.

A run that is resumed, or an agreement that is signed, keeps what it was begun with: it is not asked
again.
"""

import functools

import tensorflow as tf

from pfrec import groups, sharing
from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.client import variables
from tff_process.privacy import soundness
from tff_process.process import keras_in_tff, plan_algorithm


def check(plan: plan_lib.Plan, schema: schema_lib.Schema) -> None:
    """Checks a plan of a federated algorithm that somebody asks for anew.

    Args:
      plan: what is asked for.
      schema: of the rows.

    Raises:
      PfrecError: where a sharing rule matches no group, something is shared that may not be, or
        what is to leave in a certain way (small, in sums, under a budget) does not leave or cannot.
    """
    algorithm = plan_algorithm.of(plan, schema, plan.local_epochs)
    tagged = _tagged(schema, plan.model)
    if not plan.continues:  # By rules that the finished run had; nobody could leave one out.
        sharing.require_matching(plan.sharing, {item.group for item in tagged})
    layout = variables.of(tagged, algorithm.policy, algorithm.personal_kinds)
    if plan.dp_epsilon:
        soundness.check_schema(schema, plan.dp_unit)
        soundness.check_algorithm(algorithm, len(layout.uploaded), plan.dp_unit)
    plan_algorithm.uploading(algorithm, plan, layout, [task.name for task in schema.tasks])


@functools.lru_cache(maxsize=8)
@tf.autograph.experimental.do_not_convert
def _tagged(schema: schema_lib.Schema, config: ModelConfig) -> "tuple[groups.TaggedVariable, ...]":
    """The variables of a client model, without values: tables of any size cost nothing."""
    with tf.Graph().as_default(), keras_in_tff.version_2():
        return tuple(groups.tag(mmoe.build(schema, config)))
