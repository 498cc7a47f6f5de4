"""pfrec-compare: trains many algorithms on the same data, splits and seeds, and tabulates them.

pfrec-compare --data=data --algorithms=local,fedavg,pf_msmtrec --seeds=3 --output=comparison
pfrec-compare --data=data --tune='learning_rate=0.003|0.01|0.03' --output=comparison
pfrec-compare --data=data --tune=learning_rate=0.001..0.1 --tune='mu=0.25|0.5' --output=comparison

Runs that are finished are not repeated, interrupted ones continue: give the same line again.
"""

import dataclasses
import logging
import pathlib
from typing import TYPE_CHECKING, Any, Optional

from absl import flags

from pfrec import command, errors
from tff_process.commands import flags as training_flags
from tff_process.commands import watchers
from tff_process.runtime import private_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tff_process import plan as plan_lib
    from tff_process.comparison import charts, entries, runs

_COMMON = (
    "data",
    "algorithms",
    "seeds",
    "rounds",
    "tune",
    "tune_points",
    "tune_halving",
    "output",
    "learning_rate",
    "synthetic_scenarios",
    "synthetic_rows",
    "synthetic_seed",
)


_DEFAULT_POINTS = 8  # as `tuning` has it, which imports NumPy

_log = logging.getLogger(__name__)


