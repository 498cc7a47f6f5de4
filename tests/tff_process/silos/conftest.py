"""Fixtures of the hostile driver's tests."""

import pytest

from tests.tff_process.silos import stand_in_worker as stand_in


@pytest.fixture
def silo(tmp_path):
    """A gatekeeper, its worker and its ledger."""
    return stand_in.made(tmp_path / "ledger.jsonl")


@pytest.fixture
def driver(silo):
    return stand_in.Driver(silo[0])


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    """The same as `silo`, for all examples of a property."""
    return stand_in.made(tmp_path_factory.mktemp("fuzz") / "ledger.jsonl")
