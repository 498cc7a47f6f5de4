"""A simulation: all clients on this machine,
in worker processes that start and end with the run.
"""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Optional

from pfrec import files, run_directory
from pfrec.data.dataset import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process.process import federation
from tff_process.runtime import cache as cache_lib
from tff_process.runtime import executor as executor_lib
from tff_process.runtime import guard, hosts, private_network, resident, threads
from tff_process.runtime import options as options_lib

# A client's graph, its session and TensorFlow's buffers, besides values, gradients and the
# optimizer's slots.
_CLIENT_BYTES = 200_000_000


@contextlib.contextmanager
def resident_training(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    run: run_directory.RunDirectory,
    options: options_lib.Options,
    cache: "Optional[cache_lib.ComputationCache]" = None,
) -> Iterator[resident.ResidentTraining]:
    """Starts the workers and makes the training in them; ends them in any case.

    Raises:
      PfrecError: where a worker does not start or a client directory cannot be made.
    """
    private_network.warn_if_open()
    concurrent = options.max_concurrent_clients or default_concurrency(
        len(dataset.scenarios), _model_bytes(dataset, plan)
    )
    count = min(options.local_workers, len(dataset.scenarios))
    fitted = federation.fitted(plan, dataset)
    within = threads.within_operations(fitted, dataset.schema)
    logs = run.path / "logs"
    workers = [
        hosts.LocalHost(
            f"the worker with log {logs / _log_name(number, count)}",
            logs / _log_name(number, count),
            concurrent,
            options.deadline,
            within,
        )
        for number in range(count)
    ]
    for scenario in dataset.scenarios:
        with files.readable_errors(run.client_path(scenario)):
            run.client_path(scenario).mkdir(mode=0o700, parents=True, exist_ok=True)
    executor = executor_lib.ClientExecutor(
        concurrent, options.on_client_failure, all_needed=plan.secure_sums
    )
    # Each is ended, also where Ctrl-C cuts another's end off.
    with contextlib.ExitStack() as ending:
        ending.callback(executor.close)
        for host in workers:
            ending.callback(host.down)
        for host in workers:
            host.begin()  # They come up while graphs are traced.
        training = resident.ResidentTraining(
            plan,
            dataset,
            [workers[number % count] for number in range(len(dataset.scenarios))],
            lambda scenario: str(run.client_path(scenario).resolve()),
            executor,
            guard.Rules.of(options, dataset, fitted),
            cache,
        )
        for host in workers:
            host.up()
        yield training


def _log_name(number: int, count: int) -> str:
    return "worker.log" if count == 1 else f"worker_{number}.log"


def default_concurrency(clients: int, model_bytes: int) -> int:
    """How many clients train at once where nobody says: one a processor,
    and fewer where memory would not hold them.

    Args:
      clients: how many there are.
      model_bytes: size of a client's model.
    """
    # Values, what of them is served, gradients, two slots of Adam, and as much again while they
    # pass from one round to the next.
    need = _CLIENT_BYTES + 10 * model_bytes
    fitting = _available_bytes() // 2 // need
    return max(1, min(clients, len(os.sched_getaffinity(0)), fitting))


def _available_bytes() -> int:
    try:
        lines = pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(
            int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")
        )
    except (OSError, StopIteration, ValueError):
        return 4 << 30


def _model_bytes(dataset: dataset_lib.Dataset, plan: plan_lib.Plan) -> int:
    """The embedding tables, which are what makes a model large."""
    return (
        4
        * plan.model.embedding_dim
        * sum(feature.cardinality for feature in dataset.schema.categorical)
    )
