"""Latency and throughput of exported models through TensorFlow's C library, folded against
unfolded, and ONNX Runtime beside it.

    python benchmarks/serving.py [--quick] [--small] [--onnx_python=/path/to/python]

The model has the shape of MTReclib's MMoE on AliExpress: 16 categorical features, 63 numbers,
embedding 128, 8 experts of 512-256, two towers of 128-64; with `--small` that of the default
configuration. Its weights are random, which no time here depends on. Sides:

- folded: what pfrec-export writes.
- unfolded: the layers as they are defined, one by one: look-ups, concatenation, dense layer,
  normalisation, ReLU, per expert.
- trained graph: what pfrec-export --nofold writes, which is the network's own inference graph.
- onnx folded: what pfrec-export --onnx writes beside it, in ONNX Runtime, with as many threads as
  TensorFlow takes.
- onnx: the unfolded graph, converted by tf2onnx. For it name a Python that has tensorflow, tf2onnx
  and onnxruntime, an environment of its own.

Each side has a process of its own, which loads one model and waits; the sides are called in turns.

The last line is JSON: the folded latency over the other's, so that below 1 is ahead, against the
unfolded, trained and ONNX graphs at 512 rows, and against the folded one in ONNX Runtime at 1, 32
and 512.
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any, Optional

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np

from benchmarks.serving_sides import SIZES, Side

CARDINALITIES = (2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 17, 20, 25, 30, 33, 38)
NUMBERS = 63


def _network(quick: bool, small: bool) -> "tuple[Any, Any]":
    from pfrec.data import schema as schema_lib
    from pfrec.models.config import ModelConfig
    from pfrec.models.mmoe import mmoe

    schema = schema_lib.Schema(
        tuple(
            schema_lib.Categorical(f"categorical_{i}", n, "shared")
            for i, n in enumerate(CARDINALITIES, start=1)
        ),
        tuple(schema_lib.Numerical(f"numerical_{i}") for i in range(1, NUMBERS + 1)),
        (schema_lib.Task("ctr", "click"), schema_lib.Task("ctcvr", "conversion")),
    )
    paper = ModelConfig(
        embedding_dim=32 if quick else 128,
        experts=4 if quick else 8,
        expert_units=(128, 64) if quick else (512, 256),
        tower_units=(32,) if quick else (128, 64),
    )
    network = mmoe.build(schema, ModelConfig() if small else paper)
    generator = np.random.default_rng(0)
    for variable in network.variables:
        if "moving_variance" in variable.name:
            variable.assign(generator.uniform(0.5, 2.0, variable.shape).astype(np.float32))
        elif "moving_mean" in variable.name or "beta" in variable.name:
            variable.assign(generator.normal(0, 0.1, variable.shape).astype(np.float32))
    return schema, network


def _plain(network: Any) -> Any:
    """The network's layers one by one, as they are defined."""
    import tensorflow as tf

    def normalised(norm: Any, x: Any) -> Any:
        return tf.nn.batch_normalization(
            x, norm.moving_mean, norm.moving_variance, norm.beta, norm.gamma, norm.epsilon
        )

    class Plain:
        name = network.name
        variables = network.variables

        def __call__(self, inputs: Any, training: Any = None) -> Any:
            ids = tf.unstack(inputs["categorical"], num=len(network.embeddings), axis=1)
            parts = [
                tf.gather(layer.table, column) for layer, column in zip(network.embeddings, ids)
            ]
            x = tf.concat(
                [
                    *parts,
                    network.numeric.project(
                        network.numeric.normalise(inputs["numerical"], training=False)
                    ),
                ],
                axis=1,
            )
            experts = []
            for expert in network.experts:
                h = x
                for dense, norm in zip(expert.dense, expert.norms):
                    h = tf.nn.relu(normalised(norm, tf.matmul(h, dense.kernel) + dense.bias))
                experts.append(h)
            stacked = tf.stack(experts, axis=1)
            logits = {}
            for task, tower in network.towers.items():
                h = tf.einsum("bm,bmu->bu", tf.nn.softmax(network.gates[task].dense(x)), stacked)
                for number, dense in enumerate(tower.dense):
                    h = dense(h)
                    h = tf.nn.relu(normalised(tower.norms[number], h) if tower.norms else h)
                logits[task] = tf.squeeze(tower.logit(h), axis=-1)
            return logits

    return Plain()


