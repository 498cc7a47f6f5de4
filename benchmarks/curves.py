"""Valid AUC against training steps, at every aggregation, on built-in data of several sizes.

    python benchmarks/curves.py [--rows=500,3000,30000,300000] [--epochs=2] [--seeds=1] [--quick]

`--rows` are training and valid rows of the largest of four scenarios, half of whose signal is
common; batches and aggregations are those that a training with default settings has, and evaluation
comes after each aggregation instead of after each epoch (`--local_epochs` of one part,
`--aggregations=1`). Prints a Markdown table for each size: parts of an epoch, steps of the largest
scenario, mean valid AUC of each algorithm over scenario-task pairs; and by how much the subject is
behind the best of the others at most, after the first tenth of an epoch.
"""

import argparse
import dataclasses
import os
import pathlib
import statistics
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from pfrec import coarsening
from pfrec.data import synthetic
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline
from pfrec.report import run_files
from tff_process import plan as plan_lib
from tff_process.process import federation
from tff_process.runtime import cache as cache_lib
from tff_process.training import loop

ALGORITHMS = ("pf_msmtrec", "local", "fedbn")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="500,3000,30000,300000")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="for a smoke run")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.epochs = "500", 0.5
    for rows in map(int, arguments.rows.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder)
            data = dataset_lib.Dataset.open(
                synthetic.generate(path / "data", rows=rows, shared=0.5)
            )
            plan, parts, steps = in_parts(data, arguments.epochs, arguments.learning_rate)
            curves = {
                name: curve(
                    data,
                    dataclasses.replace(plan, algorithm=name, settings=None),
                    path,
                    arguments.seeds,
                )
                for name in ALGORITHMS
            }
        print("\n".join(table(rows, parts, steps, curves)), flush=True)


def in_parts(
    data: dataset_lib.Dataset, epochs: float, learning_rate: float
) -> "tuple[plan_lib.Plan, int, int]":
    """A plan whose rounds are the parts between two aggregations of a default training, how many
    parts an epoch has, and the steps of the largest scenario in an epoch.
    """
    rows = [coarsening.row_count(data.rows(scenario, "train")) for scenario in data.scenarios]
    plan = plan_lib.Plan(ALGORITHMS[0], learning_rate=learning_rate).fitting(rows)
    steps = [pipeline.steps_per_epoch(count, plan.batch_size) for count in rows]
    parts = federation.aggregations_of_a_round(plan, steps)
    return (
        dataclasses.replace(
            plan,
            rounds=max(1, round(epochs * parts)),
            local_epochs=1 / parts,
            aggregations=1,
            aggregate_every=max(steps),
        ),
        parts,
        max(steps),
    )


def curve(
    data: dataset_lib.Dataset, plan: plan_lib.Plan, path: pathlib.Path, seeds: int
) -> "list[float]":
    """Mean valid AUC after each round, over scenario-task pairs and seeds."""
    found: dict[int, list[float]] = {}
    cache = cache_lib.ComputationCache()
    for seed in range(seeds):
        output = path / f"{plan.name}_{seed}"
        loop.train(dataclasses.replace(plan, seed=seed), data, output, cache=cache)
        metrics = run_files.read_metrics(output / "metrics.csv")
        for (_, split, _, metric), values in metrics.items():
            if (split, metric) == ("valid", "auc"):
                for number, value in values:
                    found.setdefault(int(number), []).append(value)
    return [statistics.mean(found[number]) for number in sorted(found)]


def table(rows: int, parts: int, steps: int, curves: "dict[str, list[float]]") -> "list[str]":
    """The lines of one size: at most ten points of an epoch."""
    subject, *others = curves
    count = len(curves[subject])
    lines = [
        f"{rows:,} rows:",
        "",
        f"| epoch | steps | {' | '.join(curves)} |",
        "| --- " * (2 + len(curves)) + "|",
    ]
    shown = max(1, parts // 10)
    for number in range(count):
        if (number + 1) % shown == 0:
            cells = " | ".join(f"{values[number]:.4f}" for values in curves.values())
            done = (number + 1) / parts
            lines.append(f"| {done:.2f} | {round(done * steps)} | {cells} |")
    gaps = [
        max(curves[name][number] for name in others) - curves[subject][number]
        for number in range(count)
        if (number + 1) / parts >= 0.1
    ]
    worst = f"{subject} is behind the best of the others by {max(gaps):+.4f} at most"
    return [*lines, "", f"{worst}, by {statistics.mean(gaps):+.4f} in the mean.", ""]


if __name__ == "__main__":
    main()
