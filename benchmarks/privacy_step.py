"""What a step costs under differential privacy, against one without.

    python benchmarks/privacy_step.py [--shapes=small,paper] [--tables=1000000] [--sparse=0,50000]
        [--steps=12] [--pairs=3]

Times a client's aggregation step of `fedavg` without batch normalisation and dropout on random
rows: the plain one, and the one that clips and adds noise, which also reads all rows and draws the
sample. `--shapes` are of `benchmarks/shapes.py`; `--tables` are small models with one shared table
of so many rows, once for each `--sparse` (`--dp_sparse_rows`).

A line for each has the processor's milliseconds (user and system time, least of the pairs, in each
of which both take turns) of a step and of what a call takes beside its steps: a line through calls
of a third of the steps and of all; how many times a private step is a plain one, and a private call
of all steps a plain one; and the peak of memory of a process that makes calls of one kind alone,
and of one that makes private calls and then trains at home, as after the last aggregation.
"""

import argparse
import dataclasses
import multiprocessing
import os
import pathlib
import resource
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
if "tensorflow" not in sys.modules:
    import tff_process  # noqa: F401, sets malloc and imports, as for the commands

from typing import Any, Callable

import tensorflow as tf

from benchmarks import shapes
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import writer
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.client import work as work_lib
from tff_process.finishing import home
from tff_process.process import federation

_ROWS, _EPSILON = 20_000, 8.0
# At home: what memory these take, more of them take.
_HOME_STEPS = 16


def processor_seconds() -> float:
    """User and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def dataset_of(shape: shapes.Shape, path: pathlib.Path) -> dataset_lib.Dataset:
    """One scenario of random rows, whose tables are shared."""
    schema = shape.schema()
    shared = tuple(dataclasses.replace(f, policy="shared") for f in schema.categorical)
    schema = dataclasses.replace(schema, categorical=shared)
    with writer.DatasetWriter(path, schema, source_format="random", split_seed=0) as target:
        for seed, (split, count) in enumerate({"train": _ROWS, "valid": 100, "test": 100}.items()):
            target.add("only", split, shape.rows(count, seed))
    return dataset_lib.Dataset.open(path)


@dataclasses.dataclass(frozen=True)
class Calls:
    """What a client is asked for.

    Attributes:
      train: makes so many steps and returns the processor's seconds that they took.
      train_at_home: of a private client, what it does after its last aggregation, for few steps.
    """

    train: "Callable[[int], float]"
    train_at_home: "Callable[[], None]"


def calls_of(dataset: dataset_lib.Dataset, shape: shapes.Shape, **budget: float) -> Calls:
    """The calls of one client."""
    model_config = dataclasses.replace(shape.config, batch_norm=False, dropout=0.0)
    plan = plan_lib.Plan(
        "fedavg", batch_size=shape.batch, average_over=0.0, model=model_config, **budget
    )
    made = federation.Federation(plan, dataset)
    strategy, layout, initial = made.algorithm.client, made.layout, made._initial

    def make_model() -> work_lib.ClientModel:
        return work_lib.ClientModel(
            lambda: mmoe.build(dataset.schema, made.plan.model, 0),
            dataset.schema,
            plan.learning_rate,
            strategy.optimizers(layout),
        )

    model = make_model()
    names = [spec.name for spec in layout.joined("private")]
    names += [item.name for item in strategy.kept(layout)]
    private = {name: tf.constant(initial[name]) for name in names}
    private.update({name: tf.zeros(slot.shape) for name, slot in model.slots.items()})
    incoming = {spec.name: tf.constant(initial[spec.name]) for spec in layout.uploaded}
    asked = {name: tf.constant(value) for name, value in made._work(0, 0).items()}
    asked[home.SERVES] = tf.ones([len(dataset.schema.tasks)])
    settings = work_lib.TrainingSettings(shape.batch)

    def work(**numbers: tf.Tensor) -> work_lib.Values:
        own = strategy.own_work(tf.constant(0), tf.constant([1, 2], tf.int64))
        return {**asked, **numbers, **own}

    @tf.function
    def train(count: tf.Tensor) -> Any:
        inputs = work_lib.ClientInputs(layout, settings, incoming, {}, private, work(steps=count))
        done = strategy.train(model, inputs)
        return done.examples, tuple(done.upload.values())

    def seconds(count: int) -> float:
        started = processor_seconds()
        train(tf.constant(count, tf.int64))
        return processor_seconds() - started

    def train_at_home() -> None:
        # A computation of its own has variables of its own.
        at_home = make_model()

        @tf.function
        def whole(steps: tf.Tensor) -> Any:
            asked_at_home = work(**{home.STEPS: steps})
            return strategy.train_at_home(at_home, settings, private, asked_at_home)

        whole(tf.constant(_HOME_STEPS, tf.int64))

    seconds(1)
    return Calls(seconds, train_at_home)


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a private step is asked for beside a plain one; without an epsilon, a plain one."""

    dp_epsilon: float = 0.0
    dp_sparse_rows: int = 0

    def calls(self, dataset: dataset_lib.Dataset, shape: shapes.Shape) -> Calls:
        return calls_of(dataset, shape, **(dataclasses.asdict(self) if self.dp_epsilon else {}))


