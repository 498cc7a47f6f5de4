"""What it costs that every client has a shared table of its own: `--table_prior=2000` over
`--table_prior=0`. `--quick` for a smoke run.

The driver's peak of resident memory, and the time of a round of one aggregation, each side in a
process of its own, alternately. The table has so many rows that little else counts.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
if "tensorflow" not in sys.modules:
    import tff_process  # noqa: F401, sets malloc, as for the commands before TensorFlow has threads

ROWS = 20_480
ROUNDS = 4


def side(prior: float, cardinality: int, clients: int) -> "dict[str, float]":
    """Megabytes of the driver before and at its peak, of the table once,
    and the median of seconds a round but the first.
    """
    from benchmarks import resident_runs
    from pfrec.models.config import ModelConfig
    from tff_process import plan as plan_lib
    from tff_process.algorithms import pf_msmtrec

    plan = plan_lib.Plan(
        "pf_msmtrec",
        batch_size=1024,
        aggregations=1,
        model=ModelConfig(),
        settings=pf_msmtrec.Settings(table_prior=prior),
    )
    seconds = []
    with resident_runs.directory() as path:
        data = resident_runs.dataset(
            path / "data", resident_runs.schema(cardinality, 1, 8, "shared"), clients, ROWS
        )
        before = peak_mb()
        with resident_runs.training(
            plan, data, path / "clients", len(os.sched_getaffinity(0))
        ) as made:
            for number in range(ROUNDS):
                start = time.perf_counter()
                made.train_round(number)
                seconds.append(time.perf_counter() - start)
                resident_runs.forget_versions(path / "clients", made)
            table = 4e-6 * cardinality * plan.model.embedding_dim
    return {
        "before": before,
        "peak": peak_mb(),
        "round": statistics.median(seconds[1:]),
        "table": table,
    }


def peak_mb() -> float:
    """The largest resident set of this process until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cardinality", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prior", type=float, help="Measure this side alone, here.")
    arguments = parser.parse_args()
    if arguments.prior is not None:
        print(json.dumps(side(arguments.prior, arguments.cardinality, arguments.clients)))
        return
    cardinality, repeats = (
        (20_000, 1) if arguments.quick else (arguments.cardinality, arguments.repeats)
    )
    found: dict[float, list[dict[str, float]]] = {2000.0: [], 0.0: []}
    for _ in range(repeats):
        for prior, results in found.items():
            command = [
                sys.executable,
                __file__,
                f"--prior={prior}",
                f"--cardinality={cardinality}",
                f"--clients={arguments.clients}",
            ]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            results.append(json.loads(output.splitlines()[-1]))
            print(
                f"prior {prior:g}: "
                + ", ".join(f"{name} {value:.4g}" for name, value in results[-1].items()),
                flush=True,
            )
    medians = {
        prior: {name: statistics.median(r[name] for r in results) for name in ("peak", "round")}
        for prior, results in found.items()
    }
    print(
        json.dumps(
            {
                name: round(medians[2000.0][name] / medians[0.0][name], 3)
                for name in ("peak", "round")
            },
            sort_keys=True,
        )
    )


if __name__ == "__main__":
    main()
