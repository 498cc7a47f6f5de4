"""Certificates of another time than now, which `openssl ca` alone can make."""

import pathlib
import shutil
import subprocess

from tff_process.commands import certificates
from tff_process.silos import tunnel

_CONFIG = """[ca]
default_ca=own
[own]
database={place}/index
serial={place}/serial
new_certs_dir={place}
default_md=sha256
policy=any
unique_subject=no
copy_extensions=copy
[any]
O=optional
CN=supplied
serialNumber=optional
"""


def reissue(made: pathlib.Path, party: str, begins: str, ends: str, scratch: pathlib.Path) -> None:
    """Gives a party's certificate, or the authority's, other dates, as 20200131235959Z; names and
    keys stay.
    """
    place = scratch / f"reissue-{party}-{ends}"
    place.mkdir()
    (place / "index").touch()
    (place / "serial").write_text("01")
    (place / "config").write_text(_CONFIG.format(place=place))
    authority = made / certificates.AUTHORITY_DIRECTORY
    own = party == certificates.AUTHORITY_DIRECTORY
    path = made / party / (tunnel.AUTHORITY if own else tunnel.CERTIFICATE)
    key = made / party / ("ca.key" if own else tunnel.KEY)
    _openssl(
        "x509", "-x509toreq", "-in", path, "-signkey", key, "-out", place / "request",
        "-copy_extensions", "copy",
    )  # fmt: skip
    _openssl(
        "ca", "-batch", "-notext", "-config", place / "config", "-in", place / "request",
        "-out", place / "made", "-keyfile", authority / "ca.key", "-startdate", begins,
        "-enddate", ends, *(["-selfsign"] if own else ["-cert", authority / tunnel.AUTHORITY]),
    )  # fmt: skip
    shutil.copyfile(place / "made", path)
    if own:
        for copy in made.glob(f"*/{tunnel.AUTHORITY}"):
            copy.write_bytes(path.read_bytes())


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
