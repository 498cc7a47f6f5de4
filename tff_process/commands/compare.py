"""pfrec-compare: trains many algorithms on the same data, splits and seeds, and tabulates them.

pfrec-compare --data=data --algorithms=local,fedavg,pf_msmtrec --seeds=3 --output=comparison
pfrec-compare --data=data --tune='learning_rate=0.003|0.01|0.03' --output=comparison
pfrec-compare --data=data --tune=learning_rate=0.001..0.1 --tune='mu=0.25|0.5' --output=comparison

Runs that are finished are not repeated, interrupted ones continue: give the same line again.
"""

import logging
import pathlib
import sys
from typing import TYPE_CHECKING, Any, Optional

from absl import flags

from pfrec import amounts, command, errors
from tff_process import plan as plan_lib
from tff_process.commands import flags as training_flags
from tff_process.commands import from_flags, idle_flags, watchers
from tff_process.runtime import private_network

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pfrec.data.dataset import dataset as dataset_lib
    from tff_process.comparison import charts, entries, runs, tuning

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
        upper_bound=1.0,
    )
    watchers.define("DIR/runs/ENTRY/seed_N/tensorboard of every run")
    command.run(_main, common=_COMMON, go_on="")


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    _check()
    # as pfrec-train does for its simulations, before NumPy is imported
    data = [pathlib.Path(f.data)] if f.data != "synthetic" else []
    private_network.enter_if_permitted(data, [pathlib.Path(f.output)])
    from pfrec import files
    from tff_process.commands import train
    from tff_process.comparison import entries, runs, tuning

    asked = [entries.Entry.parse(text) for text in f.algorithms]
    idle_flags.require_concerned([entry.algorithm for entry in asked])
    tuned = tuning.Tuning.parse(*f.tune, points=f.tune_points) if f.tune else None
    if tuned:
        tuned.require_concerned(asked)
    output = pathlib.Path(f.output)
    lock = files.Lock(output)
    runs.prepare(output)
    dataset = train.open_data(
        f.data, output / "runs" / "data", from_flags.synthetic(), f.synthetic_seed
    )
    dataset = from_flags.chosen(dataset)
    print(
        f"comparing {', '.join(f.algorithms)} on {dataset.path}, "
        f"{amounts.amount(f.seeds, 'seed')}, {amounts.amount(f.rounds, 'round')}",
        flush=True,
    )
    cells, chosen, tried = _trained(asked, tuned, dataset, output)
    _write(cells, chosen, tried, tuned, dataset, output)
    faults = {
        cell.entry.name: str(cell.summary["fault"]) for cell in cells if cell.summary.get("fault")
    }
    lock.release()
    if faults:
        told = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
        raise errors.PfrecError(f"{output}: of no use, and so last: {told}")


def _check() -> None:
    """Checks what can be told before anything heavy is imported.

    Raises:
      PfrecError: where flags do not fit together.
    """
    f = flags.FLAGS
    if not f.algorithms or len(set(f.algorithms)) != len(f.algorithms):
        raise errors.PfrecError(
            f"--algorithms={','.join(f.algorithms)}: name each algorithm once, at least one"
        )
    if "metrics" in f.withhold:
        raise errors.PfrecError(
            "--withhold=metrics: a comparison is one of metrics; withhold them in pfrec-train"
        )
    for name in ("tune_points", "tune_halving"):
        if f[name].value and not f.tune:
            raise errors.PfrecError(
                f"--{name}={f[name].value} without --tune: nothing is tuned; give --tune too, or "
                "leave it out"
            )
    if f.tune_halving == 1:
        raise errors.PfrecError("--tune_halving=1: one in one is no choice; give 2 or more, or 0")
    command.require_data(f.data)
    idle_flags.require_effective()
    watchers.require(simulated=True)


def _plan(entry: "entries.Entry", seed: int = 0) -> "plan_lib.Plan":
    return from_flags.plan(entry.algorithm, seed, entry.sharing, entry.settings)


