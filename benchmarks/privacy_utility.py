"""AUC against epsilon: what differential privacy leaves of what federated training gains.

    python benchmarks/privacy_utility.py --data=DATA --log=FILE [--algorithms=fedavg,fedbn]
        [--epsilons=none,8,3,1] [--home_epochs=20,0] [--seeds=1] [--rounds=20]
        [--dp_rounds=40] [--settings=FLAG=VALUE,...] [--dp_settings=FLAG=VALUE,...]
        [--minutes=9] [--runs=DIRECTORY]
        [--picture=FILE]

Trains each algorithm at each epsilon and with each number of passes at home, and evaluates what is
served on the test rows. `none` is a run without a budget, with the defaults, which serves its best
round on valid; `local` has no other. A line of JSON for each run is appended to the log, and a run
that has its line there is not trained again: after `--minutes` it begins no further run, so that it
can go on later, and with `--runs` one that was ended goes on after its last round. Prints a table
of mean test AUC over scenarios, tasks and seeds, with half the range over seeds; `--picture` draws
it as SVG, a run without a budget as a level line.
"""

import argparse
import json
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
from tff_process import plan as plan_lib
from tff_process.comparison import charts
from tff_process.runtime import cache as cache_lib
from tff_process.training import loop

NONE = "none"


def mean_auc(run: pathlib.Path) -> float:
    """The plain mean over scenarios and tasks, of the models that are served."""
    found = evaluation.evaluate(run, split="test", data=None)
    return float(np.nanmean([cell["auc"] for tasks in found.values() for cell in tasks.values()]))


def entries(given: argparse.Namespace) -> "list[tuple[str, str, str, int]]":
    """The algorithm, epsilon, passes at home and seed of each run, all of a seed first."""
    found = []
    for seed in range(given.seeds):
        for epsilon in given.epsilons.split(","):
            for name in given.algorithms.split(","):
                if epsilon == NONE:
                    found.append((name, epsilon, "-", seed))
                elif name != "local":
                    found += [(name, epsilon, e, seed) for e in given.home_epochs.split(",")]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--log", type=pathlib.Path, required=True)
    parser.add_argument("--algorithms", default="local,fedavg,fedbn,pf_msmtrec")
    parser.add_argument("--epsilons", default="none,8,3,1")
    parser.add_argument("--home_epochs", default="20", help="several between commas")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20, help="of runs without a budget")
    parser.add_argument("--dp_rounds", type=int, default=40, help="of those with one")
    parser.add_argument(
        "--dp_settings",
        default="",
        help="FLAG=VALUE,... of the runs under a budget",
    )
    parser.add_argument("--settings", default="", help="FLAG=VALUE,... of all runs")
    parser.add_argument("--minutes", type=float, default=1e6)
    parser.add_argument("--runs", type=pathlib.Path, help="keeps run directories; default: none")
    parser.add_argument("--picture", type=pathlib.Path)
    given = parser.parse_args()
    dataset = dataset_lib.Dataset.open(given.data)
    common, own = (
        [tuple(text.split("=", 1)) for text in texts.split(",") if text]
        for texts in (given.settings, given.dp_settings)
    )
    cache = cache_lib.ComputationCache()
    end, wanted = time.monotonic() + 60.0 * given.minutes, entries(given)
    aucs = _logged(given.log)
    for entry in wanted:
        if entry in aucs or time.monotonic() > end:
            continue
        name, epsilon, home, seed = entry
        settings = [("rounds", str(given.rounds))]
        if epsilon != NONE:
            budget = [("dp_epsilon", epsilon), ("home_epochs", home)]
            settings = [("rounds", str(given.dp_rounds)), *budget, *own]
        plan = plan_lib.Plan(name, seed=seed, batch_size=0).with_texts([*settings, *common])
        with tempfile.TemporaryDirectory() as folder:
            run = (given.runs or pathlib.Path(folder)) / "_".join(map(str, entry))
            loop.train(plan, dataset, run, resume=run.exists(), cache=cache)
            aucs[entry] = mean_auc(run)
        line = json.dumps({"run": entry, "auc": round(aucs[entry], 5)})
        with given.log.open("a", encoding="utf-8") as log:
            print(line, file=log)
        print(line, flush=True)
    print(
        "| algorithm | epsilon | passes at home | mean test AUC | ± | seeds |\n"
        + 6 * "| --- "
        + "|"
    )
    for name, epsilon, home in dict.fromkeys(entry[:3] for entry in wanted):
        own_aucs = [aucs[e] for e in wanted if e[:3] == (name, epsilon, home) and e in aucs]
        if own_aucs:
            told = f"{np.mean(own_aucs):.4f} | {np.ptp(own_aucs) / 2:.4f} | {len(own_aucs)}"
            print(f"| `{name}` | {epsilon} | {home} | {told} |")
    if given.picture:
        given.picture.write_text(picture(aucs, given.data.name), encoding="utf-8")


def picture(aucs: "dict[tuple[str, str, str, int], float]", title: str) -> str:
    """AUC over epsilon, SVG.

    Args:
      aucs: by run.
      title: of the chart.
    """
    budgets = sorted({float(entry[1]) for entry in aucs if entry[1] != NONE}) or [0.0, 1.0]
    found: dict[str, dict[float, list[float]]] = {}
    for (name, epsilon, passes, _), auc in aucs.items():
        level = epsilon == NONE
        line = f"{name}, no budget" if level else f"{name}, {passes} passes at home"
        for x in (budgets[0], budgets[-1]) if level else (float(epsilon),):
            found.setdefault(line, {}).setdefault(x, []).append(auc)
    rows = [
        charts.Line(
            name,
            [(x, float(np.mean(values))) for x, values in sorted(points.items())],
            [float(np.ptp(values)) / 2 for _, values in sorted(points.items())],
        )
        for name, points in found.items()
    ]
    return charts.lines(title, "epsilon", "mean test AUC", rows)


def _logged(log: pathlib.Path) -> "dict[tuple[str, str, str, int], float]":
    if not log.exists():
        return {}
    lines = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return {tuple(line["run"]): line["auc"] for line in lines}


if __name__ == "__main__":
    main()
