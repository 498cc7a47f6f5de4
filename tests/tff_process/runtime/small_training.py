"""Small resident trainings of three clients."""

import dataclasses

from tests.small_model import TEMPLATED
from tff_process import plan
from tff_process.runtime import resident

SMALL = dataclasses.replace(TEMPLATED, dropout=0.1)


def make_plan(algorithm, aggregations=2):
    return plan.Plan(
        algorithm, batch_size=40, aggregations=aggregations, participation=0.67, model=SMALL
    )


def resident_training(dataset, algorithm, client_hosts, a_crew, computations, path, aggregations=2):
    for scenario in dataset.scenarios:
        (path / scenario).mkdir(parents=True, exist_ok=True)
    return resident.ResidentTraining(
        make_plan(algorithm, aggregations),
        dataset,
        client_hosts,
        lambda scenario: str(path / scenario),
        a_crew,
        cache=computations,
    )
