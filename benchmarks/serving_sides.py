"""The sides of `serving.py`: each a process of its own that loads one model and is asked by lines.

    python benchmarks/serving_sides.py KIND PATH PLAN.json

A side's process imports neither TensorFlow's Python nor this project's models. PLAN.json names the
inputs and outputs in the graph and the file of requests.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any, Callable

import numpy as np

SIZES = (1, 32, 512)
_ROOT = pathlib.Path(__file__).resolve().parents[1]


class Side:
    """One side's process."""

    def __init__(self, python: str, kind: str, path: pathlib.Path, plan: pathlib.Path) -> None:
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [
            python,
            str(pathlib.Path(__file__).resolve()),
            kind,
            str(path),
            str(plan),
        ]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a side's process ended; its error stands above")
        return json.loads(line)

    def ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def _capi_side(
    directory: str, plan: "dict[str, Any]"
) -> "tuple[Callable[[int], Callable[[], Any]], list[str]]":
    sys.path.insert(0, str(_ROOT))
    from export.checks import c_library

    session = c_library.Session(directory)
    outputs = list(plan["outputs"].values())

    def prepare(rows: int) -> "Callable[[], Any]":
        with np.load(plan["requests"]) as arrays:
            inputs = {tensor: arrays[f"{rows}.{name}"] for name, tensor in plan["inputs"].items()}
        return lambda: session.call(inputs, outputs)

    return prepare, list(plan["outputs"])


def _onnx_side(
    path: str, plan: "dict[str, Any]"
) -> "tuple[Callable[[int], Callable[[], Any]], list[str]]":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Its default is a thread per physical core, which is half of what TensorFlow takes where a core
    # has two.
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [(value.name, value.name.split(":")[0]) for value in session.get_inputs()]

    def prepare(rows: int) -> "Callable[[], Any]":
        with np.load(plan["requests"]) as arrays:
            inputs = {key: arrays[f"{rows}.{name}"] for key, name in names}
        return lambda: session.run(None, inputs)

    return prepare, [value.name.split(":")[0] for value in session.get_outputs()]


def _worker(kind: str, path: str, plan_path: str) -> None:
    """Answers lines `answer ROWS`, `time ROWS CALLS` and `load ROWS THREADS SECONDS` with JSON."""
    plan = json.loads(pathlib.Path(plan_path).read_text())
    prepare, outputs = (_capi_side if kind == "capi" else _onnx_side)(path, plan)
    prepared = {rows: prepare(rows) for rows in SIZES}
    for call in prepared.values():
        for _ in range(3):
            call()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        what, rows, *rest = line.split()
        call = prepared[int(rows)]
        if what == "answer":
            print(
                json.dumps({name: values.tolist() for name, values in zip(outputs, call())}),
                flush=True,
            )
        elif what == "time":
            seconds = []
            call()
            for _ in range(int(rest[0])):
                start = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - start)
            print(json.dumps(seconds), flush=True)
        else:
            print(
                json.dumps(_throughput(call, int(rows), int(rest[0]), float(rest[1]))), flush=True
            )


def _throughput(call: "Callable[[], Any]", rows: int, threads: int, seconds: float) -> float:
    """Rows per second with several calls at once."""
    start = time.perf_counter()

    def loop(_: int) -> int:
        count = 0
        while time.perf_counter() - start < seconds:
            call()
            count += 1
        return count

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        calls = sum(pool.map(loop, range(threads)))
    return calls * rows / (time.perf_counter() - start)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("a part of serving.py")
    _worker(*sys.argv[1:])
