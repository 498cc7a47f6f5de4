"""The model of one scenario, out of the run directory of a simulation."""

from typing import Optional

import numpy as np
import tensorflow as tf

from pfrec import client_directory, groups
from pfrec.models import networks
from pfrec.models.config import ModelConfig
from pfrec.run_directory import RunDirectory


def load(
    run: RunDirectory, scenario: str, round_number: Optional[int] = None, received: bool = False
) -> tf.keras.Model:
    """The trained model of a scenario.

    Args:
      run: a finished one, or one with the round.
      scenario: which one.
      round_number: after which round; None for the best one.
      received: whether its shared variables have the values that the client received last, and not
        those that it made of them for itself.

    Raises:
      PfrecError: where there is no such scenario, the run is not finished, or the round is damaged.
    """
    server, private = run.model_values(scenario, round_number)
    if not received:
        private = {**private, **run.finished_values(scenario, round_number)}
    else:
        shared = {
            name.split("/", 1)[1] for name in server if name.startswith(("common/", "personal/"))
        }
        private = client_directory.as_received(private, shared)
    shape = ModelConfig.from_json(run.config["model"])
    model = networks.build(
        run.config["algorithm"], run.schema, shape, run.config["seed"], len(run.scenarios)
    )
    client = run.scenarios.index(scenario)
    for item in groups.tag(model):
        value: Optional[np.ndarray]
        if item.name in private:
            value = private[item.name]
        elif f"personal/{item.name}" in server:
            value = server[f"personal/{item.name}"][client : client + 1]
            value = value[0] if len(value) else None
        else:
            value = server.get(f"common/{item.name}")
        groups.assign(item, value, place=f"{run.path}, scenario {scenario}")
    return networks.for_scenario(model, client)
