"""A plan survives JSON, and refuses what cannot be trained."""

import json
import pathlib

import numpy as np
import pytest

from pfrec import errors
from pfrec.models.config import ModelConfig
from tff_process import plan
from tff_process.algorithms import fedavg, pf_msmtrec


def test_a_plan_survives_json():
    made = plan.Plan(
        "pf_msmtrec",
        rounds=3,
        local_epochs=0.5,
        seed=7,
        model=ModelConfig(expert_units=(8, 4), tower_units=(), template="additive"),
        settings=pf_msmtrec.Settings(coordination="pcgrad", mu=0.25),
        sharing=(("gate/*", "shared"),),
    )
    assert plan.Plan.from_json(json.loads(json.dumps(made.to_json()))) == made


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rounds": 0}, "rounds is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"patience": -1}, "patience is -1"),
        ({"local_epochs": 0.0}, "local_epochs is 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"participation": 0.0}, "participation is 0"),
        ({"participation": 1.5}, "participation is 1.5"),
    ],
)
def test_what_cannot_be_trained_is_named(settings, message):
    with pytest.raises(errors.PfrecError, match=message):
        plan.Plan("local", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"coordination": "vote"},
            "pf_coordination is 'vote'; it must be one of none, mean, pcgrad, conflict_averse",
        ),
        ({"mu": 1.1}, "mu is 1.1"),
        ({"tower_mu": -0.1}, "tower_mu is -0.1"),
        ({"conflict_radius": 1.0}, "conflict_radius is 1.0"),
        ({"temperature": 0.0}, "pf_temperature is 0.0; it must be finite and above 0"),
        ({"proximal": -1.0}, "pf_proximal is -1.0; it must be finite and at least 0"),
        ({"server_step": 0.0}, "server_step is 0.0; it must be above 0"),
        ({"server_step": 1.5}, "server_step is 1.5"),
        ({"table_prior": -1.0}, "table_prior is -1.0; it must be finite and at least 0"),
        ({"table_prior": float("inf")}, "table_prior is inf"),
        ({"table_prior": float("nan")}, "table_prior is nan"),
    ],
)
def test_what_pf_msmtrec_cannot_use_is_named(settings, message):
    with pytest.raises(errors.PfrecError, match=message):
        pf_msmtrec.Settings(**settings)


def test_a_plan_holds_its_own_algorithms_settings_alone():
    assert plan.Plan("local").settings is None
    assert plan.Plan("pf_msmtrec").to_json()["settings"]["mu"] == 0.25
    assert plan.Plan("pooled_ple").to_json()["settings"] is None
    with pytest.raises(errors.PfrecError, match=r"settings of ditto are Settings; they must be "):
        plan.Plan("ditto", settings=pf_msmtrec.Settings())


def test_texts_set_what_is_the_plans_own_and_nothing_else():
    made = plan.Plan("pf_msmtrec").with_texts(
        [("mu", "0.5"), ("pf_gate_mu", "0"), ("learning_rate", "0.1"), ("expert_units", "8,4")]
    )
    assert (made.settings.mu, made.settings.gate_mu, made.learning_rate) == (0.5, 0.0, 0.1)
    assert made.model.expert_units == (8, 4)
    with pytest.raises(errors.PfrecError, match="ditto_lambda=1: ditto_lambda is no flag of a"):
        made.with_texts([("ditto_lambda", "1")])
    with pytest.raises(errors.PfrecError, match="mu=much: give numbers"):
        made.with_texts([("mu", "much")])
    with pytest.raises(errors.PfrecError, match=r"pf_mu is 2.0; it must be at least 0 and at most"):
        made.with_texts([("mu", "2")])


def test_a_plan_may_hold_an_algorithm_itself(schema):
    own = fedavg.fedavg(schema)
    made = plan.Plan(own, rounds=1)
    assert (made.name, made.settings, made.to_json()["algorithm"]) == ("fedavg", None, "fedavg")


def test_clients_finish_where_it_is_asked_for_or_under_a_budget():
    assert not plan.Plan("fedavg").finishes
    asked = plan.Plan("fedavg", home_epochs=5.0)
    assert (asked.finishes, asked.passes_at_home) == (True, 5.0)
    private = plan.Plan("fedavg", dp_epsilon=8.0)
    assert (private.finishes, private.passes_at_home) == (False, 20.0)
    assert plan.Plan("fedavg", dp_epsilon=8.0, home_epochs=0.0).passes_at_home == 0.0
    with pytest.raises(
        errors.PfrecError, match=r"home_epochs is -0.5; it must be at least 0, or -1"
    ):
        plan.Plan("fedavg", home_epochs=-0.5)
    with pytest.raises(errors.PfrecError, match="--home_epochs with pooled_mmoe"):
        plan.Plan("pooled_mmoe", home_epochs=5.0)


def test_weights_decay_where_no_noise_moves_them():
    assert plan.Plan("fedavg").decay == plan.Plan("pooled_mmoe").decay == 30.0
    assert plan.Plan("fedavg", dp_epsilon=8.0).decay == 0.0
    for epsilon in (0.0, 8.0):
        assert plan.Plan("fedavg", dp_epsilon=epsilon, weight_decay=2.0).decay == 2.0
        assert plan.Plan("fedavg", dp_epsilon=epsilon, weight_decay=0.0).decay == 0.0
    with pytest.raises(errors.PfrecError, match=r"weight_decay is -0.5; it must be .*-1"):
        plan.Plan("fedavg", weight_decay=-0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"algorithm": None}, 'plan: algorithm is a NoneType; give a name, as "fedavg"'),
        ({"seed": None}, "plan: seed is a NoneType; give a whole number"),
        (
            {"model": {"experts": 2}},
            "plan: model is a dict; give a pfrec.models.config.ModelConfig",
        ),
        ({"sharing": {"gate/*": "private"}}, "plan: sharing is a dict; give pairs"),
        ({"sharing": ("gate/*=private",)}, "plan: sharing has 'gate/*=private'; give pairs"),
        ({"withhold": "loss"}, "plan: withhold is a str; give some of loss, metrics, row_counts"),
        ({"init_from": pathlib.Path("run")}, "plan: init_from is a .*; give the path of a run"),
    ],
)
def test_what_a_program_gives_of_another_type_is_named(given, message):
    with pytest.raises(errors.PfrecError, match=message.replace("/*", r"/\*")):
        plan.Plan(**{"algorithm": "fedavg", **given})
    assert plan.Plan("fedavg", seed=np.int64(3)).to_json() == plan.Plan("fedavg", seed=3).to_json()


def test_lists_are_taken_as_tuples():
    listed = plan.Plan("fedavg", withhold=["loss"], sharing=[["gate/*", "private"]])
    told = plan.Plan("fedavg", withhold=("loss",), sharing=(("gate/*", "private"),))
    assert {told: 1}[listed] == 1
