"""pfrec-certificates: makes an authority, and a certificate for driver and silos, with openssl.

pfrec-certificates --silos=nl,fr --output=certificates
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
from collections.abc import Sequence

from absl import flags

from pfrec import command, errors, files
from pfrec.data.reading import source
from tff_process.silos import tunnel

AUTHORITY_DIRECTORY, DRIVER_DIRECTORY = "authority", "driver"
_AUTHORITY_KEY = "ca.key"


def main() -> None:
    """Entry point of `pfrec-certificates`."""
    flags.DEFINE_string(
        "output", None, "The directory to write: one directory in it for each party.", required=True
    )
    flags.DEFINE_list(
        "silos", None, "The scenarios whose silos get a certificate, as nl,fr.", required=True
    )
    flags.DEFINE_integer("days", 365, "How long the certificates are valid.", lower_bound=1)
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    output = pathlib.Path(f.output)
    made = make(output, f.silos, f.days)
    for party in made:
        print(f"wrote {output / party}")
    print(
        f"keep {output / AUTHORITY_DIRECTORY} to yourself; copy each other directory to its party "
        "over a way that you trust"
    )


def make(output: pathlib.Path, silos: Sequence[str], days: int = 365) -> "list[str]":
    """Makes certificates for the driver and for silos;
    more silos may be added to an authority that is there.

    OUTPUT/authority/ca.pem, ca.key                     signs; whoever has the key can make itself a
                                                        driver
    OUTPUT/driver/ca.pem, certificate.pem, key.pem      for pfrec-train --tls
    OUTPUT/silo-nl/ca.pem, certificate.pem, key.pem     for pfrec-worker --tls of scenario nl

    Returns:
      the parties' directories, by name; of those that were there already nothing is changed.

    Raises:
      PfrecError: where openssl is missing or fails, a name cannot be a scenario's, or a silo has a
        certificate already.
    """
    openssl = shutil.which("openssl")
    if openssl is None:
        raise errors.PfrecError(
            "openssl is not installed; install it (Debian, Ubuntu: apt-get install openssl)"
        )
    there = {path.name.lower(): path for path in output.glob("silo-*")}
    for scenario in silos:
        source.check_scenario_name(scenario, place="--silos")
        # A certificate for S1 passes for one for s1.
        taken = there.get(f"silo-{scenario}".lower())
        if taken is not None:
            raise errors.PfrecError(
                f"{taken}: exists; remove it to make a new certificate, or rename the "
                "scenario where they differ in capitals alone"
            )
    if len({scenario.lower() for scenario in silos}) < len(silos):
        raise errors.PfrecError(
            "--silos: names in certificates do not tell capitals from small letters; rename "
            "a scenario"
        )
    authority = output / AUTHORITY_DIRECTORY
    if not authority.exists():
        with files.whole_directory(authority) as directory:
            _key(openssl, directory / _AUTHORITY_KEY)
            _run(
                openssl,
                *(
                    "req",
                    "-x509",
                    "-new",
                    "-key",
                    directory / _AUTHORITY_KEY,
                    "-out",
                    directory / tunnel.AUTHORITY,
                ),
                *("-days", days, "-subj", "/CN=pfrec authority", "-sha256"),
                *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            )
    made = [AUTHORITY_DIRECTORY]
    parties = (
        {}
        if (output / DRIVER_DIRECTORY).exists()
        else {DRIVER_DIRECTORY: (tunnel.DRIVER_NAME, "clientAuth")}
    )
    parties.update(
        {f"silo-{scenario}": (tunnel.silo_name(scenario), "serverAuth") for scenario in silos}
    )
    for party, (name, usage) in parties.items():
        with files.whole_directory(output / party) as directory:
            _certificate(openssl, authority, directory, name, usage, days)
        made.append(party)
    return made


def _certificate(
    openssl: str, authority: pathlib.Path, directory: pathlib.Path, name: str, usage: str, days: int
) -> None:
    _key(openssl, directory / tunnel.KEY)
    request, extensions = directory / "request", directory / "extensions"
    # The purpose is written into it, so that a silo's certificate cannot be used as the driver's.
    extensions.write_text(
        f"subjectAltName=DNS:{name}\nextendedKeyUsage=critical,{usage}\n"
        "keyUsage=critical,digitalSignature\n"
        "basicConstraints=critical,CA:FALSE\n",
        encoding="ascii",
    )
    _run(
        openssl,
        "req",
        "-new",
        "-key",
        directory / tunnel.KEY,
        "-out",
        request,
        "-subj",
        # stunnel says of a certificate its subject alone: it tells one driver's from another's.
        f"/O=pfrec/CN={name[:64]}/serialNumber={_fingerprint(openssl, directory / tunnel.KEY)}",
        "-sha256",
    )
    _run(
        openssl,
        *(
            "x509",
            "-req",
            "-in",
            request,
            "-out",
            directory / tunnel.CERTIFICATE,
            "-days",
            days,
            "-sha256",
        ),
        *("-CA", authority / tunnel.AUTHORITY, "-CAkey", authority / _AUTHORITY_KEY),
        *("-set_serial", f"0x{os.urandom(16).hex()}", "-extfile", extensions),
    )
    request.unlink()
    extensions.unlink()
    shutil.copyfile(authority / tunnel.AUTHORITY, directory / tunnel.AUTHORITY)


def _fingerprint(openssl: str, key: pathlib.Path) -> str:
    """The first half of the SHA-256 of a key's public part."""
    public = key.with_name("public")
    _run(openssl, "pkey", "-in", key, "-pubout", "-outform", "DER", "-out", public)
    try:
        return hashlib.sha256(public.read_bytes()).hexdigest()[:32]
    finally:
        public.unlink()


def _key(openssl: str, path: pathlib.Path) -> None:
    path.touch(0o600)
    _run(
        openssl, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path
    )
    path.chmod(0o600)


def _run(openssl: str, *arguments: object) -> None:
    done = subprocess.run(
        [openssl, *map(str, arguments)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise errors.PfrecError(
            f"openssl {arguments[0]} failed: {' '.join(done.stderr.split())[:300]}; check its "
            "version, 1.1.1 or later"
        )


if __name__ == "__main__":
    main()
