"""A process in a network of its own: reached through a socket that was open before,
and in no other way.
"""

import os
import shutil
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


# As root in an ordinary container: all of root's rights but that to namespaces.
_BARE = ["setpriv", "--bounding-set=-sys_admin"]
ENTERING = """
import pathlib, sys
from tff_process.runtime import private_network
private_network.enter_if_permitted([pathlib.Path(sys.argv[1])], [pathlib.Path(sys.argv[2])])
print(private_network.closed())
(pathlib.Path(sys.argv[2]) / "x").write_text("x")
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None, reason="needs root and setpriv"
)
@pytest.mark.parametrize("others", ["none", "read", "write"])
def test_root_does_not_lose_the_right_to_others_files(others, tmp_path):
    """In a namespace of one user it would: then it stays outside and says what is open."""
    places = {name: tmp_path / name for name in ("read", "write")}
    for place in places.values():
        place.mkdir(mode=0o700)
    (places["read"] / "dataset.json").write_text("{}")
    (places["read"] / "dataset.json").chmod(0o600)
    if others != "none":
        for path in (places[others], *places[others].iterdir()):
            os.chown(path, 12345, 12345)
    done = subprocess.run(
        [*_BARE, sys.executable, "-c", ENTERING, str(places["read"]), str(places["write"])],
        capture_output=True,
        text=True,
    )
    if "does not permit a network namespace" in done.stderr:
        pytest.skip("this system does not permit user namespaces")
    assert done.returncode == 0, done.stderr
    assert (places["write"] / "x").exists()
    if others == "none":
        assert (done.stdout, done.stderr) == ("True\n", "")
        return
    assert done.stdout == "False\n"
    assert f"would no longer reach {places[others]}" in done.stderr
    assert "listens on every interface" in done.stderr


def test_what_is_open_is_said_once(monkeypatch, caplog):
    monkeypatch.setattr(private_network, "_warned", [])
    monkeypatch.setattr(private_network, "closed", lambda: False)
    private_network.warn_if_open("not permitted")
    private_network.warn_if_open()
    assert len(caplog.records) == 1
    assert caplog.text.count("not permitted; TFF's worker listens on every interface") == 1
    assert "run where network namespaces are permitted" in caplog.text


def test_a_program_that_never_tried_is_told_of_the_command_that_does(monkeypatch, caplog):
    monkeypatch.setattr(private_network, "_warned", [])
    monkeypatch.setattr(private_network, "closed", lambda: False)
    private_network.warn_if_open()
    assert "a firewall, or train with pfrec-train or pfrec-compare" in caplog.text
    assert "permitted" not in caplog.text