def peak_of(
    path: pathlib.Path, shape: shapes.Shape, budget: Budget, steps: int, at_home: bool
) -> float:
    """MB of memory that this process has had at most, after calls of one kind, and with `at_home`
    the training at home.
    """
    calls = budget.calls(dataset_lib.Dataset.open(path), shape)
    calls.train(steps)
    calls.train(steps)
    if at_home:
        calls.train_at_home()
    # Of this program alone: what resource tells begins with the memory of what started it.
    status = pathlib.Path("/proc/self/status").read_text()
    return float(status.split("VmHWM:")[1].split()[0]) / 1024


def peak_in_a_process_of_its_own(*given: Any) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_of, given)


def line(times: "dict[int, float]") -> "tuple[float, float]":
    """Of a step, and of a call beside its steps."""
    (few, short), (many, long) = sorted(times.items())
    slope = (long - short) / (many - few)
    return slope, short - few * slope


def compare(name: str, shape: shapes.Shape, steps: int, pairs: int, sparse: int) -> None:
    """Prints a line of both."""
    kinds = {"plain": Budget(), "private": Budget(_EPSILON, sparse)}
    counts = max(1, steps // 3), steps
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "data"
        dataset = dataset_of(shape, path)
        peaks = {
            kind: peak_in_a_process_of_its_own(path, shape, budget, steps, False)
            for kind, budget in kinds.items()
        }
        at_home = peak_in_a_process_of_its_own(path, shape, kinds["private"], steps, True)
        calls = {kind: budget.calls(dataset, shape).train for kind, budget in kinds.items()}
        taken = [
            {kind: {count: call(count) for count in counts} for kind, call in calls.items()}
            for _ in range(pairs)
        ]
    least = {
        kind: {count: 1000.0 * min(turn[kind][count] for turn in taken) for count in counts}
        for kind in kinds
    }
    lines = {kind: line(times) for kind, times in least.items()}
    told = [
        f"{kind} {step:.2f} ms a step and {call:.0f} ms a call, peak {peaks[kind]:.0f} MB"
        for kind, (step, call) in lines.items()
    ]
    times = {
        "a step": lines["private"][0] / lines["plain"][0],
        f"a call of {steps} steps": least["private"][steps] / least["plain"][steps],
        "the peak": peaks["private"] / peaks["plain"],
    }
    told += [f"{value:.2f} times {what}" for what, value in times.items()]
    told.append(f"with the training at home {at_home:.0f} MB")
    named = f"{name}, batch {shape.batch}, sparse from {sparse or '-'}"
    print(f"{named}: {'; '.join(told)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default="small,paper")
    parser.add_argument("--tables", default="1000000")
    parser.add_argument("--sparse", default="0,50000")
    parser.add_argument("--batches", default="", help="of --shapes, in place of their own")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    for name in filter(None, given.shapes.split(",")):
        shape = shapes.SHAPES[name]
        for batch in filter(None, given.batches.split(",")) if given.batches else [shape.batch]:
            compare(name, dataclasses.replace(shape, batch=int(batch)), given.steps, given.pairs, 0)
    for rows in filter(None, given.tables.split(",")):
        large = shapes.Shape(ModelConfig(), 1024, cardinalities=(int(rows), 1000, 20))
        for sparse in map(int, given.sparse.split(",")):
            compare(f"a table of {int(rows):,} rows", large, given.steps, given.pairs, sparse)


if __name__ == "__main__":
    main()
