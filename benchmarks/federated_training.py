"""Rounds of federated training with the fast MMoE and with the plain Keras form, interleaved,
each in a worker of its own.

    python benchmarks/federated_training.py [--quick] [--repeats=N] [--rows=N] [--paper]

Two clients of synthetic data, algorithm `local`, so that a round is the clients' training and what
the driver adds to it. The last line is JSON: `vs_keras`, how many times as fast a round is with the
fast form.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np

from benchmarks import resident_runs
from benchmarks.shapes import PAPER
from pfrec.data import synthetic
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process import plan


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two repeats on few rows")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", type=int, default=20_000, help="of the larger client")
    parser.add_argument(
        "--paper",
        action="store_true",
        help="the AliExpress shape, batch 2048, instead of the default one",
    )
    arguments = parser.parse_args()
    repeats, rows = (2, 4000) if arguments.quick else (arguments.repeats, arguments.rows)
    config, batch = (PAPER, 2048) if arguments.paper else (ModelConfig(), 256)
    with resident_runs.directory() as folder, contextlib.ExitStack() as stack:
        data = dataset_lib.Dataset.open(synthetic.generate(folder / "data", scenarios=2, rows=rows))
        sides = {}
        for name in ("plain", "fast"):
            mmoe.MMoE.use_plain = (
                name == "plain"
            )  # read while the computations are traced, which is now
            asked = plan.Plan("local", batch_size=batch, model=config)
            sides[name] = stack.enter_context(
                resident_runs.training(asked, data, folder / name, concurrent=1)
            )
        times: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(repeats + 1):
            for name, side in sides.items():
                start = time.perf_counter()
                side.train_round(number)
                times[name].append(time.perf_counter() - start)
                resident_runs.forget_versions(folder / name, side)
    plain, fast = (float(np.median(times[name][1:])) for name in ("plain", "fast"))
    print(f"plain {plain:.2f} s a round, fast {fast:.2f} s: {plain / fast:.2f}")
    print(json.dumps({"vs_keras": round(plain / fast, 3)}))


if __name__ == "__main__":
    main()
