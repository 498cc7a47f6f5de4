"""Four weeks of drifting data: a run that goes on each week, against training anew and never again.

`--quick` for a smoke run.

A run is trained on a week of synthetic data. In each of the following weeks it goes on with that
week's rows (`pfrec-train --init_from`) for a few rounds, another is trained anew on the same rows,
and the first is kept as it was. Each is measured on test rows of the week that follows: mean AUC
over scenario-task pairs; and the seconds that its training took.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from pfrec import evaluation
from pfrec.data import synthetic
from pfrec.data.dataset import dataset as dataset_lib
from tff_process import plan as plan_lib
from tff_process.runtime import cache as cache_lib
from tff_process.training import loop

WAYS = ("continued", "anew", "never")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--weeks", type=int, default=4)
    parser.add_argument("--rows", type=int, default=8000, help="Of the largest scenario, a week.")
    parser.add_argument("--drift", type=float, default=0.1, help="Of the signal, a week.")
    parser.add_argument("--rounds", type=int, default=12, help="Of a training from a start.")
    parser.add_argument("--more_rounds", type=int, default=4, help="Of a run that goes on.")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.weeks, arguments.rows, arguments.rounds, arguments.seeds = 1, 1000, 2, 1
        arguments.more_rounds = 1
    auc: dict[tuple[int, str], list[float]] = {}
    seconds: dict[tuple[int, str], list[float]] = {}
    cache = cache_lib.ComputationCache()
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory)
            data = [
                dataset_lib.Dataset.open(
                    synthetic.generate(
                        path / f"week_{week}",
                        rows=arguments.rows,
                        seed=seed,
                        week=week,
                        drift=arguments.drift,
                    )
                )
                for week in range(arguments.weeks + 2)
            ]
            plan = plan_lib.Plan("pf_msmtrec", rounds=arguments.rounds, seed=seed)
            first = last = path / "run_0"
            loop.train(plan, data[0], first, cache=cache)
            for week in range(1, arguments.weeks + 1):
                more = dataclasses.replace(
                    plan, rounds=arguments.more_rounds, init_from=str(last), continues=True
                )
                last, anew = path / f"run_{week}", path / f"anew_{week}"
                took = {
                    "continued": loop.train(more, data[week], last, cache=cache),
                    "anew": loop.train(plan, data[week], anew, cache=cache),
                }
                for way, run in zip(WAYS, (last, anew, first)):
                    auc.setdefault((week, way), []).append(measured(run, data[week + 1].path))
                for way, outcome in took.items():
                    wall = outcome.summary["wall_seconds"]
                    seconds.setdefault((week, way), []).append(wall)
                told = ", ".join(f"{way} {auc[week, way][-1]:.4f}" for way in WAYS)
                print(f"seed {seed}, week {week}, on week {week + 1}: {told}", flush=True)
    print(f"| week | {' | '.join(WAYS)} | seconds continued | seconds anew |")
    print("| --- " * (len(WAYS) + 3) + "|")
    for week in range(1, arguments.weeks + 1):
        values = [f"{statistics.mean(auc[week, way]):.4f}" for way in WAYS]
        times = [f"{statistics.mean(seconds[week, way]):.0f}" for way in WAYS[:2]]
        print(f"| {week} | {' | '.join([*values, *times])} |")
    means = {
        way: statistics.mean(v for (_, w), vs in auc.items() if w == way for v in vs)
        for way in WAYS
    }
    gains = [
        one - other
        for week in range(1, arguments.weeks + 1)
        for one, other in zip(auc[week, "continued"], auc[week, "anew"])
    ]
    result = {way: round(value, 4) for way, value in means.items()}
    spent = {way: sum(v for (_, w), vs in seconds.items() if w == way for v in vs) for way in WAYS}
    ratio = spent["continued"] / spent["anew"]
    print(
        json.dumps(
            {
                **result,
                "gain_over_anew": round(statistics.mean(gains), 4),
                "gain_deviation": round(statistics.stdev(gains), 4) if len(gains) > 1 else 0.0,
                "seconds_over_anew": round(ratio, 2),
            }
        )
    )


def measured(run: pathlib.Path, data: pathlib.Path) -> float:
    """The mean test AUC of a run on other data."""
    found = evaluation.evaluate(run, data=data)
    return statistics.mean(
        float(cell["auc"]) for tasks in found.values() for cell in tasks.values() if cell["auc"]
    )


if __name__ == "__main__":
    main()
