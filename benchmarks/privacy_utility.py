"""AUC against epsilon: what differential privacy leaves of what federated training gains.

    python benchmarks/privacy_utility.py --data=DATA [--algorithms=fedavg] [--epsilons=3,8]
        [--rounds=20] [--seeds=1] [--home_epochs=3] [--clip=1] [--batch_size=256]
        [--settings=embedding_scale=0.25]

Trains `local` and each algorithm without privacy, without batch normalisation as all others, and
each algorithm at each epsilon, and evaluates what is served on the test rows: a run under a budget
serves its last round, the others their best one on valid. Prints a line for each run, and a table
of mean test AUC over scenarios, tasks and seeds.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np

from pfrec import evaluation
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.runtime import cache as cache_lib
from tff_process.training import loop


def mean_auc(run: pathlib.Path) -> float:
    """The plain mean over scenarios and tasks, of the models that are served."""
    found = evaluation.evaluate(run, split="test", data=None)
    return float(np.nanmean([cell["auc"] for tasks in found.values() for cell in tasks.values()]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--algorithms", default="fedavg")
    parser.add_argument("--epsilons", default="3,8")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--home_epochs", default="3", help="several between commas")
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--settings", default="", help="FLAG=VALUE,... of the runs under a budget")
    parser.add_argument("--skip_baselines", action="store_true")
    given = parser.parse_args()
    dataset = dataset_lib.Dataset.open(given.data)
    baseline = ModelConfig(batch_norm=False)
    entries: list[tuple[str, str, dict[str, str]]] = []
    algorithms = given.algorithms.split(",")
    if not given.skip_baselines:
        entries += [(name, "none", {}) for name in ("local", *algorithms)]
    own = dict(text.split("=", 1) for text in given.settings.split(",") if text)
    for name in algorithms:
        for epsilon in given.epsilons.split(","):
            for epochs in given.home_epochs.split(","):
                told = {"dp_epsilon": epsilon, "dp_home_epochs": epochs, "dp_clip": str(given.clip)}
                entries.append((name, epsilon, {**told, **own}))
    rows = []
    for name, epsilon, settings in entries:
        aucs, started = [], time.monotonic()
        cache = cache_lib.ComputationCache()
        for seed in range(given.seeds):
            plan = plan_lib.Plan(
                name,
                rounds=given.rounds,
                batch_size=given.batch_size,
                seed=seed,
                model=baseline,
            ).with_texts([*settings.items()])
            with tempfile.TemporaryDirectory() as folder:
                run = pathlib.Path(folder) / "run"
                loop.train(plan, dataset, run, cache=cache)
                aucs.append(mean_auc(run))
        seconds = (time.monotonic() - started) / given.seeds
        served = settings.get("dp_home_epochs", "")
        rows.append((name, epsilon, served, float(np.mean(aucs))))
        print(f"{name} epsilon {epsilon} home {served or '-'}: {aucs} {seconds:.0f} s", flush=True)
    print("\n| algorithm | epsilon | home epochs | mean test AUC |\n| --- | --- | --- | --- |")
    for name, epsilon, served, auc in rows:
        print(f"| {name} | {epsilon} | {served or '-'} | {auc:.4f} |")


if __name__ == "__main__":
    main()
