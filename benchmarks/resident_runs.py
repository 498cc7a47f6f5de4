"""What the runtime's benchmarks share: random datasets,
and a training on a worker in a directory that is removed.
"""

import contextlib
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from typing import Optional

import numpy as np

from pfrec import checkpoint, client_directory
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block, writer
from tff_process import plan as plan_lib
from tff_process.process import federation
from tff_process.runtime import executor as executor_lib
from tff_process.runtime import hosts, resident, threads


@contextlib.contextmanager
def directory() -> "Iterator[pathlib.Path]":
    """A temporary directory in the working directory,
    where large files may go and /tmp may be memory.
    """
    path = pathlib.Path(tempfile.mkdtemp(prefix=".bench-", dir="."))
    try:
        yield path.resolve()
    finally:
        shutil.rmtree(path)


def schema(
    cardinality: int, features: int, numerical: int, policy: str = "private"
) -> schema_lib.Schema:
    """Categorical features of one cardinality and one policy, numbers, and two tasks."""
    return schema_lib.Schema(
        categorical=tuple(
            schema_lib.Categorical(f"c{i}", cardinality, policy) for i in range(features)
        ),
        numerical=tuple(schema_lib.Numerical(f"n{i}") for i in range(numerical)),
        tasks=(schema_lib.Task("ctr", "click"), schema_lib.Task("ctcvr", "conversion")),
    )


def dataset(
    path: pathlib.Path,
    of: schema_lib.Schema,
    scenarios: int,
    rows: int,
    held_out: int = 64,
    first: int = 0,
) -> dataset_lib.Dataset:
    """Random rows, as many in every scenario, which are numbered from `first`:
    time does not ask what they say.
    """
    with writer.DatasetWriter(path, of, source_format="benchmark", split_seed=0) as target:
        for number in range(first, first + scenarios):
            rng = np.random.default_rng(number)
            for split, count in (("train", rows), ("valid", held_out), ("test", held_out)):
                categorical = np.stack(
                    [rng.integers(0, f.cardinality, count) for f in of.categorical], 1
                ).astype(np.int32)
                numerical = rng.normal(size=(count, len(of.numerical))).astype(np.float32)
                labels = (rng.random((count, len(of.tasks))) < 0.3).astype(np.uint8)
                target.add(f"s{number:03d}", split, row_block.Rows(categorical, numerical, labels))
    return dataset_lib.Dataset.open(path)


@contextlib.contextmanager
def training(
    plan: plan_lib.Plan,
    data: dataset_lib.Dataset,
    path: pathlib.Path,
    concurrent: int,
    within: Optional[int] = None,
) -> "Iterator[resident.ResidentTraining]":
    """A training with one worker of its own, as a simulation has it; `within` is how many threads
    that has within an operation, None for what the plan decides.
    """
    if within is None:
        within = threads.within_operations(federation.fitted(plan, data), data.schema)
    host = hosts.LocalHost("the worker", path / "worker.log", concurrent, 3600.0, within)
    executor = executor_lib.ClientExecutor(concurrent)
    for scenario in data.scenarios:
        (path / scenario).mkdir(parents=True)
    try:
        host.up()
        yield resident.ResidentTraining(
            plan,
            data,
            [host] * len(data.scenarios),
            lambda scenario: str(path / scenario),
            executor,
        )
    finally:
        host.down()
        executor.close()


def forget_versions(path: pathlib.Path, made: resident.ResidentTraining) -> None:
    """Removes all versions but the last, as a run does after each round."""
    for client in made.clients:
        for old in (path / client.handle.scenario).glob("version_*"):
            if old.name != client_directory.version_name(client.version):
                checkpoint.remove(old)


if __name__ == "__main__":
    sys.exit("a part of federated_training.py")
