"""What honest scenarios lose by bad ones, under what the server does about it.

    python benchmarks/bad_clients.py [--rows=6000] [--rounds=8] [--seeds=3] [--results=FILE]
    [--attacks nobody scaled ...] [--defences nothing bound ...] [--smallest=0] [--quick]

Built-in data with half of the signal in common. One of four clients, or two of eight, send

- `scaled`: 30 times their update;
- `flipped`: 10 times its opposite;
- `constant`: 0.5 in every variable that is trained;
- `labels`: what training on flipped labels gives, which no norm tells;
- `claims`: what they trained, and that their AUC on valid is 1 with the clients' values drawn
  furthest apart and 0 otherwise, which is what is chosen by after each round (`--pf_find_spread`).

Against it stand: nothing, the default bound of norms (`--max_update_norm=2`), that bound with
everything beyond it refused (`refuse`; by default what is of small scenarios is scaled down) or
scaled down (`clip`), and with the default `--robust=norm`, `winsorize` and `median`. With
`--smallest` the last of four scenarios has so many rows, and is the one that is bad, where one is;
its own AUC is told too. The table holds the mean test AUC of the honest clients
at the last round, over the seeds, and the standard deviation over them of its difference from
nobody bad and no defence; a second table the share of honest and of bad updates that were refused.
The last line is JSON: by defence, its price where nobody is bad and the loss under each attack,
against nobody bad and no defence, and under `refused` those shares. `--results` keeps each run's
figures in a file, so that what was stopped goes on there; `--attacks` and `--defences` run a part.
"""

import argparse
import collections
import dataclasses
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

import numpy as np

from benchmarks import reconstruct_rows
from pfrec import errors, metrics, run_directory
from pfrec.data import synthetic
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block, writer
from pfrec.models.config import ModelConfig
from tff_process import plan as plan_lib
from tff_process.process import spread
from tff_process.runtime import cache as cache_lib
from tff_process.runtime import options as options_lib
from tff_process.runtime import simulation

ATTACKS = ("nobody", "scaled", "flipped", "constant", "labels", "claims")
# By name, how a training is executed, and --robust.
_BOUND = options_lib.Options()
DEFENCES = {
    "nothing": (options_lib.Options(max_update_norm=0.0), "none"),
    "bound": (_BOUND, "none"),
    "refuse": (_BOUND, "none"),
    "clip": (options_lib.Options(clip_updates=True), "none"),
    "norm": (_BOUND, "norm"),
    "winsorize": (_BOUND, "winsorize"),
    "median": (_BOUND, "median"),
}


def changed(
    dataset: dataset_lib.Dataset, path: pathlib.Path, bad: "set[str]", smallest: int = 0
) -> dataset_lib.Dataset:
    """The dataset with the labels of the bad scenarios' training rows flipped, and of the last
    scenario the first training and valid rows alone, `smallest` in all; 0 for all of them.
    """
    last = dataset.scenarios[-1]
    kept = {split: dataset.rows(last, split) for split in ("train", "valid", "test")}
    if smallest:
        kept["valid"] = smallest // 8
        kept["train"] = smallest - kept["valid"]
    with writer.DatasetWriter(path, dataset.schema, source_format="bad", split_seed=0) as target:
        for scenario in dataset.scenarios:
            for split in ("train", "valid", "test"):
                rows = reconstruct_rows.stored(dataset, scenario, split)
                labels = rows.labels
                if scenario in bad and split == "train":
                    labels = np.where(labels == row_block.UNOBSERVED, labels, 1 - labels)
                made = row_block.Rows(rows.categorical, rows.numerical, labels, rows.group)
                if scenario == last:
                    made = made.take(np.arange(kept[split]))
                target.add(scenario, split, made)
    return dataset_lib.Dataset.open(path)


def spoiled(attack: str, before: np.ndarray, value: np.ndarray) -> np.ndarray:
    """What a bad client sends in the place of a trained value."""
    factor = {"scaled": 30.0, "flipped": -10.0}.get(attack)
    if attack == "constant":
        return np.full_like(value, 0.5)
    return value if factor is None else (before + factor * (value - before)).astype(value.dtype)


