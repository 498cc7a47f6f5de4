"""Addresses of silos: what a user writes, and which of them may be used without a tunnel."""

import ipaddress
import socket
from collections.abc import Sequence

from pfrec import errors


def parse(text: str, *, place: str) -> "tuple[str, int]":
    """The host and port of HOST:PORT; an IPv6 host stands in brackets.

    Raises:
      PfrecError: where it is not of that form.
    """
    host, colon, port = text.rpartition(":")
    if (
        not colon
        or not host
        or not port.isdecimal()
        or not 0 < int(port) < 65536
        or (":" in host and host[0] + host[-1] != "[]")
    ):
        raise errors.PfrecError(
            f"{place}: {text!r} is not HOST:PORT, as 10.0.0.2:7000 or [fd00::2]:7000"
        )
    return host.strip("[]"), int(port)


def join(host: str, port: int) -> str:
    """The inverse of `parse`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_workers(texts: Sequence[str]) -> "dict[str, str]":
    """The address of each scenario's silo, of SCENARIO=HOST:PORT,
    in the order of the scenarios' names.

    Raises:
      PfrecError: where one is not of that form, or a scenario or an address is named twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        scenario, equals, address = text.partition("=")
        if not equals or not scenario:
            raise errors.PfrecError(
                f"--workers: {text!r} is not SCENARIO=HOST:PORT, as nl=10.0.0.2:7000"
            )
        if scenario in found:
            raise errors.PfrecError(f"--workers: scenario {scenario!r} is named twice")
        address = join(*parse(address, place="--workers"))
        if address in found.values():
            raise errors.PfrecError(
                f"--workers: {address} is named twice; a silo serves one scenario"
            )
        found[scenario] = address
    return dict(sorted(found.items()))


def is_loopback(host: str) -> bool:
    """Whether every address of a host stays on this machine.

    Raises:
      PfrecError: where the name is not known.
    """
    try:
        known = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise errors.PfrecError(
            f"{host}: no such host ({error.strerror or error}); check the name"
        ) from error
    return all(
        ipaddress.ip_address(str(address).partition("%")[0]).is_loopback for address in known
    )
