"""A round against the same training in a plain loop: what resident execution costs.

`--quick` for a smoke run.

The plain loop trains the same four clients one after the other in this process, with as many
batches, by one `tf.function` that is traced once, and neither aggregates nor writes anything. A
round trains them in a worker, aggregates four times and writes their private states, which costs
the same however many rows there were. The wide model's private table and its moments are 384 MB a
client; one with two million users has more rows than the default here, hence longer rounds.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
if "tensorflow" not in sys.modules:
    import tff_process  # noqa: F401, sets malloc, as for the commands before TensorFlow has threads

import tensorflow as tf

from benchmarks import resident_runs
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.client import variables
from tff_process.client import work as work_lib
from tff_process.process import federation

CLIENTS = 4


class PlainLoop:
    """The same clients' training without TFF, worker, aggregation or files."""

    def __init__(
        self, plan: plan_lib.Plan, data: dataset_lib.Dataset, made: federation.Federation
    ) -> None:
        self._made = made
        model = work_lib.ClientModel(
            lambda: mmoe.build(data.schema, plan.model, plan.seed), data.schema, plan.learning_rate
        )
        settings = work_lib.TrainingSettings(plan.batch_size, made.algorithm.proximal)
        self._incoming = {s.name: tf.constant(made._initial[s.name]) for s in made.layout.uploaded}
        private = {
            s.name: tf.constant(made._initial[s.name])
            for s in made.layout.joined(variables.PRIVATE)
        }
        private.update({name: tf.zeros(slot.shape) for name, slot in model.slots.items()})
        self._private = [private] * CLIENTS
        shards = tf.TensorSpec([None], tf.string)
        number = tf.TensorSpec([], tf.int64)
        work = {
            "shards": shards,
            **dict.fromkeys(("seed", "first_step", "steps", "epoch_steps"), number),
        }
        work["learning_rate"] = tf.TensorSpec([], tf.float32)
        weights = tf.TensorSpec([len(data.schema.tasks)], tf.float32)
        work.update(task_weights=weights, positive_weights=weights)

        @tf.function(
            input_signature=[tf.nest.map_structure(tf.TensorSpec.from_tensor, private), work],
            autograph=False,
        )
        def train(private, work):  # type: ignore[no-untyped-def]
            inputs = work_lib.ClientInputs(
                made.layout, settings, self._incoming, self._incoming, private, work
            )
            done = work_lib.train(model, inputs)
            return dict(done.private), done.loss

        self._train = train

    def round(self) -> None:
        for _ in range(self._made.aggregation_steps):
            self.aggregation_step()

    def aggregation_step(self) -> None:
        for client in range(CLIENTS):
            work = {name: tf.constant(value) for name, value in self._made._work(client, 0).items()}
            self._private[client], loss = self._train(self._private[client], work)
            loss.numpy()


def measure(name: str, quick: bool, large_rows: int, wide_rows: int) -> float:
    """Median time of a round over median time of the plain loop, the two interleaved."""
    repeats = 2 if quick else 5 if name == "small" else 3
    if name == "small":
        schema, model, rows, batch = (
            resident_runs.schema(30, 16, 63),
            ModelConfig(),
            5_000 if quick else 40_000,
            256,
        )
    elif name == "large":
        model = ModelConfig(
            embedding_dim=128, experts=8, expert_units=(512, 256), tower_units=(128, 64)
        )
        schema, rows, batch = (
            resident_runs.schema(30, 16, 63),
            2_048 if quick else large_rows,
            2_048,
        )
    else:
        schema, model = (
            resident_runs.schema(50_000 if quick else 2_000_000, 1, 8),
            ModelConfig(embedding_dim=16),
        )
        rows, batch = 2_048 if quick else wide_rows, 1_024
    plan = plan_lib.Plan("pf_msmtrec", batch_size=batch, model=model)
    rounds, plains = [], []
    with resident_runs.directory() as path:
        data = resident_runs.dataset(path / "data", schema, CLIENTS, rows)
        concurrent = min(CLIENTS, len(os.sched_getaffinity(0)))
        with resident_runs.training(plan, data, path / "clients", concurrent) as made:
            plain = PlainLoop(plan, data, made)
            # The first of each builds its sessions.
            made.train_aggregation_step(0)
            plain.aggregation_step()
            for number in range(1, repeats + 1):
                start = time.perf_counter()
                made.train_round(number)
                middle = time.perf_counter()
                plain.round()
                end = time.perf_counter()
                resident_runs.forget_versions(path / "clients", made)
                rounds.append(middle - start)
                plains.append(end - middle)
    print(
        f"{name}: round {statistics.median(rounds):.3f} s, plain loop "
        f"{statistics.median(plains):.3f} s",
        flush=True,
    )
    return statistics.median(rounds) / statistics.median(plains)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["small", "large", "wide"])
    parser.add_argument(
        "--large_rows", type=int, default=409_600, help="Rows of a client of the large model."
    )
    parser.add_argument(
        "--wide_rows", type=int, default=409_600, help="The same of the wide model."
    )
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else ["small", "large", "wide"]
    print(
        json.dumps(
            {
                name: round(
                    measure(name, arguments.quick, arguments.large_rows, arguments.wide_rows), 3
                )
                for name in names
            },
            sort_keys=True,
        )
    )


if __name__ == "__main__":
    main()
