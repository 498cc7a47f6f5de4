"""pfrec-worker: serves one scenario's data, on this machine's disk, to a training elsewhere.

pfrec-worker --port=7000 --client_dir=/srv/nl --agreement=nl.json --host=10.0.0.2 --tls=/srv/tls
"""

import pathlib
import resource
import signal
import socket
from typing import TYPE_CHECKING, Any

from absl import flags

from pfrec import command, errors
from tff_process.runtime import private_network
from tff_process.silos import addresses

if TYPE_CHECKING:
    from collections.abc import Mapping

# In a network of its own every port is free.
_INNER_PORT = 10_000


def main() -> None:
    """Entry point of `pfrec-worker`."""
    flags.DEFINE_integer(
        "port", None, "The port to listen on.", required=True, lower_bound=1, upper_bound=65535
    )
    flags.DEFINE_string(
        "client_dir",
        None,
        "This silo's directory, with the data in data/; see docs/silos.md.",
        required=True,
    )
    flags.DEFINE_string(
        "host", "127.0.0.1", "The address to listen on; one that is not loopback needs --tls."
    )
    flags.DEFINE_string(
        "tls",
        None,
        "A directory of ca.pem, certificate.pem and key.pem, for the tunnel to the driver.",
    )
    flags.DEFINE_string(
        "agreement",
        None,
        "The file of pfrec-agreement that you read and sign off: a gatekeeper then lets a "
        "driver do "
        "what stands in it and nothing else. Needed for a --host that is not loopback.",
    )
    flags.DEFINE_integer(
        "firewalled_port",
        None,
        "Only for systems without network namespaces: the port that TFF's worker itself takes "
        "there on every interface, "
        "which you have closed to other machines by a firewall.",
        lower_bound=1,
        upper_bound=65535,
    )
    flags.DEFINE_float(
        "hang_timeout",
        60.0,
        "Seconds without an answer after which the worker is started again.",
        lower_bound=0.1,
    )
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    directory = pathlib.Path(f.client_dir).resolve()
    if not directory.is_dir():
        raise errors.PfrecError(
            f"{directory}: no such directory; let pfrec-convert write this silo's data to "
            f"{directory / 'data'}"
        )
    if f.tls is None and not addresses.is_loopback(f.host):
        raise errors.PfrecError(
            f"--host={f.host}: is not a loopback address, and without a tunnel whoever reaches the "
            "port can read this silo's data; "
            "give --tls=DIR with certificates of pfrec-certificates"
        )
    if f.agreement is None and not addresses.is_loopback(f.host):
        raise errors.PfrecError(
            f"--host={f.host}: is not a loopback address, and without an agreement whoever drives "
            "can run any computation on this silo's data; make one with pfrec-agreement, read it, "
            "and give it as --agreement=FILE"
        )
    # Every connection takes two descriptors, those of who shows no certificate too.
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with listen(f.host, f.port) as listening:
        port = isolate(f.firewalled_port)
        # Only now: NumPy starts threads, with which a process may not enter a user namespace.
        from tff_process.runtime import threads
        from tff_process.silos import agreement as agreement_lib
        from tff_process.silos import directory as silo_directory
        from tff_process.silos import service as silo_service
        from tff_process.silos import tunnel

        lock = silo_directory.Lock(directory)
        credentials = None
        if f.tls is not None:
            credentials = tunnel.Credentials.usable(
                pathlib.Path(f.tls), tunnel.SILO_DIRECTORY, command.warn
            )
        agreed, terms, plan = None, None, None
        if f.agreement is not None:
            agreed = agreement_lib.Agreement.read(pathlib.Path(f.agreement))
        facts = silo_directory.prepare(
            directory, None if agreed is None else agreed.plan, command.warn
        )
        if credentials is not None:
            credentials.require_of(tunnel.silo_name(facts.scenario))
        if agreed is not None:
            from tff_process.silos import own_computations

            own = own_computations.OwnComputations(agreed.plan, facts, f.agreement)
            secret = (directory / silo_directory.SECRET).read_bytes()
            terms = own.terms(agreed, secret)
            plan = own.plan
        service = silo_service.Service(
            directory,
            listening,
            credentials,
            port,
            f.hang_timeout,
            lambda line: print(line, flush=True),
            terms,
            threads=threads.at_silo(plan, facts.schema),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: service.stop())
        way = "in plain" if credentials is None else "by mutual TLS"
        bound = (
            "WITHOUT AN AGREEMENT: whoever drives can run any computation here"
            if agreed is None
            else f"under agreement {agreed.digest[:12]}"
        )
        print(
            f"serving {facts.scenario} from {directory} on {addresses.join(f.host, f.port)} {way}, "
            f"{bound}",
            flush=True,
        )
        if service.used_up:
            print(f"note: {service.used_up}", flush=True)
        if agreed is not None and not _multiplies_as(agreed.plan):
            print(
                "note: this processor has no bfloat16 products, in which the agreed training "
                "multiplies: it trains all the same, slowly",
                flush=True,
            )
        if service.unconfined:
            print(
                "note: TFF's worker has no sandbox and reaches every file that this user may read: "
                f"{service.unconfined}; keep keys and other files from this user",
                flush=True,
            )
        service.run()
    lock.release()
    print("ended", flush=True)


def _multiplies_as(plan: "Mapping[str, Any]") -> bool:
    """Whether this processor has the products of an agreed plan."""
    from pfrec.models import precision

    return precision.available(plan.get("precision", precision.FLOAT32))


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
      PfrecError: where the address is not this machine's or the port is taken.
    """
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64
        )
    except OSError as error:
        raise errors.PfrecError(
            f"{addresses.join(host, port)}: {error.strerror or error}; choose another --port "
            "or --host"
        ) from error


def isolate(firewalled_port: "int | None") -> int:
    """Makes the worker's port one that nothing outside of this process's children reaches,
    and returns it.

    Raises:
      PfrecError: where the system does not permit that, and no firewalled port is named.
    """
    if firewalled_port is not None:
        return firewalled_port
    try:
        private_network.enter()
    except errors.PfrecError as error:
        raise errors.PfrecError(
            f"{error}, and TFF's worker listens on every interface for everybody; permit user "
            "namespaces, run as root, "
            "or close a port by a firewall and name it as --firewalled_port"
        ) from error
    return _INNER_PORT


if __name__ == "__main__":
    main()
