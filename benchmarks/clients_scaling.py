"""Time per client and round with 200 clients in one simulation over that with 4.

`--quick` for a smoke run (40 over 4).
"""

import argparse
import contextlib
import json
import os
import pathlib
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from benchmarks import resident_runs
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib

ROWS = 2_560


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--counts", default="", help="Numbers of clients, the first is the one to compare with."
    )
    arguments = parser.parse_args()
    counts = [int(text) for text in arguments.counts.split(",") if text] or (
        [4, 40] if arguments.quick else [4, 20, 100, 200]
    )
    repeats = 2 if arguments.quick else 4
    plan = plan_lib.Plan("pf_msmtrec", batch_size=256, model=ModelConfig(experts=2))
    concurrent = len(os.sched_getaffinity(0))
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    with resident_runs.directory() as path, contextlib.ExitStack() as stack:
        trainings = {}
        for count in counts:
            data = resident_runs.dataset(
                path / f"data{count}", resident_runs.schema(30, 16, 63), count, ROWS
            )
            trainings[count] = stack.enter_context(
                resident_runs.training(plan, data, path / f"clients{count}", concurrent)
            )
        for number in range(repeats + 1):
            for count, made in trainings.items():
                # The small ones several times, so that each is measured over as much work.
                times = max(1, counts[-1] // count // 4) if number else 1
                start = time.perf_counter()
                for _ in range(times):
                    made.train_round(number)
                if number:
                    seconds[count].append((time.perf_counter() - start) / count / times)
                resident_runs.forget_versions(path / f"clients{count}", made)
    per_client = {count: statistics.median(values) for count, values in seconds.items()}
    for count, value in per_client.items():
        print(f"{count} clients: {1000 * value:.1f} ms per client and round", flush=True)
    print(
        json.dumps(
            {
                f"{count}_over_{counts[0]}": round(per_client[count] / per_client[counts[0]], 3)
                for count in counts[1:]
            }
        )
    )


if __name__ == "__main__":
    main()
