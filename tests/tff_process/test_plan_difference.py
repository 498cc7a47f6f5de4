"""What differs between a plan and the records of plans, those of earlier versions too."""

import json

from pfrec.models.config import ModelConfig
from tff_process import plan, plan_difference, plan_records
from tff_process.algorithms import pf_msmtrec


def test_a_record_from_before_a_setting_came_is_of_the_same_plan():
    made = plan.Plan("pf_msmtrec", rounds=3)
    record = json.loads(json.dumps(made.to_json()))
    del record["average_over"], record["settings"]["table_prior"], record["model"]["rank"]
    assert plan_difference.first(record, made) == ""
    assert plan.Plan.from_json(record) == made
    other = plan.Plan("pf_msmtrec", rounds=3, average_over=0.5)
    assert plan_difference.first(record, other) == "average_over was 0.25 and is 0.5"
    other = plan.Plan("pf_msmtrec", rounds=3, settings=pf_msmtrec.Settings(table_prior=1.0))
    assert plan_difference.first(record, other) == "settings.table_prior was 2000.0 and is 1.0"


def test_a_record_from_before_tower_batch_norm_has_normalised_towers():
    made = plan.Plan("fedbn", model=ModelConfig(tower_batch_norm=True))
    record = json.loads(json.dumps(made.to_json()))
    del record["model"]["tower_batch_norm"]
    assert plan.Plan.from_json(record).model.normalised_towers
    assert plan_difference.first(record, made) == ""
    difference = plan_difference.first(record, plan.Plan("fedbn"))
    assert difference == "model.tower_batch_norm was True and is False"
    del record["model"]
    assert plan.Plan.from_json(record).model.normalised_towers
    assert not plan.Plan("fedbn").model.normalised_towers


def test_a_record_from_before_attraction_is_of_joined_values():
    joined = pf_msmtrec.Settings(attraction=1.0)
    made = plan.Plan("pf_msmtrec", settings=joined)
    record = json.loads(json.dumps(made.to_json()))
    del record["settings"]["attraction"]
    assert plan.Plan.from_json(record) == made
    assert plan_difference.first(record, made) == ""
    now = plan.Plan("pf_msmtrec")
    difference = plan_difference.first(record, now)
    assert difference == f"settings.attraction was 1.0 and is {now.settings.attraction}"
    assert plan.Plan.from_json(json.loads(json.dumps(now.to_json()))) == now


def test_a_run_that_finds_no_spread_goes_on_with_the_flags_that_it_began_with():
    """A record from before the spread was followed does not speak of it."""
    for settings in ({"find_spread": False}, {"find_spread": False, "follow_spread": False}):
        made = plan.Plan("pf_msmtrec", settings=pf_msmtrec.Settings(**settings))
        record = json.loads(json.dumps(made.to_json()))
        assert plan_difference.first(record, made) == ""
        del record["settings"]["follow_spread"]
        assert plan_difference.first(record, made) == ""
    record["settings"]["find_spread"] = True
    difference = plan_difference.first(record, plan.Plan("pf_msmtrec"))
    assert difference == "settings.follow_spread was False and is True"


def test_what_means_nothing_without_a_budget_makes_no_other_plan():
    """A record of a pfrec with other defaults."""
    made = plan.Plan("fedavg")
    record = {**made.to_json(), "dp_clip": 1.0, "dp_home_epochs": 3.0}
    assert plan_difference.first(record, made) == ""
    assert plan.Plan.from_json(record) == made
    private = plan.Plan("fedavg", dp_epsilon=8.0)
    record = {**private.to_json(), "dp_clip": 1.0}
    assert plan_difference.first(record, private) == "dp_clip was 1.0 and is 3.0"
    assert plan.Plan.from_json(record).dp_clip == 1.0
    difference = plan_difference.first({**made.to_json(), "dp_clip": 1.0}, private)
    assert difference == "dp_epsilon was 0.0 and is 8.0"


def test_what_is_left_to_the_budget_is_the_same_plan_as_what_it_comes_to():
    """A run that was begun without the flag is resumed with what it stands for, and the other way
    round.
    """
    for epsilon, passes, other in ((0.0, 0.0, 20.0), (8.0, 20.0, 0.0)):
        left = plan.Plan("fedavg", dp_epsilon=epsilon)
        said = plan.Plan("fedavg", dp_epsilon=epsilon, home_epochs=passes)
        assert plan_difference.first(left.to_json(), said) == ""
        assert plan_difference.first(said.to_json(), left) == ""
        another = plan.Plan("fedavg", dp_epsilon=epsilon, home_epochs=other)
        told = f"home_epochs was {passes} and is {other}"
        assert plan_difference.first(left.to_json(), another) == told
    for epsilon, decay in ((0.0, 30.0), (8.0, 0.0)):
        left = plan.Plan("fedavg", dp_epsilon=epsilon)
        said = plan.Plan("fedavg", dp_epsilon=epsilon, weight_decay=decay)
        assert plan_difference.first(left.to_json(), said) == ""
        assert plan_difference.first(said.to_json(), left) == ""
        another = plan.Plan("fedavg", dp_epsilon=epsilon, weight_decay=7.0)
        told = f"weight_decay was {decay} and is 7.0"
        assert plan_difference.first(left.to_json(), another) == told
        # Before there was such a setting weights did not decay.
        older = {**left.to_json()}
        del older["weight_decay"]
        assert plan_difference.first(older, left) == (
            "weight_decay was 0.0 and is 30.0" if decay else ""
        )


def test_former_names_of_what_clients_do_at_home_still_work():
    made = plan.Plan("fedavg").with_texts([("dp_home_epochs", "3"), ("dp_home_rate", "0.1")])
    assert (made.home_epochs, made.home_rate) == (3.0, 0.1)
    private = plan.Plan("fedavg", dp_epsilon=8.0)
    record = private.to_json()
    del record["home_epochs"], record["home_rate"]
    record.update(dp_home_epochs=20.0, dp_home_rate=0.01)
    assert plan_difference.first(record, private) == ""
    assert plan.Plan.from_json(record).passes_at_home == 20.0
    record["dp_home_epochs"] = 3.0
    assert plan_difference.first(record, private) == "home_epochs was 3.0 and is 20.0"
    # Without a budget they meant nothing.
    record["dp_epsilon"] = 0.0
    assert plan.Plan.from_json(record).home_epochs == plan_records.AS_THE_BUDGET
