"""What finishing at home is worth, and which part of it pays.

    python benchmarks/finishing.py --log=FILE DATA... [--algorithms=pf_msmtrec,fedavg] [--seeds=2]
        [--rounds=8] [--patience=2] [--learning_rate=0.01] [--epochs=20] [--home_rates=0.01]
        [--minutes=9]

Trains each algorithm on each dataset, and lets each client finish what it serves
(`tff_process/finishing/home.py`) on its own rows. Of the same runs it prints the mean test AUC of
what is served as it is, and its change where clients go on from it and each serves its best epoch
on its valid rows (`received`), where they may serve what they trained alone as well (`both`), and
where they serve what was taught (`all`), each but where too few valid rows say nothing; `alone` is
training from first values by itself. `time` is that of finishing over that of training. A line of
JSON for each run is appended to the log, client by client, with processor seconds of training and
of finishing, and a run that has its line there is not trained again; after `--minutes` no further
run begins.
"""

import argparse
import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np
import tensorflow as tf

from pfrec import groups, metrics, run_directory, run_model
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import pipeline, trainable
from pfrec.models.mmoe import mmoe
from tff_process import plan as plan_lib
from tff_process.client import work as work_lib
from tff_process.finishing import home
from tff_process.runtime import cache as cache_lib
from tff_process.training import loop

MODELS = ("served", "received", "alone", "taught")
SERVED, RECEIVED, ALONE, BOTH, ALL = "served", "received", "alone", "both", "all"
VARIANTS = (SERVED, RECEIVED, ALONE, BOTH, ALL)
AUC = metrics.METRICS.index("auc")


class Finisher:
    """Finishes the models of clients of one dataset, traced once.

    Args:
      dataset: of all.
      plan: that they were trained by, with a batch size.
    """

    def __init__(self, dataset: dataset_lib.Dataset, plan: plan_lib.Plan) -> None:
        self._dataset, self._plan = dataset, plan
        settings = work_lib.TrainingSettings(plan.batch_size, weight_decay=plan.decay)
        model = work_lib.ClientModel(
            lambda: mmoe.build(dataset.schema, plan.model, 0), dataset.schema, plan.learning_rate
        )

        @tf.function
        def call(served: Any, first: Any, work: Any, test: Any, rate: Any) -> Any:
            model.load(served)
            training = home.Training(model, settings, work, first, plan.average_over, rate)
            told, valid = [training.evaluator(test)], training.on_valid()
            found = home.made(training, valid)
            for values in (found.received, found.alone, found.taught):
                model.load(values)
                told.append(training.evaluator(test))
            scores = tf.concat([[home.score(valid)], found.scores], axis=0)
            return tf.stack(told)[:, :, AUC], scores, home.chance(valid)

        self._call = call

    def measured(
        self, run: run_directory.RunDirectory, scenario: str, epochs: float, rate: float
    ) -> "dict[str, Any]":
        """The score on valid and the mean test AUC of a client's models, `MODELS`, and what is
        chance on valid.
        """
        dataset, plan = self._dataset, self._plan
        number = run.scenarios.index(scenario)
        tasks = [task.name for task in dataset.schema.tasks]
        serves = np.array([trainable.serves(dataset, scenario, task) for task in tasks])
        steps = pipeline.steps_per_epoch(dataset.rows(scenario, "train"), plan.batch_size)
        secret = tf.constant(pipeline.simulated_secret(run.config["seed"], number))
        work = {
            "shards": tf.constant(dataset.shards(scenario, "train")),
            home.VALID: tf.constant(dataset.shards(scenario, "valid")),
            "seed": pipeline.order_seed(secret, tf.constant(run.config["seed"], tf.int64)),
            home.STEPS: tf.constant(round(epochs * steps), tf.int64),
            home.EPOCH_STEPS: tf.constant(steps, tf.int64),
            home.SERVES: tf.constant(serves, tf.float32),
        }
        first = mmoe.build(dataset.schema, plan.model, run.config["seed"])
        test, scores, chance = self._call(
            _values(run_model.load(run, scenario)),
            _values(first),
            work,
            tf.constant(dataset.shards(scenario, "test")),
            tf.constant(rate),
        )
        aucs = np.nanmean(np.where(serves, test.numpy(), np.nan), axis=1)
        told = {"valid": np.round(scores, 5).tolist(), "test": np.round(aucs, 5).tolist()}
        return {**told, "chance": round(float(chance), 5)}


