"""A plan survives JSON, and refuses what cannot be trained."""

import json

import pytest

from pfrec import errors
from pfrec.models.config import ModelConfig
from tff_process import plan
from tff_process.algorithms import pf_msmtrec


def test_a_plan_survives_json():
    made = plan.Plan(
        "pf_msmtrec",
        rounds=3,
        local_epochs=0.5,
        seed=7,
        model=ModelConfig(expert_units=(8, 4), tower_units=(), template="additive"),
        pf=pf_msmtrec.Settings(coordination="pcgrad", mu=0.25),
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
            "coordination 'vote' is not one of none, mean, pcgrad, conflict_averse",
        ),
        ({"mu": 1.1}, "mu is 1.1"),
        ({"tower_mu": -0.1}, "tower_mu is -0.1"),
        ({"conflict_radius": 1.0}, "conflict_radius is 1.0"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"proximal": -1.0}, "proximal must not be negative"),
        ({"server_step": 0.0}, "server_step is 0.0; it must be above 0"),
        ({"server_step": 1.5}, "server_step is 1.5"),
        ({"table_prior": -1.0}, "table_prior is -1.0; it must be a number, at least 0"),
        ({"table_prior": float("inf")}, "table_prior is inf"),
        ({"table_prior": float("nan")}, "table_prior is nan"),
    ],
)
def test_what_pf_msmtrec_cannot_use_is_named(settings, message):
    with pytest.raises(errors.PfrecError, match=message):
        pf_msmtrec.Settings(**settings)