def _require_comparable(plan: "plan_lib.Plan") -> None:
    """Checks what a comparison asks of each plan.

    Raises:
      PfrecError: where it keeps metrics to itself, or cannot be trained a few rounds at a time
        where it is to be.
    """
    if plan.dp_epsilon:
        raise errors.PfrecError(
            "--dp_epsilon: metrics do not leave, and a comparison is one of metrics; train "
            "with pfrec-train and measure with pfrec-evaluate where the rows are"
        )
    if flags.FLAGS.tune_halving and (plan.schedule != plan_lib.CONSTANT or plan.warmup):
        raise errors.PfrecError(
            f"--tune_halving={flags.FLAGS.tune_halving} with a --schedule or --warmup: step sizes "
            "follow it over all rounds, and halving trains a few of them at first; leave one out"
        )


def _trained(
    asked: "Sequence[entries.Entry]",
    tuned: "Optional[tuning.Tuning]",
    dataset: "dataset_lib.Dataset",
    output: pathlib.Path,
) -> "tuple[list[runs.Cell], list[entries.Entry], dict[str, list[tuning.Tried]]]":
    """Trains all entries, each with the candidate that it chose where they are tuned: the cells,
    what stands for each entry, and what each tried.
    """
    from tff_process.commands import progress
    from tff_process.comparison import runs
    from tff_process.comparison import search as search_lib

    seeds = flags.FLAGS.seeds
    candidates = {entry: tuned.candidates(entry) if tuned else [entry] for entry in asked}
    planned = [
        (one, _plan(one, seed))
        for several in candidates.values()
        for one in several
        for seed in range(seeds)
    ]
    for _, plan in planned:
        _require_comparable(plan)
    idle_flags.require_used_by_one([plan for _, plan in planned])
    for told in dict.fromkeys(from_flags.preset_note(plan) for _, plan in planned):
        if told:
            print(f"note: {told}", file=sys.stderr, flush=True)
    count = progress.Counter(
        ([one.name for one in several] for several in candidates.values()), seeds
    )
    runner = runs.Runner(
        dataset,
        output,
        lambda entry, plan: progress.reporting(plan, count.label(entry.name, plan.seed)),
        from_flags.options({}, output),
        lambda entry, plan, run: watchers.of_run(
            plan, dataset, run, f"{entry.name} seed {plan.seed}"
        ),
    )
    runner.check(planned)
    cells: list[runs.Cell] = []
    chosen: list[entries.Entry] = []
    tried: dict[str, list[tuning.Tried]] = {}
    for entry in asked:
        if tuned:
            tried[entry.name] = search_lib.search(
                candidates[entry], _plan, flags.FLAGS.tune_halving, runner
            )
        chosen.append(tried[entry.name][0].candidate if tuned else entry)
        note = tuned.edge_note(chosen[-1]) if tuned else ""
        if note:
            _log.warning("%s", note)
        # Seed by seed within an entry, so that what was traced for one seed serves the others.
        cells += runner.compare((chosen[-1], _plan(chosen[-1], seed)) for seed in range(seeds))
    return cells, chosen, tried


def _write(
    cells: "Sequence[runs.Cell]",
    chosen: "Sequence[entries.Entry]",
    tried: "dict[str, list[tuning.Tried]]",
    tuned: "Optional[tuning.Tuning]",
    dataset: "dataset_lib.Dataset",
    output: pathlib.Path,
) -> None:
    """Writes what a comparison found, and prints its tables."""
    from pfrec import files
    from pfrec.report import comparison_page
    from tff_process.comparison import report, runs, standings, tuning

    plans = {entry.name: _plan(entry) for entry in chosen}
    rows = standings.standings(cells)
    target: Optional[float] = flags.FLAGS.target_auc or standings.target_auc(cells, rows)
    table = tuning.table(tried, chosen)
    sentence = tuned.sentence(flags.FLAGS.tune_halving) if tuned else ""
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
