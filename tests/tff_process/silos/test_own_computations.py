"""What a silo works out of an agreed plan."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow_federated as tff

from pfrec import errors
from pfrec.data.dataset import dataset as dataset_lib
from tests.integration import silo_machines, two_silos
from tff_process import plan as plan_lib
from tff_process.process import carrying, spread
from tff_process.runtime import compiled, state_files
from tff_process.silos import directory, own_computations


@pytest.mark.parametrize(
    "plan",
    [
        plan_lib.Plan("fedavg", batch_size=50, model=two_silos.MODEL, continues=True),
        plan_lib.Plan("local", batch_size=50, model=two_silos.MODEL),
    ],
    ids=["goes on", "joins"],
)
def test_of_a_private_table_the_copy_that_training_goes_on_from_is_the_plans_too(
    plan: plan_lib.Plan, dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    silo = silo_machines.directories(dataset, tmp_path)["nl"]
    own = own_computations.OwnComputations(plan.to_json(), directory.facts(silo), "plan")
    kind = state_files.starter(own._traced.types.private).type_signature.parameter

    begins = own._begins(kind)

    table = "embedding/user/embedding_user/table"
    assert sorted(begins) == [table, f"trained/{table}"]
    np.testing.assert_array_equal(begins[table], begins[f"trained/{table}"])
    assert begins[table].any()
    # What a driver has a silo begin with that the finished run does not know is taken.
    fresh = {name: own._federation._initial[name] for name, _ in tff.structure.to_elements(kind)}
    newcomer = carrying.Carrying(own._federation).newcomer(fresh, {})
    for name, value in begins.items():
        np.testing.assert_array_equal(newcomer[name], value)


def test_a_plan_by_which_clients_finish_is_no_silos(
    dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    silo = silo_machines.directories(dataset, tmp_path)["nl"]
    plan = plan_lib.Plan("fedavg", batch_size=50, model=two_silos.MODEL, home_epochs=3.0)
    with pytest.raises(errors.PfrecError, match=r"agreed.json: --home_epochs=3: .*leave it out"):
        own_computations.OwnComputations(plan.to_json(), directory.facts(silo), "agreed.json")


def test_an_agreement_of_before_a_setting_is_refused_by_the_settings_name(
    dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    silo = silo_machines.directories(dataset, tmp_path)["nl"]
    plan = plan_lib.Plan("fedavg", batch_size=50, model=two_silos.MODEL)
    own = own_computations.OwnComputations(plan.to_json(), directory.facts(silo), "agreed.json")
    whole = own.agreement(own.bounds(1, 0), "0.0.1")
    model = {name: value for name, value in whole.plan["model"].items() if name != "experts"}
    older = {name: value for name, value in whole.plan.items() if name != "batch_size"}

    with pytest.raises(errors.PfrecError, match=r"^agreed.json: .*0.0.1.* batch_size, model.exp"):
        own.terms(dataclasses.replace(whole, plan={**older, "model": model}))


def test_an_answer_at_all_spreads_is_said_to_hold_as_many_models_as_are_counted(
    dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    silo = silo_machines.directories(dataset, tmp_path)["nl"]
    plan = plan_lib.Plan("pf_msmtrec", rounds=3, batch_size=50, model=two_silos.MODEL)
    own = own_computations.OwnComputations(plan.to_json(), directory.facts(silo), "plan")

    told = {item["what"]: item["shape"] for item in own.leaves()["metrics"]}
    models = 1 + len(spread.FACTORS)
    assert told["spreads_metrics"] == [models, *told["metrics"][1:]]
    assert told["metrics"][0] == 1
    # Each round's search, and the test at the end; all of it once more.
    assert own.bounds(1, 0).evaluations == 2 * (3 * models + 1)


def test_bounds_that_a_plan_does_not_fit_in_are_refused(
    dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    silo = silo_machines.directories(dataset, tmp_path)["nl"]
    plan = plan_lib.Plan("fedavg", rounds=3, batch_size=50, model=two_silos.MODEL)
    own = own_computations.OwnComputations(plan.to_json(), directory.facts(silo), "agreed.json")
    work, bounds = own.work(), own.bounds(1, 0, 2)
    # Six batches in two aggregation steps.
    assert (work.round_steps, bounds.steps, bounds.rows) == (6, 3, 150)
    assert bounds.reports == 2 * 3 * 2
    assert not work.scheduled
    # Of a silo that has no whole batch, what it has.
    alone = dataclasses.replace(plan, batch_size=1000).to_json()
    facts = directory.facts(silo)
    small = own_computations.OwnComputations(alone, facts, "agreed.json").bounds(1, 0)
    assert (small.steps, small.rows) == (1, facts.train_rows)
    for changed, told in (
        ({"rounds": 4}, "agreed.json: bounds 4 rounds, and its plan has 3"),
        ({"rows": 301}, "agreed.json: asks for 301 rows in 3 steps .* whole round has 300 in 6"),
        ({"steps": 7}, "agreed.json: asks for 150 rows in 7 steps"),
    ):
        with pytest.raises(errors.PfrecError, match=told):
            own.terms(own.agreement(dataclasses.replace(bounds, **changed), "0.0.1"))


def test_rows_that_one_round_has_and_another_does_not_are_refused_before_training(
    dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    """Of six batches an epoch a round has four: the second one spans two epochs, by two of each."""
    silo = silo_machines.directories(dataset, tmp_path)["nl"]
    plan = plan_lib.Plan(
        "fedavg", rounds=3, batch_size=50, model=two_silos.MODEL, local_epochs=0.67, aggregations=1
    )
    own = own_computations.OwnComputations(plan.to_json(), directory.facts(silo), "agreed.json")
    with pytest.raises(errors.PfrecError, match=r"asks for 101 rows .* has 100 in 4 here"):
        own.terms(own.agreement(own.bounds(1, 101), "0.0.1"))


@pytest.mark.parametrize(("passes", "has"), [(2.0, True), (0.0, False)])
def test_a_silo_trains_at_home_where_the_plan_does(
    passes: float,
    has: bool,
    dataset: dataset_lib.Dataset,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class EnoughError(Exception):
        pass

    def trace(how: "dict[str, object]") -> None:
        assert ("train_at_home" in how) == has
        raise EnoughError

    silo = silo_machines.directories(dataset, tmp_path)["nl"]
    plan = plan_lib.Plan(
        "fedavg", batch_size=50, model=two_silos.MODEL, dp_epsilon=4.0, home_epochs=passes
    )
    own = own_computations.OwnComputations(plan.to_json(), directory.facts(silo), "plan")
    monkeypatch.setattr(compiled, "traced_functions", trace)
    with pytest.raises(EnoughError):
        own.terms(own.agreement(own.bounds(1, 0), "0.0.1"))
