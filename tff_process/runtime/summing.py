"""The sum of what clients sent in an aggregation step, and what it stands for: all that a server
with `--secure_sums` sees of their training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_federated as tff

from pfrec import amounts, errors
from pfrec.data.dataset import pipeline
from tff_process.client import summed_uploads, variables
from tff_process.runtime import guard
from tff_process.sums import fixed_point, masks

Values = Mapping[str, np.ndarray]


def check(
    layout: variables.ModelVariables,
    tasks: "Sequence[str]",
    serves: "Mapping[str, np.ndarray]",
    min_clients: int,
) -> None:
    """Checks that there is something for a client's update to hide in.

    Args:
      layout: of the model's variables.
      tasks: their names, in model order.
      serves: by scenario, [tasks], 1 where it has labels of the task.
      min_clients: that a round is applied with.

    Raises:
      PfrecError: where there is not.
    """
    if not 2 <= len(serves) <= fixed_point.MOST:
        raise errors.PfrecError(
            f"--secure_sums over {amounts.amount(len(serves), 'scenario')}: it takes 2 to "
            f"{fixed_point.MOST}"
        )
    if min_clients > len(serves):
        raise errors.PfrecError(
            f"--min_clients={min_clients} and --secure_sums: a sum is over all scenarios, "
            f"{len(serves)} here"
        )
    for spec in layout.uploaded:
        if spec.kind not in variables.TASK_KINDS:
            continue
        task = tasks.index(spec.member)
        having = [scenario for scenario, own in serves.items() if own[task] > 0]
        if len(having) == 1:
            raise errors.PfrecError(
                f"--secure_sums: {having[0]} alone has labels of {spec.member}, so that the sum of "
                f"{spec.group} would be its own update; keep it back with "
                f"--sharing={spec.group}=private"
            )


class SimulatedMasks:
    """Puts masks on the uploads of a simulation, whose owner has all secrets, as silos do.

    Args:
      seed: of the run.
      scenarios: in the order of the clients.
    """

    def __init__(self, seed: int, scenarios: "Sequence[str]") -> None:
        secrets = {
            name: pipeline.simulated_secret(seed, client).tobytes()
            for client, name in enumerate(scenarios)
        }
        keys = {name: masks.public_key(secret) for name, secret in secrets.items()}
        self._own = [masks.Masks(secret, name, keys) for name, secret in secrets.items()]

    def masked(self, client: int, values: Values, number: int) -> "dict[str, np.ndarray]":
        """What leaves a client in aggregation step `number`."""
        flat = np.concatenate([np.asarray(value).ravel() for value in values.values()])
        context = masks.context(b"simulation", str(number).encode())
        whole, found, place = self._own[client].masked(context, flat), {}, 0
        for name, value in values.items():
            size = np.size(value)
            found[name] = whole[place : place + size].reshape(np.shape(value))
            place += size
        return found


def opened(
    layout: variables.ModelVariables,
    tasks: "tuple[str, ...]",
    reports: "Mapping[int, Any]",
    kind: tff.StructType,
    before: Values,
    asked: "Mapping[int, guard.Asked]",
    scenarios: "Sequence[str]",
) -> "dict[int, Any]":
    """What the server goes on with: for each client a report of the mean of all.

    Args:
      layout: of the model's variables.
      tasks: their names, in model order.
      reports: of all clients, by number, as they left.
      kind: the type of one.
      before: what all clients started from, by name.
      asked: by client number.
      scenarios: in the order of the clients.

    Raises:
      PfrecError: where a client sent something of another type, or masks do not cancel.
    """
    for client, report in sorted(reports.items()):
        fault = guard.unlike(report, kind)
        if fault is not None:
            raise errors.PfrecError(
                f"client {scenarios[client]}: what it sent cannot be summed: {fault}"
            )
    total = {
        name: fixed_point.added([report["values"][name] for report in reports.values()])
        for name in summed_uploads.shapes(layout)
    }
    rows = fixed_point.decoded(total[summed_uploads.ROWS])[0]
    least, most = (sum(getattr(of, end) for of in asked.values()) for end in ("least", "most"))
    # Masks that do not cancel leave a number of 40 bits and more there.
    if not least <= rows <= most:
        raise errors.PfrecError(
            f"the sum says {rows:g} rows, where {least} to {most} were asked for: its masks do not "
            "cancel. Silos that agreed to other keys, or went another way until here, as after a "
            "state that was put back, have no sum; compare --sums_keys of their agreements, and "
            "train anew into another --output"
        )
    mean = summed_uploads.report_of(layout, tasks, total, before)
    mean["examples"] = np.float32(rows / len(reports))
    mean["loss"] = np.float32(0.0)
    return dict.fromkeys(reports, mean)
