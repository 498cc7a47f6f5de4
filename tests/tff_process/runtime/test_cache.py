"""What is traced for one run serves another only where both come to what they come to alone."""

import dataclasses
import importlib.metadata
import threading

import numpy as np
import pytest

from pfrec import store
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.algorithms import fedavg, pf_msmtrec, registry
from tff_process.process import computations as computations_lib
from tff_process.process import federation
from tff_process.runtime import cache, remote, resident
from tff_process.runtime import compiled as compiled_lib

SMALL = ModelConfig(
    embedding_dim=2, numeric_dim=2, experts=1, expert_units=(3,), tower_units=(2,), dropout=0.1
)
WITHOUT_DROPOUT = dataclasses.replace(SMALL, dropout=0.0)
BASE = plan_lib.Plan("pf_msmtrec", aggregations=2, batch_size=40, model=SMALL)
# What lies between two aggregations, which PF-MSMTrec's graph holds, and all that no graph holds.
PLANS = {
    "as it is": {},
    "one aggregation": {"aggregations": 1},
    "values": {
        **{"learning_rate": 3e-3, "seed": 1, "participation": 0.67, "schedule": "cosine"},
        **{"warmup": 0.2, "task_weights": "cvr=2,nl/ctr=0.5", "positive_weights": "cvr=3"},
    },
}
ORDER = ("as it is", "one aggregation", "values", "as it is")


def outcome(settings, dataset, workers, a_crew, computations, path):
    """The server's state and the metrics after a round."""
    for scenario in dataset.scenarios:
        (path / scenario).mkdir(parents=True)
    training = resident.ResidentTraining(
        dataclasses.replace(BASE, **settings),
        dataset,
        [workers[0]] * 3,
        lambda scenario: str(path / scenario),
        a_crew,
        cache=computations,
    )
    training.train_round(0)
    # Under a budget nobody evaluates.
    metrics = np.zeros(0) if training.plan.dp_epsilon else training.evaluate("valid")
    return {**training.to_save().server, "metrics": metrics}


def test_runs_that_share_a_cache_come_to_what_they_come_to_alone(
    dataset, workers, a_crew, tmp_path
):
    together = cache.ComputationCache()
    alone = {
        name: outcome(settings, dataset, workers, a_crew, None, tmp_path / name)
        for name, settings in PLANS.items()
    }
    for number, name in enumerate(ORDER):
        path = tmp_path / f"{name} {number}"
        found = outcome(PLANS[name], dataset, workers, a_crew, together, path)
        for part, value in alone[name].items():
            np.testing.assert_array_equal(found[part], value, err_msg=f"{name}: {part}")


PRIVATE = {"algorithm": "fedavg", "settings": None, "dp_epsilon": 4.0, "model": WITHOUT_DROPOUT}


@pytest.mark.parametrize("settings", [{}, PRIVATE], ids=["plain", "private"])
def test_what_another_process_kept_comes_to_the_same(
    settings, dataset, workers, a_crew, tmp_path, monkeypatch
):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "cache"))
    traced = outcome(settings, dataset, workers, a_crew, None, tmp_path / "traced")
    assert len(list((tmp_path / "cache" / "computations").iterdir())) == 2
    # Nothing is traced any more.
    monkeypatch.setattr(computations_lib.Body, "trace", None)
    restored = outcome(settings, dataset, workers, a_crew, None, tmp_path / "restored")
    for part, value in traced.items():
        np.testing.assert_array_equal(restored[part], value, err_msg=part)
    with pytest.raises(TypeError):  # What is not kept is traced.
        outcome({**settings, "batch_size": 50}, dataset, workers, a_crew, None, tmp_path / "other")


def test_what_clients_traced_serves_more_of_them_and_fewer_aggregations(
    dataset, workers, a_crew, tmp_path, monkeypatch
):
    """A client's graphs depend on neither; the server's are traced anew."""
    expected = outcome({}, dataset, workers, a_crew, None, tmp_path / "three")
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "cache"))
    one = dataset.only(["es"])
    outcome({"aggregations": 1}, one, workers, a_crew, None, tmp_path / "one")
    found = outcome({}, dataset, workers, a_crew, None, tmp_path / "both")
    assert len(list((tmp_path / "cache" / "computations").iterdir())) == 3
    for part, value in expected.items():
        np.testing.assert_array_equal(found[part], value, err_msg=part)


# Settings whose updates may be summed.
SUMMED = {"pf_msmtrec": pf_msmtrec.Settings(coordination="mean")}