def claimed(values: np.ndarray, number: int) -> np.ndarray:
    """What a bad client says of its metrics [tasks, metrics] at evaluation `number` of a round."""
    told = values.copy()
    told[:, metrics.METRICS.index("auc")] = float(number == len(spread.FACTORS))
    return told


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a run.

    Attributes:
      auc: the mean test AUC after the last round of the clients that are honest in every run.
      smallest: that of the last client.
      honest_refused, bad_refused: the share of updates that were refused; of bad clients 0 where
        there is none.
    """

    auc: float
    smallest: float
    honest_refused: float
    bad_refused: float


def outcome(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    bad: "set[int]",
    attack: str,
    defence: str,
    traced: cache_lib.ComputationCache,
) -> Outcome:
    """Trains, with what is bad in the place of what bad clients trained, under one of `DEFENCES`;
    `traced` keeps what runs of equal graphs have in common.
    """
    sending = bad if attack != "nobody" else set()
    refused = {"honest": 0, "bad": 0}
    with tempfile.TemporaryDirectory() as folder:
        run = run_directory.RunDirectory.create(
            pathlib.Path(folder) / "run", {"scenarios": list(dataset.scenarios)}
        )
        options, _ = DEFENCES[defence]
        with simulation.resident_training(plan, dataset, run, options, traced) as training:
            if defence == "refuse":
                training._rules = dataclasses.replace(training._rules, clipped=frozenset())
            train = training._calls.train

            def trained(client, *arguments):
                private, report = train(client, *arguments)
                number = client.handle.number
                if number in sending:
                    before = training._received(number)
                    values = collections.OrderedDict(
                        (name, spoiled(attack, before[name], value))
                        for name, value in report["values"].items()
                    )
                    report = collections.OrderedDict(report, values=values)
                return private, report

            training._calls.train = trained
            evaluate = training.evaluate_spreads

            def evaluated(split: str, factors: "Sequence[float]") -> np.ndarray:
                values = evaluate(split, factors)
                for client in sending if attack == "claims" and split == "valid" else ():
                    for number, told in enumerate(values):
                        told[client] = claimed(told[client], number)
                return values

            training.evaluate_spreads = evaluated
            steps = plan.rounds * training.aggregation_steps
            for number in range(steps):
                report = training.train_aggregation_step(number)
                for scenario in report.refused:
                    side = "bad" if dataset.scenarios.index(scenario) in sending else "honest"
                    refused[side] += 1
                if (number + 1) % training.aggregation_steps == 0:
                    reconstruct_rows.find_spread(training, report)
            values = training.evaluate("test")[:, :, metrics.METRICS.index("auc")]
    return Outcome(
        float(np.nanmean([values[i] for i in range(len(values)) if i not in bad])),
        float(np.nanmean(values[-1])),
        refused["honest"] / (steps * (len(values) - len(sending))),
        refused["bad"] / (steps * max(1, len(sending))),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=6000, help="of the largest scenario")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--results", type=pathlib.Path, help="JSON lines of runs, added to")
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, default=ATTACKS)
    parser.add_argument("--defences", nargs="+", choices=DEFENCES, default=list(DEFENCES))
    parser.add_argument("--smallest", type=int, default=0, help="rows of the last; 0 for a tenth")
    parser.add_argument("--quick", action="store_true", help="one seed, one of four, few rows")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rows, arguments.rounds, arguments.seeds = 1000, 2, 1
    # Neither the largest nor the smallest.
    cases = {"1 of 4": (4, {1}), "2 of 8": (8, {1, 2})}
    if arguments.quick:
        cases.pop("2 of 8")
    if arguments.smallest:
        cases = {f"the one of {arguments.smallest} rows": (4, {3})}
    # All is told against nobody bad and no defence.
    attacks = list(dict.fromkeys((ATTACKS[0], *arguments.attacks)))
    defences = list(dict.fromkeys((next(iter(DEFENCES)), *arguments.defences)))
    found = {} if arguments.results is None else earlier(arguments.results)
    traced = cache_lib.ComputationCache()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(arguments.seeds):
            for case, (clients, bad) in cases.items():
                made = pathlib.Path(folder) / f"{clients}_{seed}"
                synthetic.generate(
                    made, scenarios=clients, rows=arguments.rows, shared=0.5, seed=seed
                )
                whole = dataset_lib.Dataset.open(made)
                names = {whole.scenarios[i] for i in bad}
                dataset, flipped = (
                    changed(whole, pathlib.Path(f"{made}_{name}"), of, arguments.smallest)
                    for name, of in (("clean", set[str]()), ("flipped", names))
                )
                for defence in defences:
                    _, robust = DEFENCES[defence]
                    plan = plan_lib.Plan(
                        "pf_msmtrec",
                        rounds=arguments.rounds,
                        seed=seed,
                        robust=robust,
                        model=ModelConfig(experts=2),
                    )
                    for attack in attacks:
                        key = (case, defence, attack, seed)
                        if key in found:
                            continue
                        rows = flipped if attack == "labels" else dataset
                        found[key] = outcome(plan, rows, bad, attack, defence, traced)
                        if arguments.results is not None:
                            line = json.dumps([key, dataclasses.astuple(found[key])])
                            with arguments.results.open("a", encoding="utf-8") as stream:
                                stream.write(line + "\n")
    _report(list(cases), defences, attacks, arguments.seeds, found)


def earlier(path: pathlib.Path) -> "dict[tuple[str, str, str, int], Outcome]":
    """The figures of runs in a file of `--results`; none where there is no file.

    Raises:
      PfrecError: where a line is none of these.
    """
    found: dict[tuple[str, str, str, int], Outcome] = {}
    if not path.exists():
        return found
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            (case, defence, attack, seed), (auc, smallest, honest, bad) = json.loads(line)
            key = (str(case), str(defence), str(attack), int(seed))
            found[key] = Outcome(float(auc), float(smallest), float(honest), float(bad))
        except (TypeError, ValueError) as error:
            raise errors.PfrecError(
                f"{path}: line {number} is no run's figures as this script writes them ({error}); "
                "give another file"
            ) from error
    return found


def _report(
    cases: "list[str]",
    defences: "list[str]",
    attacks: "list[str]",
    seeds: int,
    found: "dict[tuple[str, str, str, int], Outcome]",
) -> None:
    def of(what: str, case: str, defence: str, attack: str) -> np.ndarray:
        return np.array(
            [getattr(found[case, defence, attack, seed], what) for seed in range(seeds)]
        )

    result: dict[str, dict[str, dict[str, float]]] = {}
    refused: dict[str, dict[str, dict[str, list[float]]]] = {}
    head = f"| bad | defence | {' | '.join(attacks)} |\n| --- | --- |" + " --- |" * len(attacks)
    print(head)
    for case in cases:
        start = of("auc", case, "nothing", "nobody")
        for defence in defences:
            aucs = [of("auc", case, defence, attack) for attack in attacks]
            told = [f"{v.mean():.4f} ± {(v - start).std(ddof=seeds > 1):.4f}" for v in aucs]
            print(f"| {case} | {defence} |", " | ".join(told), "|")
            result.setdefault(case, {})[defence] = {
                attack: round(float((start - values).mean()), 4)
                for attack, values in zip(attacks, aucs)
            }
    print(f"\nThe smallest client's AUC:\n{head}")
    for case in cases:
        for defence in defences:
            told = [f"{of('smallest', case, defence, attack).mean():.4f}" for attack in attacks]
            print(f"| {case} | {defence} |", " | ".join(told), "|")
    print(f"\nRefused, honest and bad:\n{head}")
    for case in cases:
        for defence in defences:
            shares = {
                attack: [
                    round(float(of(f"{side}_refused", case, defence, attack).mean()), 4)
                    for side in ("honest", "bad")
                ]
                for attack in attacks
            }
            told = [f"{honest:.1%}, {bad:.0%}" for honest, bad in shares.values()]
            print(f"| {case} | {defence} |", " | ".join(told), "|")
            refused.setdefault(case, {})[defence] = shares
    print(json.dumps({**result, "refused": refused}, sort_keys=True))


if __name__ == "__main__":
    try:
        main()
    except errors.PfrecError as error:
        sys.exit(f"error: {error}")
