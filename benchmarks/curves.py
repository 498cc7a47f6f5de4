"""Valid AUC against training steps, at every aggregation, on built-in data of several sizes.

    python benchmarks/curves.py [--rows=300,3000,30000,300000] [--epochs=2] [--seeds=1] [--quick]
        [--quick_start=2000]

`--rows` are training rows of the largest of four scenarios, half of whose signal is common; the
smallest has a tenth of them, and each has 20,000 valid rows beside them: an AUC on the few that
would be kept aside of few rows is noise. Each seed has data of its own. Batches and aggregations
are those that a training with default settings has, and evaluation comes after each aggregation
instead of after each epoch (`--local_epochs` of one part, `--aggregations=1`). What `pf_msmtrec`
finds on valid after an epoch (`--pf_find_spread`) is left out, or it would come after every
aggregation: the first epoch is that of a training with default settings, later ones are without
what was found. `--quick_start` is its `--pf_quick_start`. Prints a Markdown table for each size:
parts of an epoch, steps of the largest scenario, valid AUC of each algorithm, the mean over
scenario-task pairs and seeds; and by how much the subject is behind another at most after the first
tenth of an epoch, with the standard error over seeds.
"""

import argparse
import dataclasses
import os
import pathlib
import shutil
import statistics
import sys
import tempfile

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from pfrec import coarsening
from pfrec.data import synthetic
from pfrec.data.converters import aliexpress
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline, writer
from pfrec.report import run_files
from tff_process import plan as plan_lib
from tff_process.algorithms import pf_msmtrec
from tff_process.process import turns
from tff_process.training import loop

SUBJECT, OTHERS = "pf_msmtrec", ("local", "fedbn")
SCENARIOS = 4
VALID_ROWS, TEST_ROWS = 20_000, 500
CHUNK = 1 << 15


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", default="300,3000,30000,300000")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--quick_start", type=float, default=0.0)
    parser.add_argument("--quick", action="store_true", help="for a smoke run")
    arguments = parser.parse_args()
    valid_rows = VALID_ROWS
    if arguments.quick:
        arguments.rows, arguments.epochs, valid_rows = "300", 0.5, 500
    settings = pf_msmtrec.Settings(find_spread=False, quick_start=arguments.quick_start)
    algorithms = {SUBJECT: settings, **dict.fromkeys(OTHERS)}
    for rows in map(int, arguments.rows.split(",")):
        curves: dict[str, list[list[float]]] = {name: [] for name in algorithms}
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder)
                data = dataset_lib.Dataset.open(generate(path / "data", rows, valid_rows, seed))
                plan, parts, steps = in_parts(data, arguments.epochs, arguments.learning_rate)
                for name, found in curves.items():
                    one = dataclasses.replace(
                        plan, algorithm=name, settings=algorithms[name], seed=seed
                    )
                    found.append(curve(data, one, path / name))
        print("\n".join(table(rows, parts, steps, curves)), flush=True)


def generate(path: pathlib.Path, rows: int, valid_rows: int, seed: int) -> pathlib.Path:
    """A dataset like that of `synthetic.generate`, with `rows` training rows in the largest
    scenario, a tenth of them in the smallest, and the same number of valid ones in each.
    """
    names = [f"S{number + 1}" for number in range(SCENARIOS)]
    with writer.DatasetWriter(
        path,
        aliexpress.schema(synthetic.CARDINALITIES),
        source_format="synthetic",
        split_seed=seed,
        scenarios=names,
        options={"rows": rows},
    ) as written:
        for number, name in enumerate(names):
            scenario = synthetic.Scenario.create(seed, number, shared=0.5, conflict=0.5)
            size = round(rows * synthetic.SMALLEST ** (number / (SCENARIOS - 1)))
            for part, (split, count) in enumerate(
                (("train", size), ("valid", valid_rows), ("test", TEST_ROWS))
            ):
                random = synthetic.generator(seed, 2, number, part)
                for start in range(0, count, CHUNK):
                    drawn, _ = scenario.draw(random, min(CHUNK, count - start))
                    written.add(name, split, drawn)
    return path


def in_parts(
    data: dataset_lib.Dataset, epochs: float, learning_rate: float
) -> "tuple[plan_lib.Plan, int, int]":
    """A plan whose rounds are the parts between two aggregations of a default training, how many
    parts an epoch has, and the steps of the largest scenario in an epoch.
    """
    rows = [coarsening.row_count(data.rows(scenario, "train")) for scenario in data.scenarios]
    plan = plan_lib.Plan(SUBJECT, learning_rate=learning_rate).fitting(rows)
    steps = [pipeline.steps_per_epoch(count, plan.batch_size) for count in rows]
    parts = turns.aggregations_of_a_round(plan, steps)
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


def curve(data: dataset_lib.Dataset, plan: plan_lib.Plan, output: pathlib.Path) -> "list[float]":
    """Mean valid AUC over scenario-task pairs after each round."""
    loop.train(plan, data, output)
    found: dict[int, list[float]] = {}
    for (_, split, _, metric), values in run_files.read_metrics(output / "metrics.csv").items():
        if (split, metric) == ("valid", "auc"):
            for number, value in values:
                found.setdefault(int(number), []).append(value)
    shutil.rmtree(output)
    return [statistics.mean(found[number]) for number in sorted(found)]


def table(rows: int, parts: int, steps: int, curves: "dict[str, list[list[float]]]") -> "list[str]":
    """The lines of one size: means over seeds at about ten points of an epoch, and where the
    subject is farthest behind the best of the others.

    Args:
      rows, parts, steps: of the largest scenario; see `in_parts`.
      curves: of each algorithm, the subject first, by seed.
    """
    values = {name: np.asarray(found) for name, found in curves.items()}
    subject, *others = values
    count = values[subject].shape[1]
    lines = [
        f"{rows:,} rows:",
        "",
        f"| epoch | steps | {' | '.join(values)} |",
        "| --- " * (2 + len(values)) + "|",
    ]
    shown = max(1, parts // 10)
    for number in range(count):
        if (number + 1) % shown == 0:
            cells = " | ".join(f"{of_seeds[:, number].mean():.4f}" for of_seeds in values.values())
            done = (number + 1) / parts
            lines.append(f"| {done:.2f} | {round(done * steps)} | {cells} |")
    gaps = [
        (*behind(values[subject][:, number], values[name][:, number]), (number + 1) / parts, name)
        for number in range(count)
        for name in others
        if (number + 1) / parts >= 0.1
    ]
    gap, error, done, name = max(gaps)
    worst = f"{subject} is behind another by {gap:+.4f} (+-{error:.4f}) at most"
    return [*lines, "", f"{worst}: at epoch {done:.2f}, {name}.", ""]


def behind(subject: np.ndarray, other: np.ndarray) -> "tuple[float, float]":
    """By how much one is behind another in the mean over seeds, and the standard error of that; 0
    for a single seed.
    """
    gaps = other - subject
    error = gaps.std(ddof=1) / np.sqrt(len(gaps)) if len(gaps) > 1 else 0.0
    return float(gaps.mean()), float(error)


if __name__ == "__main__":
    main()
