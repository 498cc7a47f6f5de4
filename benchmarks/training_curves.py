"""Training curves of the fast form of the MMoE beside the plain one: the same client,
the same batches, several seeds.

    python benchmarks/training_curves.py [--epochs=1] [--seeds=3] [--quick]

One scenario of synthetic data is trained in tenths of an epoch, with both forms from the same
initial values, and evaluated on its valid rows after each. The last line is JSON: `loss_difference`
and `auc_difference`, the largest difference of the two forms' means over seeds along the curve, and
`loss_deviation` and `auc_deviation`, the standard deviation between seeds of the plain form: the
first should be the smaller. `bfloat16_...` are the differences of the fast form with products in
bfloat16, which any processor computes, if not fast.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf

from pfrec import groups, metrics
from pfrec.data import synthetic
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process.algorithms import local
from tff_process.client import measuring, variables
from tff_process.client import work as work_lib

_POINTS = 10
_BATCH = 256


def curve(
    dataset: dataset_lib.Dataset, form: str, seed: int, epochs: int, dropout: float
) -> np.ndarray:
    """Mean loss of each stretch and mean valid AUC after it, float64 [stretches, 2]."""
    scenario, config = dataset.scenarios[0], ModelConfig(dropout=dropout)
    model = work_lib.ClientModel(
        lambda: mmoe.build(dataset.schema, config, seed), dataset.schema, 1e-3
    )
    model.network.use_plain = form == "plain"
    layout = variables.of(groups.tag(model.network), local.local(dataset.schema).policy, ())
    settings = work_lib.TrainingSettings(
        _BATCH, precision="bfloat16" if form == "bfloat16" else "float32"
    )
    epoch_steps = pipeline.steps_per_epoch(dataset.rows(scenario, "train"), _BATCH)
    shards = {split: tf.constant(dataset.shards(scenario, split)) for split in ("train", "valid")}

    @tf.function(autograph=False)
    def stretch(state, first, steps):
        numbers = {"seed": tf.constant(1 + seed, tf.int64), "first_step": first, "steps": steps}
        work = {
            **numbers,
            "epoch_steps": tf.constant(epoch_steps, tf.int64),
            "shards": shards["train"],
        }
        inputs = work_lib.ClientInputs(layout, settings, {}, {}, state, work)
        done = work_lib.train(model, inputs)
        return dict(done.private), done.loss

    @tf.function(autograph=False)
    def evaluate(state):
        return measuring.evaluate(model, {}, state, shards["valid"])

    state, points = dict(model.private_state(layout)), []
    bounds = np.linspace(0, epochs * epoch_steps, 1 + epochs * _POINTS).round().astype(np.int64)
    for first, last in zip(bounds, bounds[1:]):
        state, loss = stretch(state, tf.constant(first), tf.constant(last - first))
        auc = evaluate(state)[:, metrics.METRICS.index("auc")]
        points.append((float(loss), float(tf.reduce_mean(auc))))
    return np.array(points)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--quick", action="store_true", help="two seeds on few rows")
    arguments = parser.parse_args()
    seeds, rows = (2, 6_000) if arguments.quick else (arguments.seeds, arguments.rows)
    with tempfile.TemporaryDirectory() as folder:
        dataset = dataset_lib.Dataset.open(
            synthetic.generate(pathlib.Path(folder) / "data", scenarios=1, rows=rows)
        )
        curves = {
            name: np.stack(
                [
                    curve(dataset, name, seed, arguments.epochs, arguments.dropout)
                    for seed in range(seeds)
                ]
            )
            for name in ("plain", "fast", "bfloat16")
        }
    means = {name: found.mean(0) for name, found in curves.items()}
    print(f"{'epoch':>6}" + "".join(f"{name + ': loss':>16}{'auc':>9}" for name in means))
    for number, points in enumerate(zip(*means.values()), 1):
        print(
            f"{number / _POINTS:6.1f}" + "".join(f"{loss:16.5f}{auc:9.5f}" for loss, auc in points)
        )
    deviations, found = curves["plain"].std(0, ddof=1).mean(0), {}
    for i, name in enumerate(("loss", "auc")):
        found[f"{name}_deviation"] = deviations[i]
        for form, key in (
            ("fast", f"{name}_difference"),
            ("bfloat16", f"bfloat16_{name}_difference"),
        ):
            found[key] = np.abs(means["plain"] - means[form]).max(0)[i]
    print(
        json.dumps({name: float(f"{value:.3g}") for name, value in found.items()}, sort_keys=True)
    )


if __name__ == "__main__":
    main()
