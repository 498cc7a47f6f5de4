"""What a silo's worker is limited to, and what is said where it is not."""

import datetime
import socket

import pytest

from tests.integration import silo_machines
from tff_process.commands import certificates
from tff_process.runtime import sandbox
from tff_process.silos import service, tunnel, validity


@pytest.fixture
def silo(tmp_path):
    """A service that has started nothing yet."""
    for name in ("data", "runs"):
        (tmp_path / name).mkdir()
    for name in ("secret", "secret_of_rows", "silo.json"):
        (tmp_path / name).write_text(name)
    made = service.Service.__new__(service.Service)
    made._directory, made.unconfined = tmp_path, ""
    return made


@pytest.mark.skipif(not sandbox.permitted(), reason="this system has no sandbox without root")
def test_the_worker_has_a_sandbox_that_does_not_hold_the_secret_itself(silo, monkeypatch):
    read = []
    made = sandbox.Sandbox
    monkeypatch.setattr(
        sandbox,
        "Sandbox",
        lambda program, reads, *rest: read.extend(reads) or made(program, reads, *rest),
    )
    limits = silo._limits()
    limits.close()
    assert [path.name for path in read] == ["data", "secret_of_rows", "silo.json"]
    assert silo.unconfined == ""


def test_a_system_without_one_is_said(silo, monkeypatch):
    monkeypatch.setattr(sandbox, "_CREATE_RULESET", -1)
    assert silo._limits() is None
    assert "it takes Linux 5.13 or newer" in silo.unconfined


@silo_machines.needs_tunnel
def test_an_owner_is_told_that_the_certificate_ended_while_it_served(silo, tmp_path, monkeypatch):
    """By what the tunnel read as it started: what is copied over it later counts at the next."""
    certificates.make(tmp_path / "made", ["nl"])
    (tmp_path / "logs").mkdir()
    said = []
    silo._credentials = tunnel.Credentials.read(tmp_path / "made" / "silo-nl")
    silo._gate, silo._port, silo._say = None, 1, said.append
    with socket.create_server(("127.0.0.1", 0)) as silo._listening:
        end = silo._start_transport()
        end.stop()
    silo._certificates.look()
    assert said == []
    place = tmp_path / "made" / "silo-nl" / tunnel.CERTIFICATE
    ends = validity.Validity.read(place).ends
    place.unlink()
    monkeypatch.setattr(validity, "_now", lambda: ends + datetime.timedelta(hours=1))
    silo._certificates.look()
    (line,) = said
    assert line == (
        f"WARNING: {place}: ended on {ends:%Y-%m-%d}; where the authority is, make it anew with "
        "pfrec-certificates --renew=silo-SCENARIO, and copy that directory here; then start "
        "pfrec-worker again"
    )
