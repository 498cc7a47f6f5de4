"""All scenarios of a finished run go on, on later data.

The new run begins with a round 0, which is the best round of the finished one carried over
(`process.carrying`): shared and private values, batch normalisation, what an algorithm keeps, and
the moments of every optimizer. From there it is a run like any other, and needs the finished one no
longer. Over silos each silo carries over its own private state, and the driver the server's.
"""

import dataclasses
import pathlib
from typing import Any

from pfrec import errors, run_directory
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models import networks
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.process import carrying, reference
from tff_process.runtime import options as options_lib
from tff_process.runtime import resident
from tff_process.silos import training as silo_training
from tff_process.training import pooled

# In config.json of a run that goes on: the scenarios that the finished one did not have.
NEW = "new_scenarios"


def check(plan: plan_lib.Plan, dataset: dataset_lib.Dataset, over_silos: bool = False) -> None:
    """Checks that a run can go on by a plan on some data.

    Args:
      plan: which names the run.
      dataset: to go on with.
      over_silos: whether the training is over silos, where the finished one must have been too.

    Raises:
      PfrecError: where the run is not finished, is of another algorithm or shape of model, its
        private states are elsewhere, none of its scenarios is in the data, or columns or tasks are
        others.
    """
    run = run_directory.open_run(pathlib.Path(plan.init_from), with_models=False)
    place = f"--init_from={run.path}"
    if over_silos != _was_over_silos(run):
        before, now = ("silos", "over them") if not over_silos else ("one place", "there")
        raise errors.PfrecError(
            f"{place}: its private states are in {before}, and it goes on {now} alone; "
            f"{'leave --workers out' if over_silos else 'give --workers'}, or train anew"
        )
    for name, then, asked in (
        ("algorithm", run.config["algorithm"], plan.name),
        ("model", ModelConfig.from_json(run.config["model"]).to_json(), plan.model.to_json()),
        ("sharing", run.config["plan"].get("sharing", []), plan.to_json()["sharing"]),
    ):
        difference = dataset_lib.first_difference(then, asked, name)
        if difference:
            raise errors.PfrecError(f"{place}: {difference}; leave that flag out, or train anew")
    difference = dataset_lib.first_difference(
        carrying.columns(run.schema), carrying.columns(dataset.schema)
    )
    if difference:
        raise errors.PfrecError(
            f"{dataset.path}: not the columns and tasks of {run.path}: {difference}; convert with "
            "the run's schema, or train anew"
        )
    if not set(run.scenarios) & set(dataset.scenarios):
        raise errors.PfrecError(
            f"{dataset.path}: has none of the scenarios of {run.path}: {', '.join(run.scenarios)}"
        )
    if networks.has_own_parts(plan.name) and run.scenarios != dataset.scenarios:
        raise errors.PfrecError(
            f"{dataset.path}: has the scenarios {', '.join(dataset.scenarios)} and {run.path} has "
            f"{', '.join(run.scenarios)}; {plan.name} has parts for each, by their number: train "
            "anew"
        )


def changed_scenarios(
    run: run_directory.RunDirectory, dataset: dataset_lib.Dataset
) -> "tuple[list[str], list[str]]":
    """The scenarios of a run that data lack, and those of the data that the run does not know."""
    return (
        [name for name in run.scenarios if name not in dataset.scenarios],
        [name for name in dataset.scenarios if name not in run.scenarios],
    )


def with_newcomers(
    options: options_lib.Options, run: run_directory.RunDirectory
) -> options_lib.Options:
    """The options of a run that may have scenarios which the finished one did not have."""
    return dataclasses.replace(options, newcomers=tuple(run.config.get(NEW, ())))


def _was_over_silos(run: run_directory.RunDirectory) -> bool:
    return run.config["data"] is None


def begin(run: run_directory.RunDirectory, training: Any) -> None:
    """Carries a finished run over to a training that has not begun: its state becomes round 0 of
    its run directory.

    Args:
      run: of the training.
      training: a `loop.Training`.

    Raises:
      PfrecError: where the finished run's state is damaged or of another shape, or a silo does not
        carry its own over.
    """
    before = run_directory.open_run(pathlib.Path(training.plan.init_from), with_models=False)
    old = before.load(before.summary["best_round"])
    agreed = carrying.Meaning(before.schema, training.dataset.schema, str(before.path))
    if isinstance(training, pooled.PooledTraining):
        state = training.continued(old.server, agreed)
    elif isinstance(training, silo_training.SiloTraining):
        state = _over_silos(before, old, training, agreed)
    else:
        state = _simulated(before, old, run, training, agreed)
    versions = dict.fromkeys(training.dataset.scenarios, 0)
    meta = {**state.meta, "versions": versions, "best_round": 0}
    run.commit(0, dataclasses.replace(state, meta=meta))
    training.restore(run.load(0))


def _simulated(
    before: run_directory.RunDirectory,
    old: run_directory.RoundState,
    run: run_directory.RunDirectory,
    training: "resident.ResidentTraining | reference.FederatedTraining",
    agreed: carrying.Meaning,
) -> run_directory.RoundState:
    """Round 0 of a simulation."""
    dataset, carry = training.dataset, carrying.Carrying(training)
    fresh = training.to_save()
    server = carry.server(old.server, before.scenarios, fresh.server, agreed)
    clients: dict[str, carrying.Values] = {}
    for scenario in dataset.scenarios:
        first = fresh.clients.get(scenario)
        if first is None:  # The client has written it.
            first = run.private_state(scenario, {scenario: 0})
        if scenario not in before.scenarios:
            clients[scenario] = carry.newcomer(first, server)
            continue
        meaning = carrying.Meaning(
            before.client_schema(scenario), dataset.client_schema(scenario), str(before.path)
        )
        clients[scenario] = carry.client(old.clients[scenario], first, meaning)
        meaning.tell_new_words(scenario)
    return run_directory.RoundState(server, clients, {**fresh.meta, "continued": True})


def _over_silos(
    before: run_directory.RunDirectory,
    old: run_directory.RoundState,
    training: silo_training.SiloTraining,
    agreed: carrying.Meaning,
) -> run_directory.RoundState:
    """Round 0 of a training over silos, which have written their own part of it."""
    carry, fresh = carrying.Carrying(training), training.begun()
    server = carry.server(old.server, before.scenarios, fresh.server, agreed)
    first = training.first_values()
    _, new = changed_scenarios(before, training.dataset)
    training.carry_over(before.identity, {name: carry.newcomer(first, server) for name in new})
    return run_directory.RoundState(server, {}, {**fresh.meta, "continued": True})
