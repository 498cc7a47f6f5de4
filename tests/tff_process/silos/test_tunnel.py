"""Both ends of the tunnel, with an echo in place of the worker:
who has the right certificate gets through, and nobody else.
"""

import base64
import contextlib
import hashlib
import pathlib
import re
import resource
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest

from pfrec import errors
from tests.integration import silo_machines
from tests.tff_process.silos import ended
from tff_process.commands import certificates
from tff_process.commands import worker as worker_lib
from tff_process.silos import addresses, host, tunnel, tunnel_log

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="openssl is not installed"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Certificates of an authority, and those of another one with the same names."""
    parent = tmp_path_factory.mktemp("certificates")
    certificates.make(parent / "ours", ["nl", "fr"])
    certificates.make(parent / "theirs", ["nl"])
    return parent


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture(
    scope="module",
    params=[
        "127.0.0.1",
        pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6")),
    ],
)
def silo(request, made, tmp_path_factory):
    """The address of nl's silo, which sends back what it is sent."""
    with (
        socket.create_server(("127.0.0.1", 0)) as worker,
        worker_lib.listen(request.param, 0) as listening,
    ):

        def echo():
            while True:
                try:
                    connection, _ = worker.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(connection.recv(100))

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        credentials = tunnel.Credentials.read(made / "ours" / "silo-nl")
        log = tmp_path_factory.mktemp("logs") / "silo.log"
        end = tunnel.Tunnel.of_silo(listening, credentials, worker.getsockname()[1], log)
        yield addresses.join(*listening.getsockname()[:2])
        assert end.running
        end.stop()
        worker.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def answer(silo, credentials, scenario, log):
    """What comes back through the driver's end, and the reason that it gives where nothing does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        end = tunnel.Tunnel.of_driver(
            listening, tunnel.Credentials.read(credentials), silo, scenario, log
        )
        try:
            # Who is refused may be reset before connecting has returned.
            try:
                with socket.create_connection(listening.getsockname(), 10) as connection:
                    connection.sendall(b"hello")
                    received = connection.recv(100)
            except OSError:
                received = b""
            return received, "" if received else end.refusal()
        finally:
            end.stop()


@needs_openssl
@silo_machines.needs_tunnel
def test_the_driver_reaches_the_silo(made, silo, tmp_path):
    assert answer(silo, made / "ours" / "driver", "nl", tmp_path / "log")[0] == b"hello"


def key_of(party):
    """What tells a party's key from others: the first half of the SHA-256 of its public part."""
    asked = ["openssl", "x509", "-in", party / tunnel.CERTIFICATE, "-noout", "-pubkey"]
    pem = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    content = base64.b64decode("".join(pem.splitlines()[1:-1]))
    return hashlib.sha256(content).hexdigest()[:32]


