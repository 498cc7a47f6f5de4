"""A process in a network of its own: reached through a socket that was open before,
and in no other way.
"""

import os
import socket
import subprocess
import sys

import pytest

from pfrec import errors
from tff_process.commands import worker
from tff_process.runtime import private_network

# Serves a port on all interfaces from inside, and answers one connection to the socket that was
# open before.
PROGRAM = """
import socket, sys
from tff_process.runtime import private_network
before = socket.create_server(("127.0.0.1", 0))
if sys.argv[1] == "as others":
    tried = private_network._unshare
    alone = private_network._CLONE_NEWNET
    private_network._unshare = lambda flags: "no" if flags == alone else tried(flags)
private_network.enter()
inside = socket.create_server(("", 0))
with socket.create_connection(("127.0.0.1", inside.getsockname()[1])):
    pass
print(before.getsockname()[1], inside.getsockname()[1], flush=True)
connection, _ = before.accept()
connection.sendall(b"here")
connection.close()
input()
"""


@pytest.mark.parametrize("how", ["as root", "as others"])
def test_only_the_socket_from_before_is_reached(how):
    if how == "as root" and os.geteuid() != 0:
        pytest.skip("only root may enter a network namespace without a user namespace")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    if not line:
        out, err = process.communicate()
        if "does not permit a network namespace" in err:
            pytest.skip("this system does not permit network namespaces")
        raise AssertionError(out + err)
    before, inside = map(int, line.split())
    with socket.create_connection(("127.0.0.1", before), 10) as connection:
        assert connection.recv(10) == b"here"
    for host in ("127.0.0.1", "::1"):
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((host, inside), 10)
    process.communicate("\n")
    assert process.returncode == 0


def test_without_namespaces_the_worker_refuses_unless_a_port_is_firewalled(monkeypatch):
    monkeypatch.setattr(private_network, "_unshare", lambda flags: "Operation not permitted")
    with pytest.raises(
        errors.PfrecError, match=r"\(Operation not permitted\), .* name it as --firewalled_port"
    ):
        worker.isolate(None)
    assert worker.isolate(7123) == 7123
