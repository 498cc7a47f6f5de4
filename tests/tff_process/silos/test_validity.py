"""Certificates that ended, end soon or do not hold yet are told at the start, by name and day."""

import datetime
import re
import shutil

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from pfrec import errors
from tests.tff_process.silos import ended
from tff_process.commands import certificates
from tff_process.silos import tunnel, validity

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(autouse=True)
def _no_tunnel(monkeypatch):
    """Dates are read without stunnel, which need not be installed for it."""
    monkeypatch.setattr(tunnel, "program", lambda: "stunnel")


@pytest.fixture
def made(tmp_path):
    certificates.make(tmp_path / "made", ["nl", "fr"])
    return tmp_path / "made"


def written(days):
    """The time in so many days, as openssl reads it."""
    return f"{datetime.datetime.now() + datetime.timedelta(days=days):%Y%m%d%H%M%SZ}"


@pytest.mark.parametrize("year", ["2020", "2051"])  # two digits of a year, and four
def test_the_dates_are_those_of_the_certificate(made, tmp_path, year):
    ended.reissue(made, "driver", "19991231010203Z", f"{year}0131235958Z", tmp_path)
    read = validity.Validity.read(made / "driver" / tunnel.CERTIFICATE)
    utc = datetime.timezone.utc
    assert read.begins == datetime.datetime(1999, 12, 31, 1, 2, 3, tzinfo=utc)
    assert read.ends == datetime.datetime(int(year), 1, 31, 23, 59, 58, tzinfo=utc)


