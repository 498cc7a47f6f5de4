"""A training step with oneDNN on and off, in float32 and in bfloat16, by shape: processor seconds
of interleaved steps, each setting in a process of its own, as oneDNN is chosen when one starts.

    python benchmarks/step_settings.py [--shapes=paper,small] [--repeats=N] [--quick]

One thread inside an operation, so that waiting threads do not count. Prints milliseconds of
processor time of a step, median of all repeats, and the medians of pairs with the first setting, as
one over the other and the quartiles of that. The last line is JSON. bfloat16 is left out where the
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

SETTINGS = {
    "oneDNN, float32": ("1", "float32"),
    "oneDNN, bfloat16": ("1", "bfloat16"),
    "off, float32": ("0", "float32"),
}
_AT_LEAST = 0.3  # processor seconds of a measurement


class Child:
    """A setting's process.

    Args:
      shape: by name.
      one_dnn: `TF_ENABLE_ONEDNN_OPTS` of it.
      products: their precision.
    """

    def __init__(self, shape: str, one_dnn: str, products: str) -> None:
        environment = {
            **os.environ,
            "TF_ENABLE_ONEDNN_OPTS": one_dnn,
            "TF_NUM_INTRAOP_THREADS": "1",
        }
        asked = json.dumps([shape, products])
        self._process = subprocess.Popen(
            [sys.executable, __file__, f"--one={asked}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        self.seconds()  # traced

    def seconds(self) -> float:
        """Of processor time that a step took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print("step", file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a setting's process ended; its message stands above")
        return float(line)

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def serve(shape: str, products: str) -> None:
    """Measures a step for each line that comes."""
    from benchmarks import local_training
    from benchmarks.shapes import SHAPES

    side = local_training.Side(SHAPES[shape], False, 1, products)
    for _ in sys.stdin:
        start, steps = time.process_time(), 0
        while not steps or time.process_time() - start < _AT_LEAST:
            side.parts["step"]().numpy()
            steps += 1
        print((time.process_time() - start) / steps, flush=True)


def measure(shape: str, repeats: int, settings: "dict[str, tuple[str, str]]") -> "dict[str, float]":
    """Prints a shape's table; returns each setting's time over that of the first."""
    children = {name: Child(shape, *of) for name, of in settings.items()}
    times: dict[str, list[float]] = {name: [] for name in children}
    for _ in range(repeats):
        for name, child in children.items():
            times[name].append(child.seconds())
    for child in children.values():
        child.close()
    first = np.array(next(iter(times.values())))
    ratios = {}
    for name, own in times.items():
        pairs = np.array(own) / first
        low, middle, high = np.percentile(pairs, [25, 50, 75])
        ratios[name] = round(float(middle), 3)
        print(
            f"{shape:<16}{name:<20}{1e3 * float(np.median(own)):9.2f} ms"
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

    settings = {name: of for name, of in SETTINGS.items() if precision.available(of[1])}
    shapes = ["small"] if arguments.quick else arguments.shapes.split(",")
    repeats = 2 if arguments.quick else arguments.repeats
    print(json.dumps({name: measure(name, repeats, settings) for name in shapes}, sort_keys=True))


if __name__ == "__main__":
    main()
