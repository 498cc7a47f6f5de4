"""What a silo's worker is limited to, and what is said where it is not."""

import pytest

from tff_process.runtime import sandbox
from tff_process.silos import service


@pytest.fixture
def silo(tmp_path):
    """A service that has started nothing yet."""
    for name in ("data", "runs"):
        (tmp_path / name).mkdir()
    for name in ("secret", "silo.json"):
        (tmp_path / name).write_text(name)
    made = service.Service.__new__(service.Service)
    made._directory, made.unconfined = tmp_path, ""
    return made


@pytest.mark.skipif(not sandbox.permitted(), reason="this system has no sandbox without root")
def test_the_worker_has_a_sandbox(silo):
    limits = silo._limits()
    limits.close()
    assert silo.unconfined == ""


def test_a_system_without_one_is_said(silo, monkeypatch):
    monkeypatch.setattr(sandbox, "_CREATE_RULESET", -1)
    assert silo._limits() is None
    assert "it takes Linux 5.13 or newer" in silo.unconfined
