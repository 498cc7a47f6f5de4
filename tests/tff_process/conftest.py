"""A finished run that several tests read; none may change it."""

import dataclasses

import pytest

from tests.small_model import SHAPE
from tff_process import plan
from tff_process.training import loop


@pytest.fixture(scope="session")
def two_scenarios_run(dataset, tmp_path_factory):
    """The directory of two rounds of pf_msmtrec on two of the three scenarios."""
    path = tmp_path_factory.mktemp("runs") / "run"
    two = dataclasses.replace(dataset, scenarios=("nl", "es"))
    loop.train(
        plan.Plan("pf_msmtrec", rounds=2, batch_size=50, model=SHAPE, learning_rate=1e-2), two, path
    )
    return path
