"""The driver's own worker in a network of its own."""

import os
import pathlib
import signal
import time

import numpy as np
import pytest
import tensorflow_federated as tff

from pfrec import errors
from tests.integration import silo_machines
from tff_process import private_network
from tff_process.runtime import private_host, remote, silo_host


@pytest.fixture
def host(tmp_path):
    with silo_host.sockets(tmp_path) as sockets:
        made = private_host.PrivateHost("it", tmp_path / "worker.log", 0, 60.0, sockets)
        made.up()
        yield made
        made.down()
    assert not list(tmp_path.glob(".tmp-*"))


def network(pid):
    """The network namespace of a process."""
    return os.readlink(f"/proc/{pid}/ns/net")


def number(value):
    return np.float32(value), tff.TensorType(np.float32)


@pytest.mark.skipif(not silo_machines.HAS_NAMESPACES, reason="this system does not permit network namespaces")
def test_it_computes_in_another_network_and_comes_back_after_a_kill(host):
    (worker,) = pathlib.Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split()
    assert b"worker_binary" in pathlib.Path(f"/proc/{worker}/cmdline").read_bytes()
    assert network(worker) == network(host.pid) != network("self")
    there = host.remote
    reference = there.send(*number(2.5))
    assert there.fetch(reference) == 2.5
    os.kill(host.pid, signal.SIGKILL)
    time.sleep(0.1)
    with pytest.raises(remote.WorkError) as raised:
        there.fetch(reference)
    assert raised.value.lost
    host.lost = True
    host.down()
    host.up()
    assert host.remote.fetch(host.remote.send(*number(3.5))) == 3.5


def test_where_namespaces_are_not_permitted_it_is_a_plain_one_with_a_warning(tmp_path, monkeypatch, caplog):
    refused = "import sys; sys.exit('this system does not permit a network namespace (no)')"
    start = private_host.subprocess.Popen
    monkeypatch.setattr(
        private_host.subprocess,
        "Popen",
        lambda line, **options: start([line[0], "-c", refused] if "tff_process.private_worker" in line else line, **options),
    )
    with silo_host.sockets(tmp_path) as sockets:
        host = private_host.PrivateHost("it", tmp_path / "worker.log", 0, 60.0, sockets)
        host.up()
        assert host.remote.fetch(host.remote.send(*number(2.5))) == 2.5
        host.down()
    assert "keep this machine behind a firewall" in caplog.text


def test_another_failure_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(private_host.sys, "executable", "/bin/false")
    with silo_host.sockets(tmp_path) as sockets:
        host = private_host.PrivateHost("it", tmp_path / "worker.log", 0, 60.0, sockets)
        with pytest.raises(errors.PfrecError, match="did not start"):
            host.up()


def test_the_refusal_says_what_the_host_looks_for():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_network, "_unshare", lambda flags: "no")
        with pytest.raises(errors.PfrecError, match="does not permit a network namespace"):
            private_network.enter()
