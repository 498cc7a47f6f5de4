"""Training steps of the fast MMoE beside the plain Keras form, and beside MTReclib where it is
given: interleaved, in one run.

    python benchmarks/local_training.py [--quick] [--mtreclib=DIR --torch_python=PYTHON]
    [--repeats=N] [--shapes=paper,small,...]

MTReclib (github.com/easezyc/Multitask-Recommendation-Library) is not part of this project: give the
directory of a checkout, and a Python that has PyTorch. The last line is JSON: `vs_keras` and
`vs_mtreclib`, how many times as many samples per second on the AliExpress shape (`paper`), and
`over_floor`, the step's time over the larger of its arithmetic at the speed of a plain product and
its memory traffic at the speed of a plain copy, both measured in the same run.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import types

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf

from benchmarks import step_floor
from benchmarks.shapes import SHAPES, Shape
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import writer
from pfrec.models import adam, precision, ranker
from pfrec.models.mmoe import mmoe
from tff_process.client import work as work_lib


class Side:
    """One implementation: functions that run `steps` steps on a batch.

    Args:
      shape: what to train.
      plain: whether layer by layer.
      steps: in one call.
      products: their precision.
    """

    def __init__(
        self, shape: Shape, plain: bool, steps: int, products: str = precision.FLOAT32
    ) -> None:
        schema, rows = shape.schema(), shape.rows(shape.batch)
        batch = {
            "categorical": tf.constant(rows.categorical),
            "numerical": tf.constant(rows.numerical),
            "labels": tf.constant(rows.labels),
            "dropout_seed": tf.constant([1, 2], tf.int64),
        }
        model = mmoe.build(schema, shape.config, 1)
        model.use_plain = plain
        ranking = ranker.MultiTaskRanker(model, [task.name for task in schema.tasks])
        optimizer = adam.Adam(model.trainable_variables)
        self._steps = steps

        def loss_and_gradients():
            with precision.products(products):
                with tf.GradientTape() as tape:
                    loss = ranking.compute_loss(batch, training=True)
                return loss, tape.gradient(
                    loss, model.trainable_variables, unconnected_gradients="zero"
                )

        def some(gradient):
            """A number of a gradient, so that it must be computed."""
            return tf.reshape(
                gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient, [-1]
            )[0]

        def forward():
            with precision.products(products):
                return ranking.compute_loss(batch, training=True)

        def both():
            loss, gradients = loss_and_gradients()
            return loss + 1e-30 * tf.add_n([some(g) for g in gradients])

        def whole():
            loss, gradients = loss_and_gradients()
            optimizer.apply(gradients)
            return loss

        def repeated(one):
            @tf.function
            def run():
                loss = tf.constant(0.0)
                for _ in tf.range(steps):
                    loss = one()
                return loss

            return run

        self.parts = {
            "forward": repeated(forward),
            "backward": repeated(both),
            "step": repeated(whole),
        }

    def seconds(self, part: str) -> "tuple[float, float]":
        """Of one step: by the wall clock, and of this process's processors,
        which a busy machine distorts less.
        """
        start, used = time.perf_counter(), time.process_time()
        self.parts[part]().numpy()
        return (time.perf_counter() - start) / self._steps, (
            time.process_time() - used
        ) / self._steps


class MTReclib:
    """MTReclib's MMoE in a process of its own, one step at a time."""

    def __init__(self, directory: str, python: str, shape: Shape) -> None:
        config = {
            **dataclasses.asdict(shape.config),
            "cardinalities": shape.cardinalities,
            "numbers": shape.numbers,
        }
        script = pathlib.Path(__file__).with_name("mtreclib_step.py")
        self._process = subprocess.Popen(
            [
                python,
                str(script),
                directory,
                json.dumps({**config, "tasks": shape.tasks, "batch": shape.batch}),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.seconds()

    def seconds(self) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("MTReclib's process ended; its message stands above")
        return float(line)

    def close(self) -> None:
        self._process.communicate()


def input_seconds(shape: Shape, repeats: int) -> float:
    """Reading, decoding and shuffling one batch,
    median over epochs of 32 batches and at least 16,384 rows.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "data"
        count = max(32 * shape.batch, 16_384)
        with writer.DatasetWriter(
            path, shape.schema(), source_format="benchmark", split_seed=0
        ) as target:
            for split in ("train", "valid", "test"):
                target.add("s", split, shape.rows(count if split == "train" else 256))
        dataset = dataset_lib.Dataset.open(path)
        steps = count // shape.batch
        shards = tf.constant(dataset.shards("s", "train"))

        reader = types.SimpleNamespace(schema=shape.schema())
        settings = work_lib.TrainingSettings(shape.batch)
        whole = tf.constant(steps, tf.int64)

        def step(batch, state):
            return tf.add_n(
                [tf.cast(tf.reshape(column, [-1])[0], tf.float32) for column in batch.values()]
            ), state

        @tf.function
        def epoch(number):
            work = {
                "shards": shards,
                "seed": tf.ones_like(number),
                "first_step": number * whole,
                "steps": whole,
                "epoch_steps": whole,
            }
            return work_lib.for_each_batch(reader, settings, work, step, ()).loss

        times = []
        for number in range(repeats + 1):
            start = time.perf_counter()
            epoch(tf.constant(number, tf.int64)).numpy()
            times.append((time.perf_counter() - start) / steps)
        return float(np.median(times[1:]))


def measure(name: str, shape: Shape, repeats: int, peer: "MTReclib | None") -> "dict[str, float]":
    """Prints a shape's table; returns its ratios."""
    steps = 1 if shape.batch * shape.config.experts * shape.config.expert_units[0] > 1 << 20 else 20
    sides = {"plain": Side(shape, True, steps), "fast": Side(shape, False, steps)}
    if precision.available(precision.BFLOAT16):
        sides["bfloat16"] = Side(shape, False, steps, precision.BFLOAT16)
    times: dict[tuple[str, str], list[float]] = {}
    processor: dict[tuple[str, str], list[float]] = {}
    peer_times = []
    for number in range(repeats + 1):
        for part in ("forward", "backward", "step"):
            for side_name, side in sides.items():
                seconds, used = side.seconds(part)
                if number:  # the first call traces
                    times.setdefault((side_name, part), []).append(seconds)
                    processor.setdefault((side_name, part), []).append(used)
        if peer is not None:
            peer_times.append(peer.seconds())
    rates, widths = step_floor.machine(repeats)
    arithmetic, traffic = step_floor.floor(shape)
    median = {key: float(np.median(value)) for key, value in times.items()}
    reading = input_seconds(shape, min(repeats, 5))
    print(
        f"{name}: batch {shape.batch}, {shape.tasks} tasks; milliseconds per step, median of "
        f"{repeats} (best)"
    )
    print(
        f"{'':<10}{'input':>8}{'forward':>10}{'backward':>10}{'optimizer':>10}"
        f"{'step':>17}{'samples/s':>12}"
    )
    for side_name in sides:
        forward, both, whole = (median[side_name, part] for part in ("forward", "backward", "step"))
        print(
            f"{side_name:<10}{1e3 * reading:8.2f}{1e3 * forward:10.2f}"
            f"{1e3 * (both - forward):10.2f}{1e3 * (whole - both):10.2f}"
            f"{1e3 * whole:9.2f} "
            f"({1e3 * min(times[side_name, 'step']):.2f}){shape.batch / whole:10.0f}"
        )
    own = median["fast", "step"]
    bounds = arithmetic / rates, traffic / widths
    print(
        f"floor: {arithmetic / 1e9:.2f} GFLOP at {rates / 1e9:.0f} GFLOP/s = "
        f"{1e3 * bounds[0]:.2f} ms; "
        f"{traffic / 1e6:.0f} MB at {widths / 1e9:.1f} GB/s = {1e3 * bounds[1]:.2f} ms; input is "
        f"{reading / own:.1%} of a step"
    )
    ratios = {
        "vs_keras": median["plain", "step"] / own,
        "over_floor": own / max(bounds),
        "input_share": reading / own,
    }
    # Pairs measured one after the other had the machine's load in common.
    pairs = np.array(times["plain", "step"]) / np.array(times["fast", "step"])
    ratios["vs_keras_processor_time"] = float(
        np.median(processor["plain", "step"]) / np.median(processor["fast", "step"])
    )
    print(
        f"plain over fast: {ratios['vs_keras']:.2f} of medians, {np.median(pairs):.2f} median "
        "of pairs, "
        f"{ratios['vs_keras_processor_time']:.2f} in processor time"
    )
    if "bfloat16" in sides:
        ratios["bfloat16"] = own / median["bfloat16", "step"]
        print(f"bfloat16: {ratios['bfloat16']:.2f} times as fast as fast in float32")
    if peer is not None:
        ratios["vs_mtreclib"] = float(np.median(peer_times)) / own
        print(
            f"MTReclib: {1e3 * float(np.median(peer_times)):.2f} ms a step, "
            f"{ratios['vs_mtreclib']:.2f} times ours"
        )
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="two repeats of the paper-sized and the small shape"
    )
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--shapes", default=",".join(name for name in SHAPES if "," not in name))
    parser.add_argument("--mtreclib", help="directory of a checkout of MTReclib")
    parser.add_argument("--torch_python", default=sys.executable, help="a Python that has PyTorch")
    arguments = parser.parse_args()
    repeats = 2 if arguments.quick else arguments.repeats
    names = ["paper", "small"] if arguments.quick else arguments.shapes.split(",")
    ratios = {}
    for name in names:
        peer = (
            MTReclib(arguments.mtreclib, arguments.torch_python, SHAPES[name])
            if arguments.mtreclib and name == "paper"
            else None
        )
        ratios[name] = measure(name, SHAPES[name], repeats, peer)
        if peer is not None:
            peer.close()
    first = ratios.get("paper") or next(iter(ratios.values()))
    print(
        json.dumps(
            {
                "vs_keras": round(first["vs_keras"], 3),
                "vs_mtreclib": round(first["vs_mtreclib"], 3) if "vs_mtreclib" in first else None,
                "over_floor": round(first["over_floor"], 3),
                "by_shape": {n: {k: round(v, 3) for k, v in r.items()} for n, r in ratios.items()},
            },
            sort_keys=True,
        )
    )


if __name__ == "__main__":
    main()
