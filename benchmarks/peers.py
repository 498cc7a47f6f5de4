"""A round of FedAvg of pfrec beside its peers: four clients, the default shape, equal data, equal
initial values, interleaved.

    python benchmarks/peers.py [--quick] [--torch_python=PYTHON] [--flower_python=PYTHON]
        [--pfl_python=PYTHON] [--repeats=N] [--rows=N]

Peers: pfrec with one aggregation a round, and with four as by default; the same training in a plain
loop without worker, aggregation and files; a plain Keras loop, layer by layer; TensorFlow
Federated's own FedAvg process; and in Pythons of their own, where one is given, a plain PyTorch
loop, Flower's simulation and pfl-research's. One whose loss at the initial values differs is an
error. Prints seconds a round (median and range), processor seconds of all its processes (but for
TFF's own executor, which runs apart), and the time until its first round is done; the last line is
JSON: each one's median over pfrec's with one aggregation.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Optional

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
if "tensorflow" not in sys.modules:
    import tff_process  # noqa: F401, sets malloc, as for the commands before TensorFlow has threads

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from benchmarks import resident_runs, round_overhead
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from pfrec.models import ranker
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.process import keras_in_tff
from tff_process.runtime import reference_context, resident

CLIENTS, BATCH, NUMBERS = 4, 256, 63
_TOLERANCE = 1e-4
_BESIDE = pathlib.Path(__file__).with_name("peers_torch.py")


@dataclasses.dataclass
class Peer:
    """One of those compared.

    Attributes:
      round: trains one; its seconds and processor seconds.
      loss: at the initial values.
      first: seconds until its first round was done.
      seconds, processor: of the rounds after it.
    """

    round: "Callable[[], tuple[float, float]]"
    loss: float
    first: float = 0.0
    seconds: "list[float]" = dataclasses.field(default_factory=list)
    processor: "list[float]" = dataclasses.field(default_factory=list)


def timed(train: Callable[[], None], worker: Optional[int] = None) -> "tuple[float, float]":
    """Seconds and processor seconds of a call, those of a worker with it."""
    begun, start = _processor(worker), time.perf_counter()
    train()
    return time.perf_counter() - start, _processor(worker) - begun


def _processor(worker: Optional[int]) -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    total = used.ru_utime + used.ru_stime
    if worker is not None:
        fields = pathlib.Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def plan_of(aggregations: int) -> plan_lib.Plan:
    """FedAvg as everybody has it: the last values, whatever the rows."""
    return plan_lib.Plan(
        "fedavg",
        batch_size=BATCH,
        model=ModelConfig(),
        aggregations=aggregations,
        aggregate_every=1 << 30,
        average_over=0.0,
    )


def rows_of(data: dataset_lib.Dataset) -> "list[dict[str, np.ndarray]]":
    """Each client's rows in the order in which they are stored."""
    found = []
    for scenario in data.scenarios:
        records = list(tf.data.TFRecordDataset(data.shards(scenario, "train")).as_numpy_iterator())
        decoded = pipeline.decode_blocks(tf.constant(records), data.schema)
        found.append({name: value.numpy() for name, value in decoded.items()})
    return found


def loss_of(network: tf.keras.Model, rows: "Mapping[str, np.ndarray]", tasks: "list[str]") -> float:
    """Of the first batch, without training."""
    batch = {name: tf.constant(value[:BATCH]) for name, value in rows.items()}
    return float(ranker.MultiTaskRanker(network, tasks).compute_loss(batch))


def pfrec_round(made: resident.ResidentTraining, path: pathlib.Path) -> "tuple[float, float]":
    """The next round; without the files of the one before, as in a run."""
    number = made.server.state["round"] // made.aggregation_steps
    worker = made.clients[0].handle.host.pid  # type: ignore[attr-defined]
    found = timed(lambda: made.train_round(int(number)) and None, worker)
    resident_runs.forget_versions(path, made)
    return found


