"""A round of FedAvg of pfrec beside its peers: four clients, equal data, equal initial values.

    python benchmarks/peers.py [--quick] [--paper] [--torch_python=PYTHON] [--flower_python=PYTHON]
        [--pfl_python=PYTHON] [--repeats=N] [--rows=N] [--skip=LABEL,LABEL]

The default shape with batches of 256 of 5,000 rows a client, or with --paper 8 experts of 512-256
and embeddings of 128 with batches of 2,048 of 4,100 rows. All train on the same number of whole
batches: rows are of two digits, as pfrec's plan knows no more of a client's. Peers, each in
processes of its own: pfrec with one aggregation a round, as many clients at once as there are
processors, the same one client at a time, and with four aggregations as by default (two, where
there are two batches); the same training in a plain loop without worker, aggregation and files; a
plain Keras loop, layer by layer; TensorFlow Federated's own FedAvg process; and where a Python is
given for them, a plain PyTorch loop, Flower's simulation and pfl-research's. One whose loss at the
initial values differs is an error.

All are up at once and asked in turn, so that each repeat sees the same machine; with --paper, where
memory would not hold them, one after the other. Prints seconds a round (median and range),
processor seconds, seconds from a peer's start to the end of its first round, imports and all, and
resident memory, the most of each of its processes, added; the last line is JSON: each one's medians
over those of pfrec with one aggregation. pfrec's first start is told twice: with no graphs kept,
and as a user has it from the second run on.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, Optional

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np

from benchmarks import peers_own, peers_protocol, resident_runs
from pfrec import coarsening
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import layers, mmoe

CLIENTS, NUMBERS = 4, 63
PAPER = ModelConfig(embedding_dim=128, experts=8, expert_units=(512, 256), tower_units=(128, 64))
_TOLERANCE = 1e-4
_HERE = pathlib.Path(__file__).parent
# What is compared by label: the program, its name there, and which Python it needs.
PEERS = {
    "pfrec, one aggregation": ("peers_own.py", "one", ""),
    "pfrec, four": ("peers_own.py", "four", ""),
    "pfrec, a client at a time": ("peers_own.py", "alone", ""),
    "pfrec's plain loop": ("peers_own.py", "loop", ""),
    "plain Keras": ("peers_own.py", "keras", ""),
    "TFF's FedAvg": ("peers_own.py", "tff", ""),
    "plain PyTorch": ("peers_torch.py", "loop", "torch"),
    "Flower": ("peers_torch.py", "flower", "flower"),
    "pfl-research": ("peers_torch.py", "pfl", "pfl"),
}
_BASE = "pfrec, one aggregation"


@dataclasses.dataclass
class Figures:
    """What was measured of one of those compared.

    Attributes:
      loss: at the initial values.
      first: seconds from its start to the end of its first round.
      seconds, processor: of the rounds after it.
      memory: gigabytes.
    """

    loss: float
    first: float
    seconds: "list[float]" = dataclasses.field(default_factory=list)
    processor: "list[float]" = dataclasses.field(default_factory=list)
    memory: float = 0.0


class Peer:
    """One of those compared, which is up and has trained a round.

    Args:
      python: to run it in.
      program: of this directory.
      name: its name there.
      work: what `save` wrote.
      cache: where pfrec's graphs are kept.
    """

    def __init__(
        self, python: str, program: str, name: str, work: pathlib.Path, cache: pathlib.Path
    ) -> None:
        start, self._name = time.perf_counter(), name
        self._process = subprocess.Popen(
            [python, str(_HERE / program), name, str(work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PFREC_CACHE": str(cache)},
            text=True,
        )
        word = self._line().split()
        self._ask()
        self.figures = Figures(
            float(word[1]),
            time.perf_counter() - start,
            memory=peers_protocol.most_memory(self._process.pid),
        )

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            command = " ".join(map(str, self._process.args))  # type: ignore[arg-type]
            raise SystemExit(f"{self._name}: ended; run it by hand: {command}")
        return line

    def _ask(self) -> "tuple[float, float]":
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, processor = map(float, self._line().split())
        return seconds, processor

    def round(self) -> None:
        """Trains one and keeps what it took."""
        seconds, processor = self._ask()
        self.figures.seconds.append(seconds)
        self.figures.processor.append(processor)
        self.figures.memory = peers_protocol.most_memory(self._process.pid)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def up(label: str, pythons: "dict[str, str]", place: pathlib.Path) -> "Iterator[Peer]":
    """A peer in `place`, which it and its files leave at the end."""
    program, name, needs = PEERS[label]
    peer = Peer(pythons[needs], program, name, place / "work.npz", place / "cache")
    try:
        yield peer
    finally:
        peer.close()


def compared(
    labels: "list[str]",
    pythons: "dict[str, str]",
    place: pathlib.Path,
    repeats: int,
    together: bool,
) -> "dict[str, Figures]":
    """What each takes, by label.

    Args:
      labels: of `PEERS`.
      pythons: by what they have.
      place: of rows and initial values.
      repeats: rounds of each.
      together: whether all are up at once.
    """
    found = {}
    if together:
        with contextlib.ExitStack() as stack:
            peers = {label: stack.enter_context(up(label, pythons, place)) for label in labels}
            for _ in range(repeats):
                for peer in peers.values():
                    peer.round()
            return {label: peer.figures for label, peer in peers.items()}
    for label in labels:
        with up(label, pythons, place) as peer:
            for _ in range(repeats):
                peer.round()
            found[label] = peer.figures
    return found


def show(found: "dict[str, Figures]") -> None:
    """Prints a line for each, the fastest first."""
    names = f"{'s a round':>10}{'range':>18}{'processor s':>13}{'first after':>13}{'GB':>7}"
    print(f"{'':<32}{names}")
    for label, own in sorted(found.items(), key=lambda pair: _median(pair[1].seconds) or 1e9):
        round_s, processor = _median(own.seconds), _median(own.processor)
        ends = f"{min(own.seconds):.3f} to {max(own.seconds):.3f}" if own.seconds else ""
        cells = [f"{value:.3f}" if value is not None else "" for value in (round_s, processor)]
        print(
            f"{label:<32}{cells[0]:>10}{ends:>18}{cells[1]:>13}{own.first:>13.1f}{own.memory:>7.2f}"
        )


def _median(values: "list[float]") -> Optional[float]:
    return statistics.median(values) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few rows, two repeats")
    parser.add_argument("--paper", action="store_true", help="the large shape, one peer at a time")
    parser.add_argument("--repeats", type=int, help="9, or 3 with --paper")
    parser.add_argument("--rows", type=int, help="of each client; 5000, or 4100 with --paper")
    parser.add_argument("--skip", default="", help="labels of peers to leave out, with commas")
    for name in ("torch", "flower", "pfl"):
        parser.add_argument(f"--{name}_python", help=f"a Python with {name}")
    arguments = parser.parse_args()
    shape, batch = (PAPER, 2_048) if arguments.paper else (ModelConfig(), 256)
    rows, repeats = (4_100, 3) if arguments.paper else (5_000, 9)
    if arguments.quick:
        shape, batch, rows, repeats = ModelConfig(), 256, 600, 2
    rows, repeats = arguments.rows or rows, arguments.repeats or repeats
    known = coarsening.row_count(rows)
    if known // batch != rows // batch:
        raise SystemExit(
            f"--rows={rows}: pfrec would train on {known // batch} batches and others on "
            f"{rows // batch}; give a number of two significant digits"
        )
    schema = resident_runs.schema(30, 16, NUMBERS)
    pythons = {"": sys.executable}
    labels = []
    for label, (_, _, needs) in PEERS.items():
        given = getattr(arguments, f"{needs}_python") if needs else sys.executable
        if label in arguments.skip:  # Labels have commas of their own, and none holds another.
            continue
        if given is None:
            print(f"{label}: skipped, no Python is given for it", flush=True)
            continue
        pythons[needs] = given
        labels.append(label)
    with resident_runs.directory() as path:
        data = resident_runs.dataset(path / "data", schema, CLIENTS, rows)
        save(path / "work.npz", data, shape, batch)
        first = {}
        if _BASE in labels:
            # The same again then finds the graphs that this one kept.
            first["pfrec, no graphs kept"] = compared([_BASE], pythons, path, 0, False)[_BASE]
        found = compared(labels, pythons, path, repeats, not arguments.paper)
    reference = next(iter(found.values())).loss
    for label, own in found.items():
        if abs(own.loss - reference) > _TOLERANCE:
            raise SystemExit(f"{label}: loss {own.loss}, and pfrec's is {reference}")
    print(f"loss at the initial values {reference:.5f}, all within {_TOLERANCE:g}")
    show({**found, **first})
    print(json.dumps(_ratios(found), sort_keys=True))


def _ratios(found: "dict[str, Figures]") -> "dict[str, dict[str, float]]":
    """Each one's medians over those of pfrec with one aggregation, where that took part."""
    if _BASE not in found:
        return {}
    base = found[_BASE]
    ratios = {}
    for label, own in found.items():
        ratios[label] = {
            "time": statistics.median(own.seconds) / statistics.median(base.seconds),
            "processor": statistics.median(own.processor) / statistics.median(base.processor),
            "first": own.first / base.first,
            "memory": own.memory / base.memory,
        }
    return {
        label: {name: round(value, 3) for name, value in of.items()} for label, of in ratios.items()
    }