def variants(client: "Mapping[str, Any]") -> "dict[str, float]":
    """Test AUC of what a client serves in each way, of what `measured` says of it."""
    served, *tests = client["test"]
    if client["chance"] > home._TOO_FEW:
        return {**dict.fromkeys(VARIANTS, served), ALONE: tests[1]}
    scores, margin = client["valid"][1:], max(home._AHEAD, client["chance"])

    def chosen(*scores: float) -> float:
        values = [{"auc": tf.constant(test)} for test in tests]
        return float(home.Made(*values, tf.constant(scores), tf.constant(margin)).chosen()["auc"])

    both, everything = chosen(*scores[:2], -1.0), chosen(*scores)
    return dict(zip(VARIANTS, (served, tests[0], tests[1], both, everything)))


def _values(network: tf.keras.Model) -> "dict[str, tf.Tensor]":
    return {item.name: tf.constant(item.variable.numpy()) for item in groups.tag(network)}


def _seconds() -> float:
    """Processor seconds of this process and of those that it has ended."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def _table(runs: "list[Mapping[str, Any]]") -> None:
    print("| data | algorithm | rate | served | received | alone | both | all | time | runs |")
    print(10 * "| --- " + "|")
    for key in dict.fromkeys((run["data"], run["algorithm"], run["rate"]) for run in runs):
        own = [run for run in runs if (run["data"], run["algorithm"], run["rate"]) == key]
        found = [variants(client) for run in own for client in run["clients"].values()]
        means = {name: np.mean([client[name] for client in found]) for name in VARIANTS}
        changes = [f"{means[name] - means[SERVED]:+.4f}" for name in VARIANTS[1:]]
        times = np.mean([run["finishing"] / run["training"] for run in own])
        told = [*key, f"{means[SERVED]:.4f}", *changes, f"{times:.1f}", len(own)]
        print(f"| {' | '.join(map(str, told))} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=pathlib.Path)
    parser.add_argument("--log", type=pathlib.Path, required=True)
    parser.add_argument("--algorithms", default="pf_msmtrec,fedavg,fedbn,fedamp,local")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--patience", type=int, default=2)
    parser.add_argument("--learning_rate", type=float, default=0.01)
    parser.add_argument("--epochs", type=float, default=20.0, help="passes at home, at most")
    parser.add_argument("--home_rates", default="0.01", help="several between commas")
    parser.add_argument("--minutes", type=float, default=1e6)
    given = parser.parse_args()
    lines = given.log.read_text(encoding="utf-8").splitlines() if given.log.exists() else []
    runs = [json.loads(line) for line in lines]
    done = {(run["data"], run["algorithm"], run["seed"]) for run in runs}
    end, cache = time.monotonic() + 60.0 * given.minutes, cache_lib.ComputationCache()
    finishers: dict[str, Finisher] = {}
    wanted = [
        (path, name, seed)
        for seed in range(given.seeds)
        for path in given.data
        for name in given.algorithms.split(",")
    ]
    for path, name, seed in wanted:
        if (path.name, name, seed) in done or time.monotonic() > end:
            continue
        dataset = dataset_lib.Dataset.open(path)
        plan = plan_lib.Plan(
            name,
            seed=seed,
            rounds=given.rounds,
            patience=given.patience,
            learning_rate=given.learning_rate,
        ).fitting([dataset.rows(scenario, "train") for scenario in dataset.scenarios])
        with tempfile.TemporaryDirectory() as folder:
            before = _seconds()
            run = loop.train(plan, dataset, pathlib.Path(folder) / "run", cache=cache).run
            training = _seconds() - before
            if path.name not in finishers:
                finishers[path.name] = Finisher(dataset, plan)
            for rate in map(float, given.home_rates.split(",")):
                before = _seconds()
                clients = {
                    scenario: finishers[path.name].measured(run, scenario, given.epochs, rate)
                    for scenario in dataset.scenarios
                }
                told: dict[str, Any] = {
                    "data": path.name,
                    "algorithm": name,
                    "seed": seed,
                    "rate": rate,
                    "clients": clients,
                    "training": round(training, 1),
                    "finishing": round(_seconds() - before, 1),
                }
                runs.append(told)
                with given.log.open("a", encoding="utf-8") as log:
                    print(json.dumps(told), file=log)
                print(json.dumps(told), flush=True)
    _table(runs)


if __name__ == "__main__":
    main()