@pytest.mark.parametrize(("version", "fits"), [("5.56", False), ("5.60", True), ("6.1", True)])
def test_an_old_stunnel_is_refused(tmp_path, monkeypatch, version, fits):
    program = tmp_path / "stunnel4"
    program.write_text(f"#!/bin/sh\necho 'stunnel {version} on a platform' >&2\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    if fits:
        assert tunnel.program() == str(program)
        return
    with pytest.raises(errors.PfrecError, match=r"stunnel 5.56 is too old .* 5.60 or newer"):
        tunnel.program()


@needs_openssl
def test_a_certificate_says_which_key_it_is_of(made):
    subjects = []
    for party in (made / "ours" / "driver", made / "ours" / "silo-nl"):
        asked = ["openssl", "x509", "-in", party / tunnel.CERTIFICATE, "-noout", "-subject"]
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
        assert key_of(party) in said
        subjects.append(said)
        assert {path.name for path in party.iterdir()} == {
            tunnel.AUTHORITY,
            tunnel.CERTIFICATE,
            tunnel.KEY,
        }
    assert len(set(subjects)) == 2


SAID = """\
2026.01.01 00:00:00 LOG5[ui]: Configuration successful
2026.01.01 00:00:01 LOG5[0]: Service [silo] accepted connection from 10.0.0.9:50344
2026.01.01 00:00:01 LOG5[1]: Service [silo] accepted connection from ::1:35016
2026.01.01 00:00:01 LOG5[0]: Certificate accepted at depth=0: O=pfrec, CN=driver.pfrec
2026.01.01 00:00:01 LOG5[1]: Certificate accepted at depth=0: O=pfrec, CN=other.pfrec
2026.01.01 00:00:01 LOG5[0]: s_connect: connected 127.0.0.1:10000
2026.01.01 00:00:01 LOG5[1]: Service [silo] connected remote server from 127.0.0.1:41300
2026.01.01 00:00:01 LOG5[0]: Service [silo] connected remote server from 127.0.0.1:41206
"""


def test_stunnel_says_who_is_led_on():
    assert tunnel_log.peer(SAID, 41206) == ("10.0.0.9", "O=pfrec, CN=driver.pfrec")
    assert tunnel_log.peer(SAID, 41300) == ("::1", "O=pfrec, CN=other.pfrec")
    assert tunnel_log.peer(SAID, 10000) == ("", "")
    # Another process of stunnel counts from 0 again, and a port comes again.
    later = SAID.replace("10.0.0.9", "10.0.0.8")
    assert tunnel_log.peer(SAID + later, 41206)[0] == "10.0.0.8"


REFUSED = """\
2026.01.01 00:00:00 LOG5[7]: CERT: Pre-verification error: certificate has expired
2026.01.01 00:00:00 LOG4[12]: CERT: Pre-verification error: self-signed certificate
2026.01.01 00:00:00 LOG4[7]: Rejected by CERT at depth=0: O=pfrec, CN=old.pfrec
2026.01.01 00:00:00 LOG4[12]: Rejected by CERT at depth=1: CN=theirs
"""
FAILED = "2026.01.01 00:00:01 LOG3[{}]: SSL_connect: certificate verify failed\n"


def test_stunnel_says_which_certificate_of_which_connection_it_refuses():
    """Also where it says something of another one in between."""
    old = "certificate has expired: depth=0: O=pfrec, CN=old.pfrec"
    theirs = "self-signed certificate: depth=1: CN=theirs"
    ended = "SSL_connect: certificate verify failed"
    assert tunnel_log.reason(REFUSED + FAILED.format(7)) == f"{old}: {ended}"
    assert tunnel_log.reason(REFUSED + FAILED.format(12)) == f"{theirs}: {ended}"
    assert tunnel_log.reason(REFUSED + FAILED.format(2)) == ended
    assert tunnel_log.reason(FAILED.format(7) + REFUSED) == "Rejected by CERT at depth=1: CN=theirs"


@contextlib.contextmanager
def silo_end(made, tmp_path):
    """The silo's end of a tunnel: the socket that it leads on to, the end, its address, and what a
    driver of its authority speaks to it by.
    """
    with (
        socket.create_server(("127.0.0.1", 0)) as worker,
        worker_lib.listen("127.0.0.1", 0) as listening,
    ):
        worker.settimeout(10)
        credentials = tunnel.Credentials.read(made / "ours" / "silo-nl")
        log = tmp_path / "silo.log"
        end = tunnel.Tunnel.of_silo(listening, credentials, worker.getsockname()[1], log)
        party = made / "ours" / "driver"
        context = ssl.create_default_context(cafile=party / tunnel.AUTHORITY)
        context.check_hostname = False
        context.load_cert_chain(party / tunnel.CERTIFICATE, party / tunnel.KEY)
        yield worker, end, listening.getsockname(), context
        end.stop()


@needs_openssl
@silo_machines.needs_tunnel
def test_who_comes_again_shows_its_certificate_again(made, tmp_path):
    """A resumed session has none: the ledger would not name its driver."""
    said, session = [], None
    with silo_end(made, tmp_path) as (worker, end, address, context):
        for _ in range(2):
            with (
                socket.create_connection(address, 10) as plain,
                context.wrap_socket(plain, session=session) as connection,
            ):
                led, (_, port) = worker.accept()
                with led:
                    led.sendall(b"hello")
                    assert connection.recv(5) == b"hello"  # And with it what resumes a session.
                    said.append(end.peer(port))
                assert not connection.session_reused
                session = connection.session
    assert said[0] == said[1]
    assert key_of(made / "ours" / "driver") in said[1]


@needs_openssl
@silo_machines.needs_tunnel
def test_the_silo_knows_who_it_leads_on(made, tmp_path):
    party = made / "ours" / "driver"
    with (
        silo_end(made, tmp_path) as (worker, end, address, context),
        socket.create_connection(address, 10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(b"hello")
        led, (_, port) = worker.accept()
        with led:
            assert led.recv(5) == b"hello"
            said = end.peer(port)
    authority = tunnel.Credentials.read(party).authority[:16]
    subject = f"O=pfrec, CN=driver.pfrec, serialNumber={key_of(party)}"
    assert said == f"127.0.0.1, certificate {subject} of the authority {authority}"


@needs_openssl
@silo_machines.needs_tunnel
@pytest.mark.parametrize(
    ("party", "scenario"),
    [
        (
            "theirs/driver",
            "nl",
        ),  # Another authority's driver, which the silo refuses, and which refuses the silo.
        ("ours/silo-fr", "nl"),  # A silo of ours that plays the driver.
        ("ours/driver", "fr"),  # The driver looks for fr, and nl answers.
    ],
)
def test_nobody_else_does(made, silo, tmp_path, party, scenario):
    received, reason = answer(silo, made / party, scenario, tmp_path / "log")
    assert received == b""
    assert reason
    # Whom the driver refuses answers at its address: then that, or the certificate, is wrong.
    refused_by_driver = party.endswith("driver")
    assert ("has the address of" in host.remedy(reason, scenario)) == refused_by_driver


@needs_openssl
@silo_machines.needs_tunnel
@pytest.mark.parametrize(
    ("party", "told"),
    [
        ("silo-nl", "the certificate of nl has ended: .*--renew=silo-nl, .* to the silo, whose"),
        ("driver", "the driver's certificate has ended, or its authority's: .*--renew=driver, and"),
        ("authority", "^the authority's certificate has ended: make an authority and everybody's"),
    ],
)
def test_a_driver_names_the_certificate_that_ended_after_the_start(tmp_path, party, told):
    made = tmp_path / "made"
    certificates.make(made, ["nl"])
    ended.reissue(made, party, "20200101000000Z", "20200131235959Z", tmp_path)
    credentials = tunnel.Credentials.read(made / "silo-nl")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        end = tunnel.Tunnel.of_silo(listening, credentials, 1, tmp_path / "silo.log")
        silo = addresses.join(*listening.getsockname()[:2])
        # Several times: whether the driver's stunnel meets the silo's reason or a closed
        # connection first, when it has something to send, is chance.
        answers = [answer(silo, made / "driver", "nl", tmp_path / f"log-{i}") for i in range(5)]
        end.stop()
    for received, reason in answers:
        assert received == b""
        assert re.search(told, host.remedy(reason, "nl")), reason


@needs_openssl
@silo_machines.needs_tunnel
def test_the_silo_itself_refuses_who_does_not_check_it(made, silo):
    """A client that accepts any server: without a certificate, with another authority's,
    with a silo's, or without TLS.
    """
    host, port = addresses.parse(silo, place="")

    def ask(party, version=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if version:
            context.maximum_version = version
        if party:
            context.load_cert_chain(made / party / tunnel.CERTIFICATE, made / party / tunnel.KEY)
        try:
            with (
                socket.create_connection((host, port), 10) as plain,
                context.wrap_socket(plain) as connection,
            ):
                connection.sendall(b"hello")
                return connection.recv(100)
        except OSError:
            return b""

    assert ask("ours/driver") == b"hello"
    for party in (None, "theirs/driver", "ours/silo-fr"):
        assert ask(party) == b""
    assert ask("ours/driver", ssl.TLSVersion.TLSv1_2) == b""
    with socket.create_connection((host, port), 10) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        try:
            said = plain.recv(100)
        except ConnectionResetError:
            said = b""
        # At most TLS's own word for what it could not read.
        assert len(said) <= 7


@needs_openssl
def test_certificates_may_be_added_and_are_not_replaced(tmp_path):
    first = certificates.make(tmp_path / "c", ["nl"])
    assert first == ["authority", "driver", "silo-nl"]
    key = (tmp_path / "c" / "driver" / "key.pem").read_bytes()
    assert certificates.make(tmp_path / "c", ["fr"]) == ["silo-fr"]
    assert (tmp_path / "c" / "driver" / "key.pem").read_bytes() == key
    for path in tmp_path.rglob("*key*"):
        assert path.stat().st_mode & 0o077 == 0, path
    with pytest.raises(errors.PfrecError, match=r"silo-fr: exists"):
        certificates.make(tmp_path / "c", ["fr"])
    with pytest.raises(errors.PfrecError, match="cannot be a directory's name"):
        certificates.make(tmp_path / "c", ["a/b"])
    with pytest.raises(errors.PfrecError, match="capitals"):
        certificates.make(tmp_path / "c", ["de", "DE"])
    # Nor where the first one's was made earlier: its name in a certificate is the same.
    with pytest.raises(errors.PfrecError, match=r"silo-fr: exists; .* capitals alone"):
        certificates.make(tmp_path / "c", ["FR"])


def test_a_missing_file_and_an_open_key_are_named(tmp_path):
    for name in (tunnel.AUTHORITY, tunnel.CERTIFICATE):
        (tmp_path / name).write_text("x")
    with pytest.raises(
        errors.PfrecError,
        match=r"key\.pem: no such file; make certificates with pfrec-certificates",
    ):
        tunnel.Credentials.read(tmp_path)
    (tmp_path / tunnel.KEY).touch(0o644)
    with pytest.raises(errors.PfrecError, match="others may read it; chmod 600 it"):
        tunnel.Credentials.read(tmp_path)


@silo_machines.needs_tunnel
def test_certificates_that_are_none_end_in_stunnels_own_words(tmp_path):
    for name in (tunnel.AUTHORITY, tunnel.CERTIFICATE, tunnel.KEY):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        with pytest.raises(
            errors.PfrecError, match=r"stunnel did not start: .+; check the certificates"
        ):
            tunnel.Tunnel.of_silo(
                listening, tunnel.Credentials.read(tmp_path), 1, pathlib.Path(tmp_path / "log")
            )


@needs_openssl
@silo_machines.needs_tunnel
def test_who_shows_no_certificate_holds_a_place_for_a_moment_only(made, tmp_path, monkeypatch):
    monkeypatch.setattr(tunnel, "_HANDSHAKE_SECONDS", 1)
    credentials = tunnel.Credentials.read(made / "ours" / "silo-nl")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        end = tunnel.Tunnel.of_silo(listening, credentials, 1, tmp_path / "log")
        try:
            idle = [socket.create_connection(listening.getsockname(), 10) for _ in range(20)]
            for connection in idle:
                # A reset is an end too.
                with contextlib.suppress(ConnectionResetError):
                    assert connection.recv(1) == b""
        finally:
            end.stop()


@needs_openssl
@silo_machines.needs_tunnel
def test_idle_connections_without_a_certificate_do_not_lock_the_driver_out(
    made, tmp_path, monkeypatch
):
    """Two hundred of them, at a silo's end that may have 128 descriptors."""
    monkeypatch.setattr(tunnel, "_HANDSHAKE_SECONDS", 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (
        socket.create_server(("127.0.0.1", 0)) as worker,
        worker_lib.listen("127.0.0.1", 0) as listening,
        contextlib.ExitStack() as stack,
    ):
        credentials = tunnel.Credentials.read(made / "ours" / "silo-nl")
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
        try:
            end = tunnel.Tunnel.of_silo(
                listening, credentials, worker.getsockname()[1], tmp_path / "silo.log"
            )
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        stack.callback(end.stop)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        party = made / "ours" / "driver"
        context.load_cert_chain(party / tunnel.CERTIFICATE, party / tunnel.KEY)
        for _ in range(200):
            idle = stack.enter_context(socket.socket())
            idle.setblocking(False)
            idle.connect_ex(listening.getsockname())
        worker.settimeout(1)
        until, through = time.monotonic() + 60, False
        while not through and time.monotonic() < until:
            with (
                contextlib.suppress(OSError),
                socket.create_connection(listening.getsockname(), 2) as plain,
                context.wrap_socket(plain) as connection,
            ):
                connection.sendall(b"hello")
                led, _ = worker.accept()
                with led:
                    through = led.recv(5) == b"hello"
        assert through
        assert end.running
