"""One thread within an operation in a worker, or as many as TensorFlow takes, by size of the step.

    python benchmarks/worker_threads.py [--shapes="LABEL;LABEL"] [--clients=N] [--repeats=N]

Two workers are up at once and train a round of FedAvg in turns, each of its own clients with equal
rows: one client at a time, as in a silo, or with --clients=4 as many as there are processors, as in
a simulation. Prints for each shape the multiply-adds of a step, milliseconds a batch by the clock
and of processor time of both workers (medians), and the medians of the pairs' ratios, one thread
over as many as TensorFlow takes; the last line is JSON.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import tff_process  # noqa: F401, sets malloc, as for the commands before TensorFlow has threads
from benchmarks import peers_own, resident_runs
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.config import ModelConfig
from tff_process.runtime import resident, threads

# Batch and model.
SHAPES = {
    "default, 256 rows": (256, ModelConfig()),
    "default, 1,024 rows": (1024, ModelConfig()),
    "4 of 128-64, 512 rows": (512, ModelConfig(expert_units=(128, 64))),
    "4 of 256-128, 512 rows": (
        512,
        ModelConfig(embedding_dim=16, expert_units=(256, 128), tower_units=(64,)),
    ),
    "4 of 256-128, 2,048 rows": (
        2048,
        ModelConfig(embedding_dim=32, expert_units=(256, 128), tower_units=(64,)),
    ),
    "paper-sized": (
        2048,
        ModelConfig(embedding_dim=128, experts=8, expert_units=(512, 256), tower_units=(128, 64)),
    ),
}
_FEATURES, _CARDINALITY, _NUMBERS, _BATCHES = 16, 20, 63, 8


@contextlib.contextmanager
def up(
    path: pathlib.Path, data: dataset_lib.Dataset, plan: Any, concurrent: int, own: int
) -> "Iterator[tuple[resident.ResidentTraining, int]]":
    """A training with a worker of `own` threads within an operation, and the worker's process."""
    with resident_runs.training(plan, data, path, concurrent, own) as made:
        yield made, made.clients[0].handle.host.pid


def processor(pid: int) -> float:
    """Seconds of a process, user and system."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured(label: str, clients: int, repeats: int) -> "dict[str, Any]":
    """Of one shape."""
    batch, shape = SHAPES[label]
    plan = peers_own.plan_of(1, shape, batch)
    concurrent = min(clients, len(os.sched_getaffinity(0)))
    with resident_runs.directory() as path, contextlib.ExitStack() as stack:
        data = resident_runs.dataset(
            path / "data",
            resident_runs.schema(_CARDINALITY, _FEATURES, _NUMBERS),
            clients,
            batch * _BATCHES,
        )
        sides = {
            own: stack.enter_context(up(path / str(own), data, plan, concurrent, own))
            for own in (0, 1)
        }
        taken: dict[int, list[tuple[float, float]]] = {own: [] for own in sides}
        for number in range(repeats + 1):
            for own in (0, 1) if number % 2 else (1, 0):
                made, pid = sides[own]
                before, start = processor(pid), time.perf_counter()
                made.train_round(number)
                found = time.perf_counter() - start, processor(pid) - before
                resident_runs.forget_versions(path / str(own), made)
                if number:
                    taken[own].append(found)
    batches = clients * _BATCHES
    ratios = [
        statistics.median(one[i] / many[i] for one, many in zip(taken[1], taken[0])) for i in (0, 1)
    ]
    medians = {
        own: [1e3 * statistics.median(f[i] for f in taken[own]) / batches for i in (0, 1)]
        for own in sides
    }
    return {
        "label": label,
        "multiply_adds": threads.multiply_adds(plan, data.schema),
        "milliseconds": medians[0],
        "of_one": medians[1],
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default="all", help="labels between semicolons")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    labels = list(SHAPES) if arguments.shapes == "all" else arguments.shapes.split(";")
    found = []
    print(f"{'':<28}{'10^6 a step':>12}{'ms':>9}{'of one':>9}{'cpu ms':>9}{'of one':>9}  ratios")
    for label in labels:
        of = measured(label, arguments.clients, arguments.repeats)
        found.append(of)
        cells = [of["milliseconds"][0], of["of_one"][0], of["milliseconds"][1], of["of_one"][1]]
        print(
            f"{label:<28}{of['multiply_adds'] / 1e6:>12.0f}"
            + "".join(f"{cell:>9.2f}" for cell in cells)
            + "  "
            + " ".join(f"{ratio:.3f}" for ratio in of["ratios"]),
            flush=True,
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
