"""Algorithms by name, the user's own among them."""

import pytest

from pfrec import errors
from tff_process import plan as plan_lib
from tff_process.algorithms import base, registry
from tff_process.comparison import entries
from tff_process.process import federation, reference

OWN = """
import dataclasses

import tensorflow as tf

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


def reshaped(schema):
    made = fedavg.fedavg(schema)

    def aggregate(layout, tasks, state, reports):
        new, told = made.aggregate(layout, tasks, state, reports)
        common = {name: tf.reshape(value, [-1]) for name, value in new.common.items()}
        return dataclasses.replace(new, common=common), told

    return dataclasses.replace(made, aggregate=aggregate)


def takes_nothing():
    return fedavg.fedavg


def takes_more(schema, rate):
    return fedavg.fedavg(schema)


def fails_inside(schema):
    return tf.ones([2]) + tf.ones([3])


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
        ("own_algorithms:takes_nothing", "own_algorithms:takes_nothing: is no maker"),
        ("own_algorithms:takes_more", "takes_more: is no maker.* missing a required .*'rate'"),
        ("os:getcwd", "os:getcwd: is no maker"),
    ],
)
def test_what_is_not_there_is_said(own, name, message):
    with pytest.raises(errors.PfrecError, match=message):
        plan_lib.Plan(name)


def test_what_makes_no_algorithm_is_said(schema):
    with pytest.raises(errors.PfrecError, match="algorithm odd: makes a int, no Algorithm"):
        registry.Registered("odd", lambda schema: 3).build(schema, None, 1.0)


def test_what_fails_on_a_schema_is_said(own, schema):
    message = (
        r"^algorithm json:dumps: called with the schema it makes no Algorithm but fails with "
        r"TypeError: Object of type Schema is not JSON serializable "
        r"\(.*json.__init__\.py, line \d+\); "
    )
    with pytest.raises(errors.PfrecError, match=message):
        registry.find("json:dumps").build(schema)
    # The user's own line, however deep inside TensorFlow it fails.
    line = OWN.splitlines().index("    return tf.ones([2]) + tf.ones([3])") + 1
    with pytest.raises(errors.PfrecError, match=rf"\(\S+own_algorithms\.py, line {line}\); "):
        registry.find(f"{own}:fails_inside").build(schema)

    def asks(schema):
        raise errors.PfrecError("says itself what is wrong")

    with pytest.raises(errors.PfrecError, match=r"^says itself what is wrong$"):
        registry.Registered("own:asks", asks).build(schema)


def test_a_fault_of_an_algorithm_of_this_package_is_not_told_as_the_users(schema):
    def breaks(schema):
        raise ValueError("a fault of ours")

    with pytest.raises(ValueError, match=r"^a fault of ours$"):
        registry.Registered("fedavg", breaks).build(schema)


def test_a_signal_while_an_algorithm_is_made_is_still_found_in_what_is_told(schema):
    """Compiled code whose import a signal breaks off says an ImportError of its own."""

    def imports(schema):
        try:
            raise KeyboardInterrupt
        finally:
            raise ImportError("initialization failed")

    with pytest.raises(errors.PfrecError) as raised:
        registry.Registered("own:imports", imports).build(schema)
    told = raised.value.__cause__
    assert isinstance(told, ImportError)
    assert isinstance(told.__context__, KeyboardInterrupt)


@pytest.mark.parametrize("average_over", [0.0, 0.25])
def test_values_of_another_shape_are_said_by_name(own, dataset, average_over):
    plan = plan_lib.Plan(f"{own}:reshaped", average_over=average_over)
    with pytest.raises(errors.PfrecError, match=r"`common` .* as float32 \(\d+,\); it is float32"):
        _ = reference.FederatedTraining(plan, dataset).process.iterative.next


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
    # Another one of that module, registered or not.
    assert registry.split("server_momentum:plain:rounds=3") == (
        "server_momentum:plain",
        ["rounds=3"],
    )
    assert registry.split("server_momentum:rounds=3") == ("server_momentum", ["rounds=3"])
    assert registry.split("fedavg:gate") == ("fedavg", ["gate"])
    assert registry.split("fedavg:gate/*=private") == ("fedavg", ["gate/*=private"])