def save(path: pathlib.Path, data: dataset_lib.Dataset, shape: ModelConfig, batch: int) -> None:
    """What peers of another Python need: rows, shape and initial values."""
    schema, rows = data.schema, peers_own.rows_of(data)
    network = mmoe.build(schema, shape, 0)
    ordered = [*network.embeddings, network.numeric, *network.experts]
    ordered += [*network.gates.values(), *network.towers.values()]
    initial: list[np.ndarray] = []
    for layer in ordered:
        initial += _in_order(layer)
    if len(initial) != len(network.variables):
        raise SystemExit("the model has other variables than its layers hold")
    np.savez(
        path,
        ids=np.stack([own["categorical"] for own in rows]),
        numerical=np.stack([own["numerical"] for own in rows]),
        labels=np.stack([own["labels"] for own in rows]),
        cardinalities=[feature.cardinality + 1 for feature in schema.categorical],
        experts=shape.experts,
        tasks=len(schema.tasks),
        embedding_dim=shape.embedding_dim,
        numeric_dim=shape.numeric_dim,
        numbers=NUMBERS,
        expert_units=shape.expert_units,
        tower_units=shape.tower_units,
        batch=batch,
        variables=len(initial),
        **{f"initial/{i:04d}": value for i, value in enumerate(initial)},
    )


def _in_order(layer: Any) -> "list[np.ndarray]":
    """Values as PyTorch's modules have them: layer by layer, scale and shift before statistics."""
    if isinstance(layer, layers.Expert):
        stacked = [own for pair in zip(layer.dense, layer.norms) for own in pair]
        return [v.numpy() for own in stacked for v in own.variables]
    if isinstance(layer, layers.Tower):
        return [v.numpy() for dense in (*layer.dense, layer.logit) for v in dense.variables]
    if isinstance(layer, layers.NumericProjection):
        return [v.numpy() for v in (*layer.normalise.variables, *layer.project.variables)]
    return [value.numpy() for value in layer.variables]


if __name__ == "__main__":
    main()