@pytest.mark.parametrize("content", ["", "x", "-----BEGIN CERTIFICATE-----\nMAA=\n"])
def test_what_is_no_certificate_is_named(tmp_path, content):
    (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(errors.PfrecError, match=r"ca\.pem: is no certificate in PEM; make"):
        validity.Validity.read(tmp_path / "ca.pem")


def test_a_partys_certificate_that_ended_is_refused_and_made_anew(made, tmp_path):
    ended.reissue(made, "driver", "20200101000000Z", "20200131235959Z", tmp_path)
    other = (made / "silo-nl" / tunnel.CERTIFICATE).read_bytes()
    told = r"certificate\.pem: ended on 2020-01-31; .* anew with pfrec-certificates --renew=driver"
    with pytest.raises(errors.PfrecError, match=told):
        tunnel.Credentials.usable(made / "driver", "driver")
    (line,) = [line for line, wrong in certificates.told(made) if wrong]
    assert line.startswith(f"WARNING: {made / 'driver' / 'certificate.pem'}: ended on 2020-01-31;")
    assert line.endswith("make it anew with --renew=driver")

    assert certificates.make(made, [], renew=["driver"]) == ["driver"]

    warned = []
    tunnel.Credentials.usable(made / "driver", "driver", warned.append)
    assert warned == []
    assert (made / "silo-nl" / tunnel.CERTIFICATE).read_bytes() == other
    assert not any(wrong for _, wrong in certificates.told(made))


def test_a_certificate_that_ends_soon_is_told_of_and_taken(made, tmp_path):
    ended.reissue(made, "silo-nl", written(-9), written(10.5), tmp_path)
    warned = []
    credentials = tunnel.Credentials.usable(made / "silo-nl", "silo-nl", warned.append)
    assert credentials == tunnel.Credentials.read(made / "silo-nl")
    (told,) = warned
    day = datetime.datetime.now() + datetime.timedelta(days=10.5)
    assert f"certificate.pem: ends on {day:%Y-%m-%d}, in 10 days; " in told
    assert "--renew=silo-nl" in told


def test_certificates_in_use_are_told_of_as_their_end_comes_near_and_has_come(made, monkeypatch):
    """Once each at 30 days, 7, 1 and the end, of which a start says that one itself; the authority
    holds for longer.
    """
    told = []
    credentials = tunnel.Credentials.read(made / "silo-nl")
    ends = validity.Validity.read(made / "silo-nl" / tunnel.CERTIFICATE).ends
    now = ends - datetime.timedelta(days=40)
    monkeypatch.setattr(validity, "_now", lambda: now)
    watch = validity.Watch(credentials.held("silo-nl"), told.append)
    said = []
    for days in (40, 30.5, 29.5, 29, 7.5, 6.5, 2, 0.5, 0.4, -0.1, -3):
        now = ends - datetime.timedelta(days=days)
        watch.look()
        said.append(len(told))
    assert said == [0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]
    path, day = made / "silo-nl" / tunnel.CERTIFICATE, f"{ends:%Y-%m-%d}"
    assert [line.partition("; ")[0] for line in told] == [
        f"WARNING: {path}: ends on {day}, in 29 days",
        f"WARNING: {path}: ends on {day}, in 6 days",
        f"WARNING: {path}: ends on {day}, in 0 days",
        f"WARNING: {path}: ended on {day}",
    ]
    assert all(line.endswith("--renew=silo-nl, and copy that directory here") for line in told)
    # One that is started now has said that it ends in two days, and not yet that it has ended.
    now = ends - datetime.timedelta(days=2)
    again = validity.Watch(credentials.held("silo-nl"), told.append)
    again.look()
    assert len(told) == 4
    now = ends + datetime.timedelta(seconds=1)
    again.look()
    assert len(told) == 5


def test_a_driver_reads_its_certificates_once_to_check_and_to_tell(made, tmp_path, monkeypatch):
    ended.reissue(made, "driver", written(-9), written(10.5), tmp_path)
    read, warned = [], []
    whole = validity.Validity.read
    monkeypatch.setattr(validity.Validity, "read", lambda path: read.append(path) or whole(path))
    tunnel.to_silos({"nl": "10.0.0.2:7000"}, made / "driver", warned.append)
    assert [path.name for path in read] == [tunnel.AUTHORITY, tunnel.CERTIFICATE]
    (told,) = warned
    assert told.endswith("with pfrec-certificates --renew=driver, and copy that directory here")
    tunnel.to_silos({"nl": "10.0.0.2:7000"}, made / "driver")
    assert len(warned) == 1


def test_anothers_certificate_is_named_by_who_holds_it(made):
    told = r"certificate\.pem: is of nl\.silo\.pfrec, and here driver\.pfrec is needed; name that"
    with pytest.raises(errors.PfrecError, match=told):
        tunnel.to_silos({"nl": "10.0.0.2:7000"}, made / "silo-nl")
    driver = tunnel.Credentials.read(made / "driver")
    driver.require_of(tunnel.DRIVER_NAME)
    with pytest.raises(errors.PfrecError, match=r"is of driver\.pfrec, and here nl\.silo\.pfrec"):
        driver.require_of(tunnel.silo_name("nl"))


def for_hosts(directory, hosts):
    """Gives the party a certificate of its key for these hosts, of its own authority."""
    key = serialization.load_pem_private_key((directory / tunnel.KEY).read_bytes(), None)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "driver.pfrec")])
    begins = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder(
        subject, subject, key.public_key(), 1, begins, begins + datetime.timedelta(days=1)
    )
    if hosts:
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        made = made.add_extension(names, critical=False)
    content = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (directory / tunnel.CERTIFICATE).write_bytes(content)
    return tunnel.Credentials.read(directory)


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ([], "driver.pfrec"),
        (["x.org", "DRIVER.pfrec"], "driver.pfrec"),
        (["*.silo.pfrec"], "nl.silo.pfrec"),
        (["*.Silo.pfrec"], "NL.silo.pfrec"),
    ],
)
def test_a_certificate_that_a_peer_may_take_is_left_to_it(made, hosts, name):
    for_hosts(made / "driver", hosts).require_of(name)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("*.silo.pfrec", "driver.pfrec"),
        ("*.silo.pfrec", "silo.pfrec"),
        ("*.silo.pfrec", "a.nl.silo.pfrec"),
        ("nl.*.pfrec", "nl.silo.pfrec"),
    ],
)
def test_a_star_is_one_first_label(made, host, name):
    with pytest.raises(errors.PfrecError, match=f"is of {re.escape(host)}, and here {name} is"):
        for_hosts(made / "driver", [host]).require_of(name)


