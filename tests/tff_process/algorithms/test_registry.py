"""Algorithms by name, the user's own among them."""

import pytest

from pfrec import errors
from tff_process import plan as plan_lib
from tff_process.algorithms import base, registry
from tff_process.comparison import entries
from tff_process.process import federation

OWN = """
import dataclasses

from pfrec import settings
from tff_process.algorithms import base, fedavg, registry


@dataclasses.dataclass(frozen=True)
class Settings(settings.Settings, prefix="momentum"):
    decay: float = settings.setting(0.9, "decay of the momentum", low=0.0, below=1.0)


@registry.register("server_momentum")
def momentum(schema, settings=Settings()):
    return dataclasses.replace(fedavg.fedavg(schema), name=f"momentum {settings.decay}")


def plain(schema):
    return fedavg.fedavg(schema)


nothing = 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_algorithms.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "own_algorithms"
    registry.FEDERATED.pop("server_momentum", None)


def test_a_users_own_is_found_in_its_module_with_its_settings(own, schema, dataset):
    made = plan_lib.Plan(f"{own}:momentum").with_texts([("momentum_decay", "0.5")])
    assert made.to_json()["settings"] == {"decay": 0.5}
    assert federation.Federation(made, dataset).algorithm.name == "momentum 0.5"
    assert registry.find("server_momentum").settings.decay == 0.9
    assert isinstance(registry.find(f"{own}:plain").build(schema, None, 1.0), base.Algorithm)


def test_an_entry_of_a_comparison_may_be_a_users_own(own):
    entry = entries.Entry.parse(f"{own}:momentum:momentum_decay=0.5:gate/*=private")
    assert entry.algorithm == f"{own}:momentum"
    assert entry.settings == (("momentum_decay", "0.5"),)
    assert entry.sharing == (("gate/*", "private"),)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("magic", "algorithm magic: unknown; known are apfl, "),
        ("no_such_module:it", "no module 'no_such_module' here or on PYTHONPATH"),
        ("own_algorithms:it", "own_algorithms has no algorithm 'it'"),
        ("own_algorithms:nothing", "own_algorithms has no algorithm 'nothing'"),
    ],
)
def test_what_is_not_there_is_said(own, name, message):
    with pytest.raises(errors.PfrecError, match=message):
        plan_lib.Plan(name)


def test_what_makes_no_algorithm_is_said(schema):
    with pytest.raises(errors.PfrecError, match="algorithm odd: makes a int, no Algorithm"):
        registry.Registered("odd", lambda schema: 3).build(schema, None, 1.0)


def test_two_algorithms_of_one_name_are_refused():
    def another(schema):
        return None

    with pytest.raises(errors.PfrecError, match="two algorithms are registered as 'fedavg'"):
        registry.register("fedavg")(another)


def test_a_plan_with_an_algorithm_itself_is_trained_by_it(dataset):
    own = registry.find("fedbn").build(dataset.schema, None, 1.0)
    made = federation.Federation(plan_lib.Plan(own, average_over=0.0), dataset)
    assert (made.algorithm.name, made.algorithm.policy) == ("fedbn", own.policy)


def test_a_module_may_bear_the_name_of_its_algorithm(own):
    registry.find(f"{own}:momentum")  # now `server_momentum` is a known name too
    assert registry.split("server_momentum:server_momentum:momentum_decay=0") == (
        "server_momentum:server_momentum",
        ["momentum_decay=0"],
    )
    assert registry.split("fedavg:gate/*=private") == ("fedavg", ["gate/*=private"])
