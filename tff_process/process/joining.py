"""A new scenario joins: it starts from what the scenarios of a finished run have in common,
and trains on its own rows alone.

What is personal (experts, towers and whatever else the run's algorithm aggregates for each client)
starts from the consensus G, all that is common from its common value; what no client ever gave
away, as batch normalisation and private tables, starts anew. Nothing of the run is changed, and
none of its scenarios trains again.
"""

import pathlib
from collections.abc import Mapping

import numpy as np

from pfrec import errors, run_directory
from pfrec.data.dataset import dataset as dataset_lib


def check(run_path: pathlib.Path, dataset: dataset_lib.Dataset, scenario: str) -> None:
    """Checks that a scenario can join a finished run.

    Args:
      run_path: of the finished run.
      dataset: that holds the newcomer.
      scenario: the newcomer.

    Raises:
      PfrecError: where the run is not finished, knows the scenario already, or has other columns or
        tasks.
    """
    run = run_directory.open_run(run_path)
    if scenario in run.scenarios:
        raise errors.PfrecError(
            f"--new_scenario={scenario}: {run_path} was trained with it already; continue that "
            "run instead"
        )
    difference = dataset_lib.first_difference(run.schema.to_json(), dataset.schema.to_json())
    if difference:
        raise errors.PfrecError(
            f"{dataset.path}: not the schema of {run_path}: {difference}; convert with the "
            "run's schema"
        )


def only(dataset: dataset_lib.Dataset, scenario: str) -> dataset_lib.Dataset:
    """The dataset with one of its scenarios alone.

    Raises:
      PfrecError: where it does not hold it.
    """
    if scenario not in dataset.scenarios:
        raise errors.PfrecError(
            f"--new_scenario={scenario}: {dataset.path} has no such scenario; it has "
            f"{', '.join(dataset.scenarios)}"
        )
    return dataset.only([scenario])


def first_values(
    run_path: pathlib.Path, initial: "Mapping[str, np.ndarray]"
) -> "dict[str, np.ndarray]":
    """What a run's scenarios have in common after its best round, by the names of the variables.

    Args:
      run_path: of the finished run.
      initial: the newcomer's own first values by name.

    Raises:
      PfrecError: where the run shares nothing, or its model has another shape.
    """
    run = run_directory.open_run(run_path)
    server = run.load(run.summary["best_round"]).server
    found = {}
    for name, own in initial.items():
        for kind in ("common", "consensus"):
            value = server.get(f"{kind}/{name}")
            if value is None:
                continue
            if value.shape != own.shape:
                raise errors.PfrecError(
                    f"{run_path}: {name} has shape {list(value.shape)}, not {list(own.shape)}; "
                    "give the run's flags"
                )
            found[name] = value
    if not found:
        raise errors.PfrecError(
            f"{run_path}: its scenarios share nothing, so nobody can start from it; train with "
            "another algorithm"
        )
    return found