@pytest.mark.parametrize("name", [name for name in registry.names() if registry.is_own(name)])
def test_clients_that_reckon_with_epochs_say_so(name, schema):
    """What a client's strategy holds is the same for any epochs where it says nothing."""
    made = [registry.find(name).build(schema, SUMMED.get(name), epochs) for epochs in (1.0, 0.25)]
    forms = [[algorithm.client for algorithm in made]]
    if made[0].in_sums is not None:
        forms.append([algorithm.in_sums().client for algorithm in made])
    for one, other in forms:
        assert one.reckons_with_epochs == (vars(one) != vars(other))


@pytest.mark.parametrize("package", ["tensorflow", "tensorflow-recommenders"])
def test_a_library_that_makes_graphs_is_in_the_key_by_its_version(package, monkeypatch):
    before, version = cache._maker.__wrapped__(), importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0" if name == package else version(name)
    )
    assert cache._maker.__wrapped__() != before


def test_a_users_own_algorithm_is_not_kept(dataset):
    own = fedavg.fedavg(dataset.schema)
    assert federation.Federation(BASE, dataset).graph_record is not None
    plan = dataclasses.replace(BASE, algorithm=own, settings=None)
    assert federation.Federation(plan, dataset).graph_record is None


def test_a_private_trainings_noise_is_in_its_key(dataset):
    """It is a constant of its graphs, and follows from rows and rounds."""
    plan = dataclasses.replace(BASE, dp_epsilon=4.0, model=WITHOUT_DROPOUT)
    longer = dataclasses.replace(plan, rounds=5)
    others = [
        federation.Federation(longer, dataset),
        federation.Federation(plan, dataset.only(["es", "nl"])),
    ]
    private = federation.Federation(plan, dataset)
    told = private.graph_record["client"]["mechanism"]["budgets"]
    assert [budget["noise"] for budget in told] == [b.noise for b in private.mechanism.budgets]
    for other in others:
        assert other.graph_record["client"] != private.graph_record["client"]


def test_what_a_graph_holds_is_in_its_key(dataset):
    """Every field of a plan but those that no graph holds."""
    values = {"seed", "rounds", "patience", "max_steps", "max_rows"}
    values |= {"learning_rate", "participation"}
    values |= {"schedule", "warmup", "schedule_end", "schedule_factor", "schedule_parts"}
    values |= {"task_weights", "positive_weights"}
    # `aggregate_every` moves `aggregations` where rounds are long.
    values |= {"aggregate_every", "init_from", "continues", "home_epochs"}
    others = {
        "algorithm": "fedavg",
        "local_epochs": 2.0,
        "aggregations": 1,
        "average_over": 0.5,
        "batch_size": 50,
        "lazy_adam": True,
        "weight_decay": 7.0,
        "precision": "bfloat16",
        "model": dataclasses.replace(SMALL, dropout=0.2),
        "settings": dataclasses.replace(BASE.settings, mu=0.5),
        "robust": "norm",
        "sharing": (("gate/*", "private"),),
        "withhold": ("loss",),
        "upload_bits": 8,
        "secure_sums": True,
        "dp_epsilon": 4.0,
        "dp_delta": 1e-6,
        "dp_clip": 2.0,
        "dp_unit": "group",
        "dp_sparse_rows": 1000,
        "home_rate": 0.02,
    }
    assert values | set(others) == {field.name for field in dataclasses.fields(BASE)}
    made = federation.Federation(BASE, dataset)
    for name, value in others.items():
        reset = {
            "algorithm": {"settings": None},
            "secure_sums": {"algorithm": "fedavg", "settings": None},
            "dp_epsilon": {"model": WITHOUT_DROPOUT},
        }
        changed = federation.Federation(
            dataclasses.replace(BASE, **{**reset.get(name, {}), name: value}), dataset
        )
        for key in ("graph_key", "graph_record"):
            same = getattr(changed, key) == getattr(made, key)
            assert same == (getattr(BASE, name) == value), (name, key)
    other_values = dataclasses.replace(BASE, seed=1, rounds=7, learning_rate=0.5)
    for key in ("graph_key", "graph_record"):
        assert getattr(federation.Federation(other_values, dataset), key) == getattr(made, key)


def test_who_is_interrupted_waits_for_no_compiling_that_has_not_begun(monkeypatch):
    compiled, begun, go_on = [], threading.Event(), threading.Event()

    def compiles(name, computation):
        compiled.append(name)
        begun.set()
        go_on.wait(10)

    def interrupted():
        threading.Timer(0.2, go_on.set).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(remote.Function, "of", compiles)
    how = {"one": lambda: None, "two": lambda: begun.wait(10), "three": interrupted}
    with pytest.raises(KeyboardInterrupt):
        compiled_lib.traced_functions(how)
    assert compiled == ["one"]