def _export(
    folder: pathlib.Path, quick: bool, small: bool
) -> "dict[str, tuple[pathlib.Path, pathlib.Path]]":
    """Writes the models; the directory, or file, and the plan of each."""
    from export import interface
    from export.checks import saved_graph
    from export.graph import folded_network, folding, onnx_graph, serving_module
    from export.graph import requests as requests_lib

    schema, network = _network(quick, small)
    served = interface.Interface(schema)
    requests = {rows: requests_lib.random(served, rows, seed=rows) for rows in SIZES}
    np.savez(
        folder / "requests.npz",
        **{f"{rows}.{name}": v for rows, r in requests.items() for name, v in r.items()},
    )
    found = {}
    folded = folding.fold(network)
    networks = {
        "folded": folded_network.FoldedNetwork(folded),
        "unfolded": _plain(network),
        "trained graph": network,
    }
    for side, made in networks.items():
        directory = folder / side.replace(" ", "_")
        module = serving_module.ServingModule(made, served)
        serving_module.save(module, served, directory)
        names = saved_graph.read(directory, served).names[interface.SERVE]
        plan = folder / f"{directory.name}.json"
        plan.write_text(
            json.dumps(
                {
                    "inputs": dict(names.inputs),
                    "outputs": dict(names.outputs),
                    "requests": str(folder / "requests.npz"),
                }
            )
        )
        found[side] = (directory, plan)
    onnx_graph.write(folded, served, folder / "folded.onnx")
    found["onnx folded"] = (folder / "folded.onnx", found["folded"][1])
    return found


def _convert(python: str, directory: pathlib.Path) -> Optional[pathlib.Path]:
    """The ONNX file of a model, or None with a printed reason."""
    target = directory.with_suffix(".onnx")
    command = [
        python,
        "-m",
        "tf2onnx.convert",
        "--saved-model",
        str(directory),
        "--output",
        str(target),
    ]
    command += ["--tag", "serve", "--signature_def", "serving_default", "--opset", "17"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode or not target.exists():
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"tf2onnx does not convert {directory.name}: {reason}")
        return None
    return target


@contextlib.contextmanager
def _sides(
    folder: pathlib.Path, quick: bool, small: bool, onnx_python: Optional[str]
) -> "Iterator[dict[str, Side]]":
    made = _export(folder, quick, small)
    wanted = {
        side: (sys.executable, "onnx" if path.suffix == ".onnx" else "capi", path, plan)
        for side, (path, plan) in made.items()
    }
    sizes = {
        side: sum(p.stat().st_size for p in (path, *path.rglob("*")) if p.is_file())
        for side, (path, _) in made.items()
    }
    if onnx_python:
        path = _convert(onnx_python, made["unfolded"][0])
        if path is not None:
            wanted["onnx"] = (onnx_python, "onnx", path, made["unfolded"][1])
            sizes["onnx"] = path.stat().st_size
    print("MB: " + ", ".join(f"{side} {size / 1e6:.1f}" for side, size in sizes.items()))
    with contextlib.ExitStack() as stack:
        started = {}
        for side, (python, kind, path, plan) in wanted.items():
            started[side] = Side(python, kind, path, plan)
            stack.callback(started[side].close)
        answers = {side: process.ask("answer 512") for side, process in started.items()}
        for side, answer in answers.items():
            difference = max(
                float(np.abs(np.subtract(answer[task], values)).max())
                for task, values in answers["unfolded"].items()
            )
            print(f"{side}: largest difference to unfolded {difference:.2g}")
            if difference > 1e-5:
                raise RuntimeError(f"{side} computes something else")
        yield started


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="a small model and few calls: under a minute"
    )
    parser.add_argument("--small", action="store_true", help="the default configuration's shape")
    parser.add_argument("--onnx_python", help="a Python with tensorflow, tf2onnx and onnxruntime")
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    turns = 3 if options.quick else 8
    calls = {1: 20, 32: 10, 512: 2}
    with tempfile.TemporaryDirectory() as name:
        made = _sides(pathlib.Path(name), options.quick, options.small, options.onnx_python)
        with made as sides:
            times: dict[str, dict[int, list[float]]] = {
                side: {rows: [] for rows in SIZES} for side in sides
            }
            for _ in range(turns):
                for rows in SIZES:
                    for side, process in sides.items():
                        times[side][rows] += process.ask(f"time {rows} {calls[rows]}")
            seconds = 0.5 if options.quick else 3.0
            speed = {side: process.ask(f"load 512 4 {seconds}") for side, process in sides.items()}
    medians = {
        side: {rows: statistics.median(values) for rows, values in t.items()}
        for side, t in times.items()
    }
    heads = [f"{rows} row{'s' if rows > 1 else ''}" for rows in SIZES]
    print(
        f"{'ms, median (least)':<20} "
        + " ".join(f"{head:>18}" for head in heads)
        + f" {'rows/s, 4 calls of 512 at once':>32}"
    )
    for side, found in medians.items():
        cells = [f"{1e3 * found[rows]:.2f} ({1e3 * min(times[side][rows]):.2f})" for rows in SIZES]
        print(
            f"{side:<20} " + " ".join(f"{cell:>18}" for cell in cells) + f" {speed[side]:>32,.0f}"
        )

    def ratio(other: str, rows: int = 512) -> Optional[float]:
        if other not in medians:
            return None
        return round(medians["folded"][rows] / medians[other][rows], 4)

    result = {
        "folded_over_unfolded_512": ratio("unfolded"),
        "folded_over_trained_graph_512": ratio("trained graph"),
        "vs_onnxruntime_512": ratio("onnx"),
        **{f"vs_onnxruntime_folded_{rows}": ratio("onnx folded", rows) for rows in SIZES},
    }
    print(json.dumps(result, sort_keys=True))


if __name__ == "__main__":
    main()
