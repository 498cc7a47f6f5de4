"""pfrec-certificates: makes an authority, and a certificate for driver and silos, with openssl.

pfrec-certificates --silos=nl,fr --output=certificates
pfrec-certificates --renew=driver --output=certificates
pfrec-certificates --output=certificates

The last one makes nothing, and says as the others do until when each holds.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

from absl import flags

from pfrec import command, errors, files
from pfrec.data.reading import source
from tff_process.silos import tunnel, validity

AUTHORITY_DIRECTORY = "authority"
_AUTHORITY_KEY = "ca.key"
_SILO = "silo-"
# An authority that ends with the first certificates could renew none of them.
_AUTHORITY_DAYS = 3650
_MOST_DAYS = 1_000_000


def main() -> None:
    """Entry point of `pfrec-certificates`."""
    flags.DEFINE_string(
        "output", None, "The directory to write: one directory in it for each party.", required=True
    )
    flags.DEFINE_list(
        "silos", [], "The scenarios whose silos get their first certificate, as nl,fr."
    )
    flags.DEFINE_list(
        "renew",
        [],
        "The parties whose certificate and key are made anew, by their directories in --output, as "
        "driver,silo-nl.",
    )
    for name, days, what in (
        ("days", 365, "the certificates are"),
        ("authority_days", _AUTHORITY_DAYS, "a new authority is"),
    ):
        # The dates of certificates have years of four digits.
        flags.DEFINE_integer(
            name, days, f"How many days {what} valid.", lower_bound=1, upper_bound=_MOST_DAYS
        )
    command.run(_main)


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    output = pathlib.Path(f.output)
    made = make(output, f.silos, f.days, renew=f.renew, authority_days=f.authority_days)
    for party in made:
        print(f"wrote {output / party}")
    if made:
        print(
            f"keep {output / AUTHORITY_DIRECTORY} to yourself; copy each other directory to its "
            "party over a way that you trust"
        )
    for line, end in told(output):
        print(line, file=sys.stderr if end else sys.stdout, flush=True)


def told(output: pathlib.Path) -> "list[tuple[str, bool]]":
    """Until when the authority and each party's certificate hold, a line for each, and whether it
    ended or ends soon.

    Raises:
      PfrecError: where there are none.
    """
    kept = output / AUTHORITY_DIRECTORY
    places = [*([kept] if kept.exists() else []), *_parties(output).values()]
    if not places:
        raise errors.PfrecError(
            f"{output}: holds no certificates; name the scenarios whose silos get one, as "
            "--silos=nl,fr"
        )
    authority = validity.Validity.read(places[0] / tunnel.AUTHORITY)  # Each party has a copy.
    if fault := authority.fault():
        return [(f"WARNING: {fault}; {tunnel.ANEW}", True)]
    lines = []
    for directory in places:
        of_authority = directory.name == AUTHORITY_DIRECTORY
        name = tunnel.AUTHORITY if of_authority else tunnel.CERTIFICATE
        read = validity.Validity.read(directory / name)
        wrong = read.fault() or read.warning()
        if not wrong:
            lines.append(
                (f"{directory}: holds until {validity.day(min(read.ends, authority.ends))}", False)
            )
            continue
        remedy = tunnel.ANEW if of_authority else f"make it anew with --renew={directory.name}"
        lines.append((f"WARNING: {wrong}; {remedy}", True))
    return lines


def make(
    output: pathlib.Path,
    silos: Sequence[str],
    days: int = 365,
    *,
    renew: Sequence[str] = (),
    authority_days: int = _AUTHORITY_DAYS,
) -> "list[str]":
    """Makes certificates for the driver and for silos;
    more silos may be added to an authority that is there.

    OUTPUT/authority/ca.pem, ca.key                     signs; whoever has the key can make itself a
                                                        driver
    OUTPUT/driver/ca.pem, certificate.pem, key.pem      for pfrec-train --tls
    OUTPUT/silo-nl/ca.pem, certificate.pem, key.pem     for pfrec-worker --tls of scenario nl

    Args:
      output: the directory.
      silos: scenarios whose silos have no certificate yet.
      days: how long the certificates hold.
      renew: parties, by their directories, whose certificate and key are made anew.
      authority_days: how long an authority holds that is made.

    Returns:
      the directories that were written, by name; of all others nothing is changed. The driver's is
      made together with those of silos, where there is none.

    Raises:
      PfrecError: where openssl is missing or fails, a name cannot be a scenario's, a silo has a
        certificate already, a party that is to be renewed has none, or the authority has ended
        or is not beside the parties that it made.
    """
    if not silos and not renew:
        return []
    openssl = shutil.which("openssl")
    if openssl is None:
        raise errors.PfrecError(
            "openssl is not installed; install it (Debian, Ubuntu: apt-get install openssl)"
        )
    parties = _parties(output)
    for party in renew:
        if party not in parties:
            raise errors.PfrecError(
                f"--renew={party}: there is no such party in {output}; there are "
                f"{', '.join(parties) or 'none'}; where the authority ends, {tunnel.ANEW}"
            )
    there = {path.name.lower(): path for path in output.glob(f"{_SILO}*")}
    for scenario in silos:
        source.check_scenario_name(scenario, place="--silos")
        # A certificate for S1 passes for one for s1.
        taken = there.get(f"{_SILO}{scenario}".lower())
        if taken is not None:
            raise errors.PfrecError(
                f"{taken}: exists; give --renew={taken.name} to make its certificate anew, or "
                "rename the scenario where they differ in capitals alone"
            )
    if len({scenario.lower() for scenario in silos}) < len(silos):
        raise errors.PfrecError(
            "--silos: names a scenario twice, or two that differ in capitals alone, which "
            "certificates do not tell apart; leave one out, or rename it"
        )
    authority, made = output / AUTHORITY_DIRECTORY, []
    if parties and not authority.exists():
        # Of a new one nobody would know what it makes.
        raise errors.PfrecError(
            f"{authority}: is not there, and {', '.join(parties)} beside it are of it; put it "
            "back, or choose another --output for a new authority with certificates for everybody"
        )
    if not authority.exists():
        _make_authority(openssl, authority, authority_days)
        made.append(AUTHORITY_DIRECTORY)
    elif fault := validity.Validity.read(authority / tunnel.AUTHORITY).fault():
        raise errors.PfrecError(f"{fault}; {tunnel.ANEW}")
    wanted = [
        *([tunnel.DRIVER_DIRECTORY] if silos and tunnel.DRIVER_DIRECTORY not in parties else []),
        *(f"{_SILO}{scenario}" for scenario in silos),
        *dict.fromkeys(renew),
    ]
    for party in wanted:
        with files.whole_directory(output / party, replace=party in parties) as directory:
            _certificate(openssl, authority, directory, party, days)
        made.append(party)
    return made


def _parties(output: pathlib.Path) -> "dict[str, pathlib.Path]":
    """The directories of parties that have a certificate, by name."""
    found = [output / tunnel.DRIVER_DIRECTORY, *sorted(output.glob(f"{_SILO}*"))]
    return {path.name: path for path in found if (path / tunnel.CERTIFICATE).is_file()}


def _make_authority(openssl: str, authority: pathlib.Path, days: int) -> None:
    with files.whole_directory(authority) as directory:
        _key(openssl, directory / _AUTHORITY_KEY)
        _run(
            openssl,
            *("req", "-x509", "-new", "-key", directory / _AUTHORITY_KEY),
            *("-out", directory / tunnel.AUTHORITY),
            *("-days", days, "-subj", "/CN=pfrec authority", "-sha256"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )


def _certificate(
    openssl: str, authority: pathlib.Path, directory: pathlib.Path, party: str, days: int
) -> None:
    name, usage = tunnel.silo_name(party.removeprefix(_SILO)), "serverAuth"
    if party == tunnel.DRIVER_DIRECTORY:
        name, usage = tunnel.DRIVER_NAME, "clientAuth"
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