def main() -> None:
    """Entry point of `pfrec-compare`."""
    training_flags.define()
    flags.DEFINE_list(
        "algorithms",
        ["local", "fedavg", "pf_msmtrec", "pooled_mmoe"],
        "Algorithms; an unknown name lists the known ones. "
        "NAME:GROUP=shared:GROUP=private:FLAG=VALUE runs one under a sharing policy and with "
        "settings of its own, as fedbn:embedding/*=shared or ditto:ditto_lambda=1; of several "
        "entries of an algorithm, the best on valid "
        "speaks for it.",
    )
    flags.DEFINE_integer(
        "seeds", 5, "How many seeds each algorithm is trained with: 0, 1, ...", lower_bound=1
    )
    flags.DEFINE_integer(
        "synthetic_seed", 0, "Of --data=synthetic: another seed makes another world.", lower_bound=0
    )
    flags.DEFINE_multi_string(
        "tune",
        [],
        "FLAG=VALUE|VALUE..., as learning_rate=0.001|0.003: every entry tries each value on seed 0 "
        "and keeps the one that is best on valid. Or FLAG=LOW..HIGH, as learning_rate=0.001..0.1, "
        "or several flags: every entry tries --tune_points of them. Repeatable.",
    )
    flags.DEFINE_integer(
        "tune_points",
        0,
        "How many Sobol points of the flags of --tune every entry tries, a power of two; 0 takes "
        f"all values of one flag, and {_DEFAULT_POINTS} points otherwise.",
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "tune_halving",
        0,
        "Successive halving: all points are trained for a few rounds, and one in so many goes on "
        "to so many times the rounds, until the last have had --rounds; 0 trains all of them "
        "whole.",
        lower_bound=0,
    )
    flags.DEFINE_float(
        "target_auc",
        0.0,
        "The valid AUC, as the round is chosen by, whose cost in bytes is told; 0 takes the "
        "largest that all reach.",
        lower_bound=0.0,
    )
    watchers.define("DIR/runs/ENTRY/seed_N/tensorboard of every run")
    command.run(_main, common=_COMMON, go_on="")


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    if not f.algorithms or len(set(f.algorithms)) != len(f.algorithms):
        raise errors.PfrecError(
            f"--algorithms={','.join(f.algorithms)}: name each algorithm once, at least one"
        )
    command.require_data(f.data)
    watchers.require(simulated=True)
    # as pfrec-train does for its simulations, before NumPy is imported
    data = [pathlib.Path(f.data)] if f.data != "synthetic" else []
    private_network.enter_if_permitted(data, [pathlib.Path(f.output)])
    from pfrec import files
    from pfrec.report import comparison_page
    from tff_process.commands import progress, train
    from tff_process.comparison import entries, report, runs, standings, tuning
    from tff_process.runtime import cache

    asked = [entries.Entry.parse(text) for text in f.algorithms]
    output = pathlib.Path(f.output)
    lock = files.Lock(output)
    runs.prepare(output)
    dataset = train.open_data(
        f.data, output / "runs" / "data", training_flags.synthetic(), f.synthetic_seed
    )
    dataset = training_flags.chosen(dataset)
    print(
        f"comparing {', '.join(f.algorithms)} on {dataset.path}, {f.seeds} seed(s), "
        f"{f.rounds} rounds",
        flush=True,
    )

    def plan(entry: entries.Entry, seed: int) -> "plan_lib.Plan":
        return training_flags.plan(entry.algorithm, seed, entry.sharing, entry.settings)

    given: dict[str, Any] = {
        "options": training_flags.options(),
        "cache": cache.ComputationCache(),
        "progress": lambda entry, plan: progress.reporting(
            plan, count.label(entry.name, plan.seed)
        ),
        "callbacks": lambda entry, plan, run: watchers.of_run(
            plan, dataset, run, f"{entry.name} seed {plan.seed}"
        ),
    }

    def run(chosen: "Sequence[entries.Entry]", seeds: int) -> "list[runs.Cell]":
        return runs.compare(
            # Seed by seed within an entry, so that what was traced for one seed serves the others.
            [(entry, plan(entry, seed)) for entry in chosen for seed in range(seeds)],
            dataset,
            output,
            **given,
        )

    if "metrics" in f.withhold:
        raise errors.PfrecError(
            "--withhold=metrics: a comparison is one of metrics; withhold them in pfrec-train"
        )
    if f.tune_halving == 1:
        raise errors.PfrecError("--tune_halving=1: one in one is no choice; give 2 or more, or 0")
    tuned = tuning.Tuning.parse(*f.tune, points=f.tune_points) if f.tune else None
    candidates = tuned.candidates if tuned else lambda entry: [entry]
    if tuned:
        tuned.require_concerned(asked)

    def search(entry: entries.Entry) -> "list[tuning.Tried]":
        """Every candidate of an entry, the best of those that had all rounds first."""
        ranked = [tuning.Tried(candidate, 0, 0.0) for candidate in candidates(entry)]
        dropped: list[tuning.Tried] = []
        for number, rounds in tuning.rungs(len(ranked), plan(entry, 0).rounds, f.tune_halving):
            dropped, left = ranked[number:] + dropped, ranked[:number]
            asked_for = [
                (one.candidate, dataclasses.replace(plan(one.candidate, 0), rounds=rounds))
                for one in left
            ]
            found = runs.scores(asked_for, dataset, output, **given)
            ranked = tuning.best_first(
                [tuning.Tried(one.candidate, rounds, score) for one, score in zip(left, found)]
            )
        return ranked + dropped

    total = sum(len(candidates(entry)) + f.seeds - 1 for entry in asked)
    count = progress.Counter(total, len(list(output.glob("runs/*/seed_*/summary.json"))))
    for entry in asked:
        for candidate in candidates(entry):
            # Before hours of training: what cannot be trained is told at once.
            if plan(candidate, 0).dp_epsilon:
                raise errors.PfrecError(
                    "--dp_epsilon: metrics do not leave, and a comparison is one of metrics; train "
                    "with pfrec-train and measure with pfrec-evaluate where the rows are"
                )
    chosen: list[entries.Entry] = []
    cells: list[runs.Cell] = []
    tried: dict[str, list[tuning.Tried]] = {}
    for entry in asked:
        if tuned:
            tried[entry.name] = search(entry)
        chosen.append(tried[entry.name][0].candidate if tuned else entry)
        note = tuned.edge_note(chosen[-1]) if tuned else ""
        if note:
            _log.warning("%s", note)
        cells += run(chosen[-1:], f.seeds)
    plans = {entry.name: plan(entry, 0) for entry in chosen}
    rows = standings.standings(cells)
    target: Optional[float] = f.target_auc or standings.target_auc(cells, rows)
    table = tuning.table(tried, chosen)
    sentence = tuned.sentence(f.tune_halving) if tuned else ""
    text = report.markdown(cells, dataset, target, sentence, table)
    files.write_csv(output / "results.csv", runs.HEADER, runs.long_rows(cells))
    files.write_bytes(output / "results.md", text.encode())
    if tuned:
        files.write_csv(output / "tuning.csv", tuning.HEADER, table)
    files.write_json(
        output / "results.json",
        {**report.to_json(cells, plans, dataset, target), "tuning": tuning.to_json(tried)},
    )
    for name, chart in _charts(cells, rows).items():
        files.write_bytes(output / name, chart.encode())
    files.write_json(output / "winner.json", standings.winner(cells, output))
    print(text)
    print(f"wrote {comparison_page.write(output)}")
    print(f"wrote {output / 'results.csv'} and {output / 'results.md'}")
    faults = {
        cell.entry.name: str(cell.summary["fault"]) for cell in cells if cell.summary.get("fault")
    }
    lock.release()
    if faults:
        told = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise errors.PfrecError(f"{output}: of no use, and so last: {told}")


def _charts(cells: "Sequence[runs.Cell]", rows: "Sequence[Any]") -> "dict[str, str]":
    """The charts of a comparison by file name."""
    from tff_process.comparison import charts, standings

    auc = [charts.Dot(row.entry, row.mean, row.deviation, int(not row.federated)) for row in rows]
    drawn = {
        "results.svg": charts.dots(
            "Test AUC by algorithm",
            "mean test AUC, with its deviation over seeds",
            auc,
            ["rows stay where they are", "pooled"],
        )
    }
    talking = [row for row in rows if standings.communicates(cells, row)]
    if talking:
        curves = [_curve(row, standings.spread_curve(cells, row.entry)) for row in talking]
        drawn["communication.svg"] = charts.lines(
            "AUC against communication", "MB, all clients, both ways", "valid AUC", curves
        )
    return drawn


def _curve(row: "Any", valid: "dict[str, list[float]]") -> "charts.Line":
    """What an entry reached, by what it had sent until then."""
    from tff_process.comparison import charts

    points = [(n * row.round_bytes / 1e6, value) for n, value in enumerate(valid["mean"], 1)]
    return charts.Line(row.entry, points, valid["deviation"])


if __name__ == "__main__":
    main()
