"""The mutual-TLS tunnel between the driver and a silo: both ends are stunnel,
a program of its own that we start and end.

TFF's protocol has neither encryption nor authentication, and who speaks it can run any computation.
So the silo's end takes connections with the driver's certificate alone, and the driver's end leads
to a peer with the certificate of that scenario's silo alone, all under one authority of their own.
Each end is handed a socket that listens already, by the protocol of systemd's socket activation.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Optional

from pfrec import child, errors
from tff_process.runtime import logs
from tff_process.silos import addresses, tunnel_log, validity

AUTHORITY, CERTIFICATE, KEY = "ca.pem", "certificate.pem", "key.pem"
DRIVER_NAME = "driver.pfrec"
# Of a party by its name at `pfrec-certificates`; a silo's, where its scenario is not known yet.
DRIVER_DIRECTORY, SILO_DIRECTORY = "driver", "silo-SCENARIO"
# What is left once an authority ends.
ANEW = (
    "make an authority and everybody's certificates anew with pfrec-certificates, into another "
    "--output, and copy them"
)
# Of stunnel: the first that has `sessionResume`.
_LEAST_VERSION = (5, 60)
_START_SECONDS = 60.0
_HANDSHAKE_SECONDS = 10
_REFUSAL_SECONDS = 5.0
# The protocol asks for the socket as descriptor 3 and for the process's own number, which is known
# only in it.
_HAND_OVER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ.update(LISTEN_PID=str(os.getpid()), "
    "LISTEN_FDS='1'); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


def silo_name(scenario: str) -> str:
    """The name in the certificate of a scenario's silo."""
    return f"{scenario}.silo.pfrec"


def renewal(party: str) -> str:
    """How a party's certificate is made anew, as a clause that ends before the place."""
    return (
        f"where the authority is, make it anew with pfrec-certificates --renew={party}, "
        "and copy that directory"
    )


@dataclasses.dataclass(frozen=True)
class Credentials:
    """One party's directory of the authority's certificate, its own, and its key.

    Attributes:
      directory: of the three files.
    """

    directory: pathlib.Path

    @classmethod
    def read(cls, directory: pathlib.Path) -> "Credentials":
        """Checks that all is there.

        Raises:
          PfrecError: where a file is missing, or others may read the key.
        """
        directory = directory.resolve()
        for name in (AUTHORITY, CERTIFICATE, KEY):
            if not (directory / name).is_file():
                raise errors.PfrecError(
                    f"{directory / name}: no such file; make certificates with pfrec-certificates "
                    "and copy this party's"
                )
        if (directory / KEY).stat().st_mode & 0o077:
            raise errors.PfrecError(f"{directory / KEY}: others may read it; chmod 600 it")
        if any(character in str(directory) for character in "\r\n"):
            raise errors.PfrecError(
                f"{directory!s}: a line break in a path is not possible here; choose another one"
            )
        return cls(directory)

    @classmethod
    def usable(
        cls, directory: pathlib.Path, party: str, warn: "Optional[Callable[[str], None]]" = None
    ) -> "Credentials":
        """Reads a party's and checks that a tunnel may begin with them: without stunnel there is
        none, and where a certificate does not hold today no peer takes it, or it takes none, and
        both say no more than that they cannot be reached.

        Args:
          directory: of the three files.
          party: whose they are, by the name of its directory at `pfrec-certificates`.
          warn: is told of each that ends soon; None where that is told already.

        Raises:
          PfrecError: where stunnel or a file is missing, or a certificate is none or does not hold.
        """
        program()
        found = cls.read(directory)
        for read, remedy in found.held(party):
            if fault := read.fault():
                raise errors.PfrecError(f"{fault}; {remedy}")
            if warn is not None and (warning := read.warning()):
                warn(f"{warning}; {remedy}")
        return found

    def held(self, party: str) -> "list[tuple[validity.Validity, str]]":
        """How long the authority's certificate and the own one hold, each with what to do where it
        does not, as a clause.

        Args:
          party: as of `usable`.

        Raises:
          PfrecError: where one is none.
        """
        remedies = {AUTHORITY: f"with it ends all that it signed: {ANEW}"}
        remedies[CERTIFICATE] = f"{renewal(party)} here"
        return [
            (validity.Validity.read(self.directory / name), remedy)
            for name, remedy in remedies.items()
        ]

    def require_of(self, name: str) -> None:
        """Checks that the certificate is of the party that it calls `name`: another's no peer
        takes, which says no more than that it cannot be reached. One that names no hosts, as by its
        subject alone, is left to the peer.

        Raises:
          PfrecError: where it is another's.
        """
        found = validity.hosts(self.directory / CERTIFICATE)
        if found and not any(validity.covers(host, name) for host in found):
            raise errors.PfrecError(
                f"{self.directory / CERTIFICATE}: is of {' and '.join(found)}, and "
                f"here {name} is needed; name that party's directory of pfrec-certificates"
            )

    @property
    def authority(self) -> str:
        """The SHA-256 of the authority's certificate."""
        text = (self.directory / AUTHORITY).read_text(encoding="ascii")
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest()

    def options(self, peer: str, network: str) -> str:
        """What both ends' services have in common;
        `network` is stunnel's letter for the side that the network is on.
        """
        return "\n".join(
            [
                # A placeholder: the socket that is handed over takes its place.
                "accept = 127.0.0.1:1",
                f"CAfile = {self.directory / AUTHORITY}",
                f"cert = {self.directory / CERTIFICATE}",
                f"key = {self.directory / KEY}",
                "verifyChain = yes",
                f"checkHost = {peer}",
                # A resumed session shows no certificate: the ledger could not name whose it is.
                "sessionResume = no",
                "sslVersionMin = TLSv1.3",
                "TIMEOUTclose = 0",
                # A round may be silent for long, and firewalls forget silent connections.
                f"socket = {network}:SO_KEEPALIVE=1",
                f"socket = {network}:TCP_KEEPIDLE=60",
                "",
            ]
        )


