"""What is told of a plan by the model's variable groups, where it is newly asked for alone."""

import dataclasses

import pytest

from pfrec import errors
from pfrec.data import schema as schema_lib
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
