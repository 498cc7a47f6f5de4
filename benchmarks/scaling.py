"""Step time of the fast MMoE and of the plain form against batch, experts, cardinality and tasks,
one at a time from the default shape.

    python benchmarks/scaling.py [--quick] [--repeats=N]

Prints a table; the last line is JSON: for each axis and value, how many times as fast as the plain
form, interleaved in one run.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np

from benchmarks.local_training import Side
from benchmarks.shapes import Shape
from pfrec.data import synthetic
from pfrec.models.config import ModelConfig


def shapes(quick: bool) -> "dict[str, dict[int, Shape]]":
    """By axis and value."""
    base = Shape(ModelConfig(), 256)
    axes = {
        "batch": {n: dataclasses.replace(base, batch=n) for n in (64, 256, 1024, 4096)},
        "experts": {
            n: dataclasses.replace(base, config=ModelConfig(experts=n)) for n in (1, 4, 16)
        },
        "cardinality": {
            n: dataclasses.replace(base, cardinalities=(n, *synthetic.CARDINALITIES[1:]))
            for n in (10, 1000, 100_000, 1_000_000)
        },
        "tasks": {n: dataclasses.replace(base, tasks=n) for n in (1, 2, 8)},
    }
    return (
        {axis: dict(list(values.items())[:1]) for axis, values in axes.items()} if quick else axes
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one value of each axis, two repeats")
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    repeats = 2 if arguments.quick else arguments.repeats
    result: dict[str, dict[str, float]] = {}
    print(f"{'axis':<12}{'value':>9}{'plain ms':>10}{'fast ms':>10}{'ratio':>7}")
    for axis, values in shapes(arguments.quick).items():
        for value, shape in values.items():
            sides = {"plain": Side(shape, True, 10), "fast": Side(shape, False, 10)}
            times: dict[str, list[float]] = {name: [] for name in sides}
            for _ in range(repeats + 1):
                for name, side in sides.items():
                    times[name].append(side.seconds("step")[0])
            plain, fast = (1e3 * float(np.median(times[name][1:])) for name in ("plain", "fast"))
            print(f"{axis:<12}{value:>9}{plain:10.2f}{fast:10.2f}{plain / fast:7.2f}", flush=True)
            result.setdefault(axis, {})[str(value)] = round(plain / fast, 3)
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