def program() -> str:
    """The path of stunnel.

    Raises:
      PfrecError: where it is not installed, or too old for `Credentials.options`.
    """
    found = shutil.which("stunnel4") or shutil.which("stunnel")
    if found is None:
        raise errors.PfrecError(
            "stunnel is not installed; install it (Debian, Ubuntu: apt-get install stunnel4)"
        )
    told = subprocess.run([found, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r"stunnel (\d+)\.(\d+)", told)
    if version and tuple(map(int, version.groups())) < _LEAST_VERSION:
        least = ".".join(map(str, _LEAST_VERSION))
        raise errors.PfrecError(
            f"{found}: {version.group()} is too old for the tunnels; install {least} or newer"
        )
    return found


def to_silos(
    workers: Mapping[str, str],
    directory: Optional[pathlib.Path],
    warn: "Optional[Callable[[str], None]]" = None,
) -> Optional[Credentials]:
    """Checks that silos may be reached as asked; returns the driver's credentials,
    None where it speaks to them in plain.

    Args:
      workers: HOST:PORT by scenario.
      directory: of the driver's credentials; None for no tunnel.
      warn: as of `Credentials.usable`.

    Raises:
      PfrecError: where an address is not loopback and there is no tunnel for it, stunnel or a
        certificate is missing, one does not hold, or it is not the driver's.
    """
    if directory is not None:
        found = Credentials.usable(directory, DRIVER_DIRECTORY, warn)
        found.require_of(DRIVER_NAME)
        return found
    for scenario, address in workers.items():
        host, _ = addresses.parse(address, place="--workers")
        if not addresses.is_loopback(host):
            raise errors.PfrecError(
                f"--workers={scenario}={address}: is not a loopback address, and without a tunnel "
                "everything is sent in plain to whoever answers; "
                "give --tls=DIR with certificates of pfrec-certificates"
            )
    return None


class Tunnel:
    """One end, a process. Start it from the main thread, see `child`.

    Args:
      listening: a socket that listens, which this end takes connections from.
      service: the options of stunnel's service.
      log: file that receives its messages, at its end.
      credentials: by which this end takes others' certificates; None where nobody asks for peers.

    Attributes:
      pid: of the process.

    Raises:
      PfrecError: where stunnel is not installed or does not start; the message holds its reason.
    """

    def __init__(
        self,
        listening: socket.socket,
        service: str,
        log: pathlib.Path,
        credentials: Optional[Credentials] = None,
    ) -> None:
        self._credentials = credentials
        stunnel = program()
        config = f"foreground = yes\nsyslog = no\npid =\n[silo]\n{service}"
        self._log, self._start = log, log.stat().st_size if log.exists() else 0
        self._listening = listening
        # stunnel reads its configuration from a descriptor, so no file of it is left behind.
        reading, writing = os.pipe()
        try:
            os.write(writing, config.encode())
            os.close(writing)
            given = listening.fileno()
            with logs.open_to_append(log) as stream:
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-I",
                        "-S",
                        "-c",
                        _HAND_OVER,
                        str(given),
                        stunnel,
                        "-fd",
                        str(reading),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stream,
                    pass_fds=(given, reading),
                    preexec_fn=child.end_with_parent(),
                )
        finally:
            os.close(reading)
        self.pid = self._process.pid
        deadline = time.monotonic() + _START_SECONDS
        while "Configuration successful" not in self.messages():
            if not self.running or time.monotonic() > deadline:
                self.stop()
                # The log may be gone by the time that somebody looks for it.
                said = self.reason() or self.messages().strip().rpartition("\n")[2]
                raise errors.PfrecError(
                    f"stunnel did not start: {said or 'it gave no reason'}; check the certificates"
                )
            time.sleep(0.02)

    @classmethod
    def of_silo(
        cls, listening: socket.socket, credentials: Credentials, port: int, log: pathlib.Path
    ) -> "Tunnel":
        """The silo's end: takes the driver's connections from `listening` and leads them to the
        worker's port.
        """
        return cls(
            listening,
            f"connect = 127.0.0.1:{port}\nrequireCert = yes\n"
            # Who connects and shows no certificate holds a place for so many seconds and no longer.
            f"TIMEOUTbusy = {_HANDSHAKE_SECONDS}\n" + credentials.options(DRIVER_NAME, "l"),
            log,
            credentials,
        )

    @classmethod
    def of_driver(
        cls,
        listening: socket.socket,
        credentials: Credentials,
        address: str,
        scenario: str,
        log: pathlib.Path,
    ) -> "Tunnel":
        """The driver's end: leads what connects to `listening` to the silo of a scenario."""
        # stunnel takes an IPv6 address without brackets.
        host, port = addresses.parse(address, place="--workers")
        service = f"client = yes\nconnect = {host}:{port}\ndelay = yes\nTIMEOUTconnect = 10\n"
        return cls(listening, service + credentials.options(silo_name(scenario), "r"), log)

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def messages(self) -> str:
        """What this process said."""
        with self._log.open("rb") as stream:
            # One that was shortened holds nothing of those before us any more.
            size = stream.seek(0, os.SEEK_END)
            stream.seek(self._start if self._start <= size else 0)
            return stream.read().decode(errors="replace")

    def peer(self, port: int) -> str:
        """Who is led to the other end by a connection from this machine's `port`: the address, and
        the certificate; empty where stunnel's log does not say.
        """
        address, certificate = tunnel_log.peer(self.messages(), port)
        if not address or self._credentials is None:
            return address
        authority = self._credentials.authority[:16]
        return f"{address}, certificate {certificate} of the authority {authority}"

    def reason(self) -> str:
        """Its last message of an error, see `tunnel_log.reason`."""
        return tunnel_log.reason(self.messages())

    def refusal(self) -> str:
        """Why nobody answers at the other end, as `reason` tells it, of one more connection that
        says nothing: where a silo has refused our certificate, stunnel finds the connection closed
        if it has something to send, and only otherwise reads the reason that the silo gave.
        """
        if self.running:
            with contextlib.suppress(OSError), socket.socket(self._listening.family) as silent:
                silent.settimeout(_REFUSAL_SECONDS)
                silent.connect(self._listening.getsockname())
                silent.recv(1)
        return self.reason()

    def stop(self) -> None:
        """Ends the process, also one that hangs, and waits for it."""
        child.stop(self._process)