def test_a_clock_that_is_behind_is_told(made, tmp_path):
    """To the minute: a clock may be behind by an hour."""
    ended.reissue(made, "silo-nl", "20900101003059Z", "20910101000000Z", tmp_path)
    told = (
        r"holds from 2090-01-01 00:30 UTC on, and this machine's clock says "
        r"2\d{3}-\d\d-\d\d \d\d:\d\d UTC: set it if it is wrong; where the authority is, make"
    )
    with pytest.raises(errors.PfrecError, match=told):
        tunnel.Credentials.usable(made / "silo-nl", "silo-nl")


def test_with_an_authority_all_that_it_signed_ends(made, tmp_path):
    """Nothing is made by one that ended, and a certificate holds no longer than it."""
    ended.reissue(made, "authority", written(-9), written(90), tmp_path)
    day = datetime.datetime.now() + datetime.timedelta(days=90)
    lines = [line for line, _ in certificates.told(made)]
    assert [line.rpartition(": ")[2] for line in lines] == [f"holds until {day:%Y-%m-%d}"] * 4
    ended.reissue(made, "authority", "20200101000000Z", "20200131235959Z", tmp_path)
    told = r"ca\.pem: ended on 2020-01-31; .*pfrec-certificates, into another --output"
    with pytest.raises(errors.PfrecError, match=told):
        certificates.make(made, [], renew=["driver"])
    with pytest.raises(errors.PfrecError, match=told):
        tunnel.Credentials.usable(made / "driver", "driver")
    assert [wrong for _, wrong in certificates.told(made)] == [True]


@pytest.mark.parametrize("party", ["authority", "nl", "silo-de"])
def test_who_has_no_certificate_cannot_renew_it(made, party):
    with pytest.raises(errors.PfrecError, match=f"--renew={party}: .* driver, silo-fr, silo-nl;"):
        certificates.make(made, [], renew=[party])


def files_in(directory):
    return sorted(path for path in directory.rglob("*") if path.is_file())


@pytest.mark.parametrize("asked", [{"silos": ["de"]}, {"silos": [], "renew": ["driver"]}])
def test_parties_whose_authority_is_elsewhere_get_no_other_one(made, tmp_path, asked):
    (made / "authority").rename(tmp_path / "kept")
    assert len(certificates.told(made)) == 3
    before = files_in(made)
    key = (made / "driver" / tunnel.KEY).read_bytes()
    with pytest.raises(errors.PfrecError, match=r"authority: is not there, .*driver.* put it back"):
        certificates.make(made, **asked)
    assert files_in(made) == before
    assert (made / "driver" / tunnel.KEY).read_bytes() == key


def test_nothing_is_made_where_nothing_is_asked_for(made, tmp_path):
    assert certificates.make(tmp_path / "none", []) == []
    assert not (tmp_path / "none").exists()
    with pytest.raises(errors.PfrecError, match="none: holds no certificates"):
        certificates.told(tmp_path / "none")
    shutil.rmtree(made / "driver")  # Moved to its party.
    assert certificates.make(made, []) == []
    assert certificates.make(made, [], renew=["silo-nl"]) == ["silo-nl"]
    assert not (made / "driver").exists()


def test_what_is_packed_beside_parties_is_none(made):
    (made / "silo-nl.tar.gz").write_bytes(b"packed")
    assert len(certificates.told(made)) == 4  # The authority, the driver, two silos.
    with pytest.raises(errors.PfrecError, match="there is no such party"):
        certificates.make(made, [], renew=["silo-nl.tar.gz"])
