"""What is told of a plan by the model's variable groups, where it is newly asked for alone."""

import dataclasses

import pytest
import tensorflow as tf

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.models.mmoe import mmoe
from tests.small_model import SHAPE
from tff_process import plan as plan_lib
from tff_process.process import asked_plan, federation

MISSPELLED = (("embeding/*", "private"),)


def plan(algorithm="fedavg", **settings):
    return plan_lib.Plan(algorithm, batch_size=50, model=SHAPE, **settings)


def test_a_rule_that_no_group_matches_is_told_where_a_plan_is_asked_for(dataset):
    asked = plan(sharing=MISSPELLED)
    with pytest.raises(errors.PfrecError, match=r"embeding/\*=private: there is no such group"):
        asked_plan.check(asked, dataset.schema)
    asked_plan.check(plan(sharing=(("embedding/*", "private"),)), dataset.schema)
    # What goes on keeps the rules that it has, and so does what was begun or agreed.
    asked_plan.check(dataclasses.replace(asked, continues=True), dataset.schema)
    assert federation.Federation(asked, dataset).plan.sharing == MISSPELLED


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (plan("local", upload_bits=8), "--upload_bits=8 with local: nothing that is trained"),
        (plan("local", secure_sums=True), "--secure_sums with local: nothing leaves"),
        (plan("fedavg", secure_sums=True), ""),
        (plan("fedamp", secure_sums=True), "--secure_sums with fedamp: its server"),
        (plan("local", dp_epsilon=4.0), "--dp_epsilon with local: nothing that is trained"),
        (plan("ditto", dp_epsilon=4.0), "--dp_epsilon with ditto: its clients train more"),
        (plan("fedavg", dp_epsilon=4.0, upload_bits=8), ""),
    ],
)
def test_what_is_told_before_is_what_a_training_would_tell(dataset, asked, told):
    for check in (
        lambda: asked_plan.check(asked, dataset.schema),
        lambda: federation.Federation(asked, dataset),
    ):
        if told:
            with pytest.raises(errors.PfrecError, match=f"^{told}"):
                check()
        else:
            check()


def test_no_table_is_filled_for_it(schema):
    """One of them would take 48 GB."""
    wide = (schema_lib.Categorical("user", 2_000_000_000), *schema.categorical[1:])
    asked_plan.check(
        plan(sharing=(("embedding/user", "private"),)),
        dataclasses.replace(schema, categorical=wide),
    )


def test_models_that_were_made_before_stay_of_use(dataset):
    """Keras swaps the base classes of all models of a process where one is made in a graph."""
    before = mmoe.build(dataset.schema, SHAPE)
    other = dataclasses.replace(SHAPE, tower_units=(5,))  # What is known of SHAPE is kept.
    asked_plan.check(dataclasses.replace(plan(), model=other), dataset.schema)
    found = before({"categorical": tf.zeros([3, 2], tf.int32), "numerical": tf.zeros([3, 2])})
    assert {name: logits.shape for name, logits in found.items()} == {"ctr": [3], "cvr": [3]}