def keras_peer(
    schema: Any, shape: ModelConfig, rows: "list[dict[str, np.ndarray]]", tasks: "list[str]"
) -> Callable[[], None]:
    """Keras's `fit` with every client's rows in turn, and the mean of the values."""
    network = mmoe.build(schema, shape, 0)
    network.use_plain = True
    model = ranker.MultiTaskRanker(network, tasks)
    model.compile(tf.keras.optimizers.Adam(1e-3))
    batches = [
        tf.data.Dataset.from_tensor_slices(own).batch(BATCH, drop_remainder=True) for own in rows
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


class _TffModel(tff.learning.models.VariableModel):
    """The model as TFF's learning processes want it."""

    def __init__(self, schema: Any, shape: ModelConfig, spec: Any, tasks: "list[str]") -> None:
        self._network = mmoe.build(schema, shape, 0)
        self._ranker = ranker.MultiTaskRanker(self._network, tasks)
        self._spec = spec

    @property
    def trainable_variables(self) -> Any:
        return self._network.trainable_variables

    @property
    def non_trainable_variables(self) -> Any:
        return self._network.non_trainable_variables

    @property
    def local_variables(self) -> Any:
        return []

    @property
    def input_spec(self) -> Any:
        return self._spec

    @tf.function
    def predict_on_batch(self, batch_input: Any, training: bool = True) -> Any:
        return self._network(batch_input, training=training)

    @tf.function
    def forward_pass(self, batch_input: Any, training: bool = True) -> Any:
        loss = self._ranker.compute_loss(batch_input, training=training)
        count = tf.shape(batch_input["labels"])[0]
        return tff.learning.models.BatchOutput(loss=loss, predictions=(), num_examples=count)

    @tf.function
    def report_local_unfinalized_metrics(self) -> Any:
        return collections.OrderedDict()

    def metric_finalizers(self) -> Any:
        return collections.OrderedDict()

    @tf.function
    def reset_metrics(self) -> None:
        pass


def tff_peer(
    schema: Any,
    shape: ModelConfig,
    rows: "list[dict[str, np.ndarray]]",
    tasks: "list[str]",
    context: Any,
) -> Callable[[], None]:
    """TFF's own process, executed in `context`."""
    batches = [
        tf.data.Dataset.from_tensor_slices(collections.OrderedDict(own)).batch(
            BATCH, drop_remainder=False
        )
        for own in rows
    ]

    def make() -> Any:
        with keras_in_tff.version_2():
            return _TffModel(schema, shape, batches[0].element_spec, tasks)

    process = tff.learning.algorithms.build_weighted_fed_avg(
        make,
        client_optimizer_fn=tff.learning.optimizers.build_adam(1e-3),
        server_optimizer_fn=tff.learning.optimizers.build_sgdm(1.0),
    )
    first = mmoe.build(schema, shape, 0)
    weights = tff.learning.models.ModelWeights(
        [v.numpy() for v in first.trainable_variables],
        [v.numpy() for v in first.non_trainable_variables],
    )
    installed = tff.framework.get_context_stack().install
    with installed(context):
        held = [process.set_model_weights(process.initialize(), weights)]

    def train() -> None:
        with installed(context):
            held[0] = process.next(held[0], batches).state

    return train


@contextlib.contextmanager
def other_python(python: str, name: str, work: pathlib.Path) -> "Iterator[Peer]":
    """A peer of `peers_torch.py`."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [python, str(_BESIDE), name, str(work)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    asked, answers = process.stdin, process.stdout

    def train() -> "tuple[float, float]":
        asked.write("\n")
        asked.flush()
        line = answers.readline()
        if not line:
            raise SystemExit(f"{name}: ended; run {_BESIDE.name} {name} {work} by hand")
        seconds, processor = map(float, line.split())
        return seconds, processor

    try:
        word = answers.readline().split()
        if word[:1] != ["ready"]:
            raise SystemExit(f"{name}: does not start with {python}")
        peer = Peer(train, float(word[1]))
        train()
        peer.first = time.perf_counter() - start
        yield peer
    finally:
        asked.close()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rows, two repeats")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--rows", type=int, default=5_000, help="of each client")
    for name in ("torch", "flower", "pfl"):
        parser.add_argument(f"--{name}_python", help=f"a Python with {name}")
    arguments = parser.parse_args()
    repeats, rows = (2, 600) if arguments.quick else (arguments.repeats, arguments.rows)
    shape, schema = ModelConfig(), resident_runs.schema(30, 16, NUMBERS)
    tasks = [task.name for task in schema.tasks]
    peers: dict[str, Peer] = {}
    with resident_runs.directory() as path, contextlib.ExitStack() as stack:
        data = resident_runs.dataset(path / "data", schema, CLIENTS, rows)
        held = rows_of(data)
        work = path / "work.npz"
        save(work, held, shape)
        reference = loss_of(mmoe.build(schema, shape, 0), held[0], tasks)
        plain = mmoe.build(schema, shape, 0)
        plain.use_plain = True
        plain_loss = loss_of(plain, held[0], tasks)

        for label, aggregations in (("pfrec, one aggregation", 1), ("pfrec, four", 4)):
            start, place = time.perf_counter(), path / f"clients{aggregations}"
            training = resident_runs.training(plan_of(aggregations), data, place, 2)
            made = stack.enter_context(training)
            peer = Peer(functools.partial(pfrec_round, made, place), reference)
            peer.round()
            peer.first, peers[label] = time.perf_counter() - start, peer
        # TFF's own way of starting a worker leaves it running where this program is killed.
        worker = stack.enter_context(reference_context.Worker(path / "tff_worker.log"))
        makers: dict[str, tuple[Callable[[], Callable[[], None]], float]] = {
            "pfrec's plain loop": (
                lambda: round_overhead.PlainLoop(plan_of(1), data, made).round,
                reference,
            ),
            "plain Keras": (lambda: keras_peer(schema, shape, held, tasks), plain_loss),
            "TFF's FedAvg": (
                lambda: tff_peer(schema, shape, held, tasks, worker.context()),
                reference,
            ),
        }
        for label, (make, loss) in makers.items():
            start = time.perf_counter()
            train = make()
            train()
            peers[label] = Peer(functools.partial(timed, train), loss, time.perf_counter() - start)
        for label, name, python in (
            ("plain PyTorch", "loop", arguments.torch_python),
            ("Flower", "flower", arguments.flower_python),
            ("pfl-research", "pfl", arguments.pfl_python),
        ):
            if python is None:
                print(f"{label}: skipped, no Python is given for it", flush=True)
            else:
                peers[label] = stack.enter_context(other_python(python, name, work))
        for label, peer in peers.items():
            if abs(peer.loss - reference) > _TOLERANCE:
                raise SystemExit(f"{label}: loss {peer.loss}, and pfrec's is {reference}")
        for _ in range(repeats):
            for peer in peers.values():
                seconds, processor = peer.round()
                peer.seconds.append(seconds)
                peer.processor.append(processor)
    print(f"loss at the initial values {reference:.5f}, all within {_TOLERANCE:g}")
    print(f"{'':<24}{'s a round':>10}{'range':>18}{'processor s':>13}{'first after':>13}")
    for label, peer in sorted(peers.items(), key=lambda pair: statistics.median(pair[1].seconds)):
        ends = f"{min(peer.seconds):.3f} to {max(peer.seconds):.3f}"
        median, processor = statistics.median(peer.seconds), statistics.median(peer.processor)
        print(f"{label:<24}{median:>10.3f}{ends:>18}{processor:>13.3f}{peer.first:>13.1f}")
    base = statistics.median(peers["pfrec, one aggregation"].seconds)
    used = statistics.median(peers["pfrec, one aggregation"].processor)
    ratios = {
        label: {
            "time": round(statistics.median(peer.seconds) / base, 3),
            "processor": round(statistics.median(peer.processor) / used, 3),
        }
        for label, peer in peers.items()
    }
    print(json.dumps(ratios, sort_keys=True))


def save(path: pathlib.Path, rows: "list[dict[str, np.ndarray]]", shape: ModelConfig) -> None:
    """What peers of another Python need: rows, shape and initial values."""
    schema = resident_runs.schema(30, 16, NUMBERS)
    network = mmoe.build(schema, shape, 0)
    ordered = [*network.embeddings, network.numeric, *network.experts]
    ordered += [*network.gates.values(), *network.towers.values()]
    initial: list[np.ndarray] = []
    for layer in ordered:
        initial += _in_order(layer)
    if len(initial) != len(network.variables):
        raise SystemExit("the model has other variables than its layers hold")
    np.savez(
        path,
        ids=np.stack([own["categorical"] for own in rows]),
        numerical=np.stack([own["numerical"] for own in rows]),
        labels=np.stack([own["labels"] for own in rows]),
        cardinalities=[feature.cardinality + 1 for feature in schema.categorical],
        experts=shape.experts,
        tasks=len(schema.tasks),
        embedding_dim=shape.embedding_dim,
        numeric_dim=shape.numeric_dim,
        numbers=NUMBERS,
        expert_units=shape.expert_units,
        tower_units=shape.tower_units,
        batch=BATCH,
        variables=len(initial),
        **{f"initial/{i:04d}": value for i, value in enumerate(initial)},
    )


def _in_order(layer: Any) -> "list[np.ndarray]":
    """Values as PyTorch's modules have them: layer by layer, scale and shift before statistics."""
    if isinstance(layer, mmoe.Expert):
        layers = [layer for pair in zip(layer.dense, layer.norms) for layer in pair]
        return [v.numpy() for layer in layers for v in layer.variables]
    if isinstance(layer, mmoe.Tower):
        return [v.numpy() for dense in (*layer.dense, layer.logit) for v in dense.variables]
    if isinstance(layer, mmoe.NumericProjection):
        return [v.numpy() for v in (*layer.normalise.variables, *layer.project.variables)]
    return [value.numpy() for value in layer.variables]


if __name__ == "__main__":
    main()
