"""A training step with oneDNN on and off, in float32 and in bfloat16, by shape: processor seconds
of interleaved steps; oneDNN, which is chosen when a process starts, on in one and off in another.

    python benchmarks/step_settings.py [--shapes=paper,small] [--repeats=N] [--quick]

One thread inside an operation, so that waiting threads do not count. Prints milliseconds of
processor time of a step, median of all repeats, and the median of pairs with the first setting, as
one over the other, with the quartiles. The last line is JSON. bfloat16 is left out where the
processor has no such products.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np

# A process for each way with oneDNN, and the precisions that it is measured in.
PROCESSES = {"1": ("float32", "bfloat16"), "0": ("float32",)}
_NAMES = {"1": "oneDNN", "0": "off"}
_AT_LEAST = 0.2  # processor seconds of a measurement


class Child:
    """A process that measures steps.

    Args:
      shape: by name.
      one_dnn: `TF_ENABLE_ONEDNN_OPTS` of it.
      precisions: that it is asked for.
    """

    def __init__(self, shape: str, one_dnn: str, precisions: "list[str]") -> None:
        environment = {
            **os.environ,
            "TF_ENABLE_ONEDNN_OPTS": one_dnn,
            "TF_NUM_INTRAOP_THREADS": "1",
        }
        asked = json.dumps([shape, precisions])
        self._process = subprocess.Popen(
            [sys.executable, __file__, f"--one={asked}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def seconds(self, products: str) -> float:
        """Of processor time that a step took in a precision."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(products, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process that measures ended; its message stands above")
        return float(line)

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def serve(shape: str, precisions: "list[str]") -> None:
    """Measures a step for each precision that comes."""
    from benchmarks import local_training
    from benchmarks.shapes import SHAPES

    sides = {name: local_training.Side(SHAPES[shape], False, 1, name) for name in precisions}
    for side in sides.values():
        side.parts["step"]().numpy()  # traced
    for line in sys.stdin:
        step, start, steps = sides[line.strip()].parts["step"], time.process_time(), 0
        while not steps or time.process_time() - start < _AT_LEAST:
            step().numpy()
            steps += 1
        print((time.process_time() - start) / steps, flush=True)


def measure(shape: str, repeats: int, with_bfloat16: bool) -> "dict[str, float]":
    """Prints a shape's table; returns each setting's time over that of the first."""
    asked = {
        one_dnn: [name for name in names if with_bfloat16 or name == "float32"]
        for one_dnn, names in PROCESSES.items()
    }
    children = {one_dnn: Child(shape, one_dnn, names) for one_dnn, names in asked.items()}
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        for one_dnn, names in asked.items():
            for name in names:
                seconds = children[one_dnn].seconds(name)
                times.setdefault(f"{_NAMES[one_dnn]}, {name}", []).append(seconds)
    for child in children.values():
        child.close()
    first = np.array(next(iter(times.values())))
    ratios = {}
    for setting, own in times.items():
        low, middle, high = np.percentile(np.array(own) / first, [25, 50, 75])
        ratios[setting] = round(float(middle), 3)
        print(
            f"{shape:<10}{setting:<20}{1e3 * float(np.median(own)):9.2f} ms"
            f"{middle:8.2f} ({low:.2f} to {high:.2f})",
            flush=True,
        )
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two repeats of the small shape")
    parser.add_argument("--shapes", default="small,medium,large,paper", help="which, with commas")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        serve(*json.loads(arguments.one))
        return
    from pfrec.models import precision

    bfloat16 = precision.available(precision.BFLOAT16)
    shapes = ["small"] if arguments.quick else arguments.shapes.split(",")
    repeats = 2 if arguments.quick else arguments.repeats
    print(json.dumps({name: measure(name, repeats, bfloat16) for name in shapes}, sort_keys=True))


if __name__ == "__main__":
    main()
