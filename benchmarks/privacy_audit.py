"""Plants a row and guesses from the noised sums whether it is there: epsilon as an attack finds it.

    python benchmarks/privacy_audit.py [--epsilon=3] [--rows=800] [--batch=200] [--steps=8]
        [--runs=1500]

The attacker knows all but the noise and the sample: every other row (there is none, which is the
worst case), the model, and the gradient of the planted row. It sees each step's noised sum, which
tells more than the updates that are sent. Prints, as a line of JSON, the stated epsilon and the one
that the guesses show at 95% confidence: as it is, and with the noise or the clipping broken, which
the audit must find.
"""

import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf

from pfrec.data import schema as schema_lib
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process.client import work as work_lib
from tff_process.privacy import audit, clipping, draws, mechanism, sampled_gaussian

SCHEMA = schema_lib.Schema(
    categorical=(schema_lib.Categorical("item", 5, "shared"),),
    numerical=(schema_lib.Numerical("price"),),
    tasks=(schema_lib.Task("ctr", "click"),),
)
SHAPE = ModelConfig(
    embedding_dim=2,
    embedding_scale=1.0,
    numeric_dim=2,
    experts=1,
    expert_units=(4,),
    tower_units=(2,),
    batch_norm=False,
)


def planted(present: bool) -> "dict[str, tf.Tensor]":
    """A scenario that holds one row, or none."""
    count = int(present)
    return {
        "categorical": tf.constant(np.full([count, 1], 3, np.int32)),
        "numerical": tf.constant(np.full([count, 1], 2.0, np.float32)),
        "labels": tf.constant(np.ones([count, 1], np.uint8)),
    }


def projections(
    budget: mechanism.Budget,
    clip: float,
    runs: int,
    present: bool,
    *,
    noise_factor: float = 1.0,
    clip_factor: float = 1.0,
) -> np.ndarray:
    """Each step's noised sum along the planted row's gradient, over the clip: [runs, steps].

    Args:
      budget: what the mechanism says.
      clip: what it says that it clips to.
      runs: how many.
      present: whether the row is there.
      noise_factor, clip_factor: what noise and clip really are, over what they are said to be.
    """

    def make() -> tf.keras.Model:
        return mmoe.build(SCHEMA, SHAPE, seed=1)

    model = work_lib.ClientModel(make, SCHEMA, 0.0)
    names, rows = model.trained, planted(present)
    row = clipping.clipped_sums(model.network, planted(True), clip)
    gradient = [row.sums[model.variables[name].ref()] for name in names]
    if float(row.norms[0]) < 2.0 * clip:
        raise ValueError("the planted row's gradient is not clipped; choose a smaller clip")

    answering = sampled_gaussian.SampledGaussian(
        tf.constant(budget.rate, tf.float64),
        tf.constant(noise_factor * budget.noise * clip),
        clip_factor * clip,
    )

    @tf.function
    def run(secret: tf.Tensor) -> tf.Tensor:
        found = tf.TensorArray(tf.float32, budget.steps)
        for step in tf.range(tf.constant(budget.steps, tf.int64)):
            seed = draws.folded(draws.key(secret, []), step)
            sums = answering.sums(model, names, rows, seed)
            inner = [tf.reduce_sum(sums[name] * own) for name, own in zip(names, gradient)]
            found = found.write(tf.cast(step, tf.int32), tf.add_n(inner) / clip**2)
        return found.stack()

    secrets = np.random.default_rng(int(present)).integers(-(2**62), 2**62, [runs, 2])
    return np.stack([run(tf.constant(secret)).numpy() for secret in secrets])


def bound(budget: mechanism.Budget, runs: int, **broken: float) -> float:
    """Epsilon that the guesses of so many runs show."""
    clip = 0.05
    scores = [
        audit.log_likelihood_ratio(
            projections(budget, clip, runs, present, **broken), budget.rate, budget.noise
        )
        for present in (True, False)
    ]
    return audit.lower_bound(*scores, delta=budget.delta)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--runs", type=int, default=1500)
    given = parser.parse_args()
    (budget,) = mechanism.of(
        given.epsilon, 1e-5, 1.0, given.batch, [given.rows], [given.steps]
    ).budgets
    found = {
        "as it is": bound(budget, given.runs),
        "a quarter of the noise": bound(budget, given.runs, noise_factor=0.25),
        "clipped to double": bound(budget, given.runs, clip_factor=2.0),
    }
    told = {name: round(value, 2) for name, value in found.items()}
    print(json.dumps({"stated": given.epsilon, "runs": given.runs, "at least": told}))


if __name__ == "__main__":
    main()
