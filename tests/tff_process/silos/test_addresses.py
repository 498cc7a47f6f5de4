"""Addresses of silos."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfrec import errors
from tff_process.silos import addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.0.0.2:7000", ("10.0.0.2", 7000)),
        ("[fd00::2]:1", ("fd00::2", 1)),
        ("silo.example:65535", ("silo.example", 65535)),
    ],
)
def test_an_address_is_read_and_written(text, expected):
    assert addresses.parse(text, place="--workers") == expected
    assert addresses.join(*expected) == text


@pytest.mark.parametrize(
    "text", ["", "nl", ":7000", "nl:", "nl:0", "nl:65536", "nl:-1", "nl:7a", "fd00::2:7000"]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(errors.PfrecError, match=r"--workers: .* is not HOST:PORT"):
        addresses.parse(text, place="--workers")


@settings(max_examples=50)
@given(st.text(max_size=30))
def test_any_text_is_an_address_that_reads_back_or_an_error(text):
    try:
        host, port = addresses.parse(text, place="x")
    except errors.PfrecError:
        return
    assert addresses.parse(addresses.join(host, port), place="x") == (host, port)


def test_workers_come_in_the_order_of_scenarios():
    assert list(addresses.parse_workers(["nl=127.0.0.1:2", "es=127.0.0.1:1"]).items()) == [
        ("es", "127.0.0.1:1"),
        ("nl", "127.0.0.1:2"),
    ]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["nl"], "is not SCENARIO=HOST:PORT"),
        (["=a:1"], "is not SCENARIO=HOST:PORT"),
        (["nl=a:1", "nl=b:1"], "scenario 'nl' is named twice"),
        (["nl=a:1", "es=a:1"], "a:1 is named twice"),
    ],
)
def test_workers_that_do_not_fit_are_refused(texts, message):
    with pytest.raises(errors.PfrecError, match=message):
        addresses.parse_workers(texts)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("192.0.2.1", False),
        ("0.0.0.0", False),
    ],
)
def test_loopback(host, expected):
    assert addresses.is_loopback(host) == expected


def test_an_unknown_host_is_named(monkeypatch):
    def fail(*_):
        raise OSError(0, "unknown")

    monkeypatch.setattr(addresses.socket, "getaddrinfo", fail)
    with pytest.raises(errors.PfrecError, match=r"nowhere: no such host \(unknown\)"):
        addresses.is_loopback("nowhere")
