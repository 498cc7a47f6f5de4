"""What a driver says of a silo that it reached, before anything is trained there."""

import types

import pytest

import pfrec
from pfrec import errors
from tff_process.silos import agreement, facts, host
from tff_process.silos import directory as silo_directory


@pytest.mark.parametrize(
    ("version", "rounds", "told"),
    [
        ("0.1.9", 20, f"runs pfrec 0.1.9, and here is pfrec {pfrec.__version__}, .* on both sides"),
        ("", 4, f"runs another pfrec, and here is pfrec {pfrec.__version__}, .* on both sides"),
        (pfrec.__version__, 20, "agreed to another plan: here rounds is 4 against 20 there"),
        ("", 20, "agreed to another plan: here rounds is 4 against 20 there"),
    ],
)
def test_a_silo_that_agreed_to_something_else_is_told_apart(
    schema, monkeypatch, version, rounds, told
):
    plan = {"algorithm": "fedavg", "init_from": "", "rounds": 4}
    silo = host.SiloHost(
        "nl", "10.0.0.2:7000", None, 1.0, None, None, None, agreement.Asked.of(plan, schema)
    )
    own = silo_directory.Facts(
        "nl", schema, 120, ("ctr",), {}, {**plan, "rounds": rounds}, version=version
    )
    monkeypatch.setattr(facts, "read", lambda remote, name: own)
    closed = []
    reached = types.SimpleNamespace(agreed="another", close=lambda: closed.append(True))
    with pytest.raises(errors.PfrecError, match=f"the silo of nl at 10.0.0.2:7000 .*{told}"):
        silo._require_agreed(reached)
    assert closed == [True]


def test_a_silo_says_its_version(schema):
    own = silo_directory.Facts(
        "nl", schema, 120, ("ctr",), dict.fromkeys(("train", "valid", "test"), ()), version="0.1.9"
    )
    read = silo_directory.Facts.from_json(own.to_json(), place="silo.json")
    assert read.version == "0.1.9"
    before = {name: value for name, value in own.to_json().items() if name != "pfrec"}
    assert silo_directory.Facts.from_json(before, place="silo.json").version == ""
