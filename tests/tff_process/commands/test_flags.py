"""From flags to a plan: presets under what is given, an entry's settings over both."""

import pytest
from absl import flags

from pfrec import errors
from tff_process import plan as plan_lib
from tff_process.commands import flags as training_flags
from tff_process.commands import presets


@pytest.fixture(scope="module")
def _defined():
    training_flags.define()


@pytest.fixture
def given(_defined):
    def parse(*arguments):
        flags.FLAGS.unparse_flags()
        flags.FLAGS(["pfrec-train", "--data=d", "--output=o", *arguments])

    yield parse
    parse()


def test_flags_have_the_defaults_of_a_plan(given):
    given()
    assert training_flags.plan("pf_msmtrec", 3) == plan_lib.Plan("pf_msmtrec", seed=3)


def test_a_preset_goes_under_flags_and_settings(given):
    given("--preset=paper", "--mu=0.75")
    made = training_flags.plan("pf_msmtrec", 0, settings=[("tower_mu", "0.9")])
    assert (made.model.template, made.settings.proximal, made.aggregations, made.average_over) == (
        "additive",
        0.1,
        1,
        0.0,
    )
    assert (made.settings.mu, made.settings.tower_mu, made.settings.gate_mu) == (0.75, 0.9, 0.0)
    # An entry may go back to the defaults, or take a preset by itself.
    assert (
        training_flags.plan("pf_msmtrec", 0, settings=[("preset", "none")]).model.template == "none"
    )
    given()
    assert (
        training_flags.plan("pf_msmtrec", 0, settings=[("preset", "paper")]).model.template
        == "additive"
    )
    assert training_flags.plan("pf_msmtrec", 0).model.template == "none"


def test_an_unknown_preset_is_refused(given):
    given()
    with pytest.raises(errors.PfrecError, match="preset=best"):
        training_flags.plan("pf_msmtrec", 0, settings=[("preset", "best")])


def test_presets_name_flags_and_values_that_there_are(given):
    given()
    for settings in presets.PRESETS.values():
        training_flags.plan("pf_msmtrec", 0, settings=list(settings.items()))
