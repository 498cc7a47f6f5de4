"""The peers of `peers.py` that run in this project's own Python.

    python benchmarks/peers_own.py one|four|alone|loop|keras|tff WORK.npz

Rows are those of the dataset `data` beside WORK.npz; speaks as `peers_protocol` says.
"""

import contextlib
import functools
import gc
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
if "tensorflow" not in sys.modules:
    import tff_process  # noqa: F401, sets malloc, as for the commands before TensorFlow has threads

import numpy as np
import tensorflow as tf

from benchmarks import peers_protocol, resident_runs, round_overhead
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from pfrec.models import ranker
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.process import federation
from tff_process.runtime import reference_context

_SHAPE = ("embedding_dim", "experts", "expert_units", "tower_units")


def plan_of(aggregations: int, shape: ModelConfig, batch: int) -> plan_lib.Plan:
    """FedAvg as everybody has it: the last values, whatever the rows."""
    return plan_lib.Plan(
        "fedavg",
        batch_size=batch,
        learning_rate=1e-3,
        model=shape,
        aggregations=aggregations,
        aggregate_every=1 << 30,
        average_over=0.0,
        weight_decay=0.0,
    )


def rows_of(data: dataset_lib.Dataset) -> "list[dict[str, np.ndarray]]":
    """Each client's rows in the order in which they are stored."""
    found = []
    for scenario in data.scenarios:
        records = list(tf.data.TFRecordDataset(data.shards(scenario, "train")).as_numpy_iterator())
        decoded = pipeline.decode_blocks(tf.constant(records), data.schema)
        found.append({name: value.numpy() for name, value in decoded.items()})
    return found


def loss_of(network: tf.keras.Model, rows: "Mapping[str, np.ndarray]", batch: int) -> float:
    """Of the first batch, without training."""
    first = {name: tf.constant(value[:batch]) for name, value in rows.items()}
    tasks = [task.name for task in network.schema.tasks]
    return float(ranker.MultiTaskRanker(network, tasks).compute_loss(first))


@contextlib.contextmanager
def pfrec_peer(
    plan: plan_lib.Plan, data: dataset_lib.Dataset, path: pathlib.Path, concurrent: int
) -> "Iterator[Callable[[], None]]":
    """Rounds of a simulation, without the files of the one before, as in a run."""
    with resident_runs.training(plan, data, path, concurrent) as made:

        def train() -> None:
            made.train_round(int(made.server.state["round"]) // made.aggregation_steps)
            resident_runs.forget_versions(path, made)

        yield train


def keras_peer(
    schema: Any, shape: ModelConfig, rows: "list[dict[str, np.ndarray]]", batch: int
) -> Callable[[], None]:
    """Keras's `fit` with every client's rows in turn, and the mean of the values."""
    network = mmoe.build(schema, shape, 0)
    network.use_plain = True
    model = ranker.MultiTaskRanker(network, [task.name for task in schema.tasks])
    model.compile(tf.keras.optimizers.Adam(1e-3))
    batches = [
        tf.data.Dataset.from_tensor_slices(own).batch(batch, drop_remainder=True) for own in rows
    ]

    def train() -> None:
        begun = network.get_weights()
        trained = []
        for own in batches:
            network.set_weights(begun)
            model.fit(own, epochs=1, verbose=0)
            trained.append(network.get_weights())
        network.set_weights([np.mean(values, axis=0) for values in zip(*trained)])

    return train


@contextlib.contextmanager
def peer(
    name: str,
    data: dataset_lib.Dataset,
    shape: ModelConfig,
    batch: int,
    rows: "list[dict[str, np.ndarray]]",
    path: pathlib.Path,
) -> "Iterator[Callable[[], None]]":
    """What trains a round of a peer."""
    plan = functools.partial(plan_of, shape=shape, batch=batch)
    if name in ("one", "four", "alone"):
        concurrent = 1 if name == "alone" else len(os.sched_getaffinity(0))
        with pfrec_peer(plan(4 if name == "four" else 1), data, path, concurrent) as train:
            yield train
    elif name == "loop":
        of = federation.Federation(plan(1), data)
        yield round_overhead.PlainLoop(of.plan, data, of).round
    elif name == "keras":
        yield keras_peer(data.schema, shape, rows, batch)
    else:
        from benchmarks import peers_tff

        with reference_context.Worker(path / "tff_worker.log") as worker:
            yield peers_tff.tff_peer(data.schema, shape, rows, batch, worker.context())


def main(name: str, place: str) -> None:
    gate, work = peers_protocol.Gate(), pathlib.Path(place)
    with np.load(work) as values:
        batch, of = int(values["batch"]), {key: values[key].tolist() for key in _SHAPE}
    shape = ModelConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in of.items()})
    data = dataset_lib.Dataset.open(work.parent / "data")
    rows = rows_of(data)
    network = mmoe.build(data.schema, shape, 0)
    network.use_plain = name == "keras"
    gate.ready(loss_of(network, rows[0], batch))
    if name not in ("keras", "tff"):
        rows = []  # They are read from the dataset.
    del network
    gc.collect()  # Layers hold each other: what was asked of them alone is not pfrec's memory.
    with peer(name, data, shape, batch, rows, work.parent / f"{name}-{os.getpid()}") as train:
        while gate.wait():
            train()
            gate.done()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("a part of peers.py")
    main(*sys.argv[1:])
