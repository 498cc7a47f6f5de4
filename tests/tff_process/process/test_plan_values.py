"""Step sizes over a training, by hand."""

import math

import pytest

from pfrec import errors
from tff_process import plan as plan_lib
from tff_process.process import plan_values


def rates(total, **settings):
    plan = plan_lib.Plan("fedavg", learning_rate=0.8, **settings)
    return [plan_values.learning_rate(plan, done, total) for done in range(total)]


def test_constant_is_the_rate_as_it_is():
    assert rates(3) == [0.8, 0.8, 0.8]


def test_warmup_rises_in_equal_steps_to_the_rate():
    assert rates(8, warmup=0.5) == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8])


def test_cosine_falls_from_the_rate():
    half = math.sqrt(0.5)
    wanted = [0.8, 0.4 * (1 + half), 0.4, 0.4 * (1 - half)]
    assert rates(4, schedule="cosine") == pytest.approx(wanted)
    # Down to a quarter of it: 0.2 + 0.6 times the same.
    wanted = [0.2 + 0.75 * rate for rate in wanted]
    assert rates(4, schedule="cosine", schedule_end=0.25) == pytest.approx(wanted)


def test_cosine_after_warmup_starts_at_the_rate():
    """One of four steps is warm-up; x is 0, 1/4, 1/2, ... of the other four."""
    found = rates(5, schedule="cosine", warmup=0.4)
    assert found[:2] == pytest.approx([0.4, 0.8])
    assert found[2:] == pytest.approx(
        [0.4 * (1 + math.cos(math.pi * x)) for x in (0.25, 0.5, 0.75)]
    )


def test_steps_cut_the_training_into_equal_parts():
    found = rates(6, schedule="step", schedule_factor=0.5, schedule_parts=3)
    assert found == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2, 0.2])


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"schedule": "linear"}, "schedule is 'linear'; it must be one of constant, cosine, step"),
        ({"warmup": 1.0}, "warmup is 1.0; it must be"),
        ({"schedule_factor": 0.0}, "schedule_factor is 0.0"),
        ({"task_weights": "buy"}, "task_weights=buy: 'buy' is not TASK=WEIGHT"),
    ],
)
def test_what_cannot_be_is_refused(settings, match):
    with pytest.raises(errors.PfrecError, match=match):
        plan_lib.Plan("fedavg", **settings)


def test_weights_of_a_scenario_come_from_the_plan():
    plan = plan_lib.Plan("fedavg", task_weights="b=2,NL/b=4", positive_weights="a=3")
    assert plan_values.task_weights(plan, "NL", ("a", "b")) == (1.0, 4.0)
    assert plan_values.positive_weights(plan, "fr", ("a", "b")) == (3.0, 1.0)
    assert plan_lib.Plan.from_json(plan.to_json()) == plan
    assert plan.with_texts([("task_weights", "NL/b=5")]).task_weights == "NL/b=5"
