"""What finding the spread on valid costs of a round of pf_msmtrec (`training.spreading`).

    python benchmarks/spread.py [--data=DIR] [--rounds=N] [--algorithm=NAME] [--paper] [--alone]

All models that are tried are measured with the round's own, in one call of each client, so a round
has two parts: training, and the evaluation with what follows from it; --alone leaves the search
out. Without --data four clients of 5,000 rows at the default shape with 1,000 valid rows each, with
--paper of 4,096 rows at the paper-sized one, else a converted dataset, with a plan's defaults.
Prints for each part seconds by the clock and of processor time of driver and worker (medians of the
rounds after the first), what its share of the processor time is, and a digest of the server's last
state; the last line is JSON.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import numpy as np

import tff_process  # noqa: F401, sets malloc, as for the commands before TensorFlow has threads
from benchmarks import peers_protocol, resident_runs, shapes
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.process import round_report
from tff_process.training import results, spreading

_CLIENTS, _ROWS, _VALID = 4, 5_000, 1_000
_PARTS = ("training", "evaluation")


def measured(data: dataset_lib.Dataset, plan: Any, path: pathlib.Path, rounds: int) -> Any:
    """Seconds by the clock and of processors, by part, of each round after the first; and the
    digest of the last state.
    """
    taken: dict[str, list[tuple[float, float]]] = {part: [] for part in _PARTS}

    def timed(part: str, work: "Callable[[], Any]") -> Any:
        before, start = peers_protocol.processor(), time.perf_counter()
        done = work()
        taken[part].append((time.perf_counter() - start, peers_protocol.processor() - before))
        return done

    with resident_runs.training(plan, data, path, len(os.sched_getaffinity(0))) as made:

        def on_valid(factors: "Sequence[float]") -> np.ndarray:
            told = made.evaluate_spreads("valid", factors)
            return np.stack([results.measured(data, values) for values in told])

        def evaluation(report: round_report.RoundReport) -> None:
            if made.finds_spread:
                spreading.after_round(made, report, on_valid)
            else:
                on_valid((1.0,))

        for number in range(rounds + 1):
            report = timed("training", lambda n=number: made.train_round(n))
            timed("evaluation", lambda r=report: evaluation(r))
            resident_runs.forget_versions(path, made)
        digest = hashlib.sha256()
        for part in ("common", "personal", "consensus", "extra"):
            for name, value in made.server.state[part].items():
                digest.update(name.encode() + np.asarray(value).tobytes())
    return {part: found[1:] for part, found in taken.items() if found}, digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--algorithm", default="pf_msmtrec")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--paper", action="store_true")
    arguments = parser.parse_args()
    with resident_runs.directory() as path:
        if arguments.data:
            data, plan = dataset_lib.Dataset.open(arguments.data), plan_lib.Plan
            chosen = plan(arguments.algorithm)
        else:
            schema = resident_runs.schema(20, 16, 63, "shared")
            rows = 4_100 if arguments.paper else _ROWS
            data = resident_runs.dataset(path / "data", schema, _CLIENTS, rows, _VALID)
            model, batch = (shapes.PAPER, 2_048) if arguments.paper else (ModelConfig(), 256)
            chosen = plan_lib.Plan(arguments.algorithm, batch_size=batch, model=model)
        if arguments.alone:
            settings = dataclasses.replace(chosen.settings, find_spread=False)
            chosen = dataclasses.replace(chosen, settings=settings)
        found, digest = measured(data, chosen, path / "run", arguments.rounds)
    medians = {
        part: [statistics.median(of[i] for of in rounds) for i in (0, 1)]
        for part, rounds in found.items()
    }
    whole = sum(processor for _, processor in medians.values())
    for part, (clock, processor) in medians.items():
        print(f"{part:<12}{clock:>8.3f} s{processor:>8.3f} processor s{processor / whole:>8.2f}")
    print(f"state {digest[:16]}")
    print(json.dumps(medians))


if __name__ == "__main__":
    main()
