"""What a step costs under differential privacy, against one without.

    python benchmarks/privacy_step.py [--data=DATA] [--batches=256,1024] [--steps=60]

Times a client's aggregation step of `fedavg` without batch normalisation, on the first scenario's
rows: the plain one, and the one that clips and adds noise, which also reads all rows and draws the
sample. Prints the processor's milliseconds of a step (user and system time, least of three), a line
for each batch size.
"""

import argparse
import os
import pathlib
import resource
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from typing import Any

import numpy as np
import tensorflow as tf

from pfrec.data import synthetic
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.client import work as work_lib
from tff_process.process import federation


def processor_seconds() -> float:
    """User and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def milliseconds(dataset: dataset_lib.Dataset, batch: int, steps: int, epsilon: float) -> float:
    """Of one step, in the least of three stretches."""
    plan = plan_lib.Plan(
        "fedavg",
        batch_size=batch,
        average_over=0.0,
        dp_epsilon=epsilon,
        model=ModelConfig(batch_norm=False),
    )
    made = federation.Federation(plan, dataset)
    strategy, layout, initial = made.algorithm.client, made.layout, made._initial
    model = work_lib.ClientModel(
        lambda: mmoe.build(dataset.schema, made.plan.model, 0),
        dataset.schema,
        plan.learning_rate,
        strategy.optimizers(layout),
    )
    names = [spec.name for spec in layout.joined("private")]
    names += [item.name for item in strategy.kept(layout)]
    private = {name: tf.constant(initial[name]) for name in names}
    private.update({name: tf.zeros(slot.shape) for name, slot in model.slots.items()})
    incoming = {spec.name: tf.constant(initial[spec.name]) for spec in layout.uploaded}
    asked = {name: tf.constant(value) for name, value in made._work(0, 0).items()}
    settings = work_lib.TrainingSettings(batch)

    @tf.function
    def train(count: tf.Tensor) -> Any:
        work = {**asked, "steps": count, **dict.fromkeys(strategy.asked, tf.zeros([], tf.int64))}
        own = strategy.own_work(tf.constant(0), tf.constant([1, 2], tf.int64))
        inputs = work_lib.ClientInputs(layout, settings, incoming, {}, private, {**work, **own})
        done = strategy.train(model, inputs)
        return done.examples, tuple(done.upload.values())

    def seconds(count: int) -> float:
        started = processor_seconds()
        train(tf.constant(count, tf.int64))
        return processor_seconds() - started

    seconds(1)
    return 1000.0 * min(seconds(steps) for _ in range(3)) / steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, help="a dataset; generated where not given")
    parser.add_argument("--batches", default="256,1024")
    parser.add_argument("--steps", type=int, default=60)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = given.data or pathlib.Path(folder) / "data"
        if given.data is None:
            synthetic.generate(path, scenarios=1, rows=20_000, shared=0.5, seed=0)
        dataset = dataset_lib.Dataset.open(path)
        for batch in map(int, given.batches.split(",")):
            plain, private = (
                milliseconds(dataset, batch, given.steps, epsilon) for epsilon in (0.0, 8.0)
            )
            ratio = np.round(private / plain, 2)
            print(f"batch {batch}: plain {plain:.2f} ms, private {private:.2f} ms, {ratio} times")


if __name__ == "__main__":
    main()
