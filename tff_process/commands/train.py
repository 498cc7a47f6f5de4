"""pfrec-train: trains one algorithm on a dataset and writes a run directory.

pfrec-train --data=data --output=run
pfrec-train --data=synthetic --synthetic_rows=4000 --algorithm=fedavg --rounds=3 --output=run
pfrec-train --data=data --output=run --resume
pfrec-train --data=next_week --init_from=run --rounds=5 --output=run_2
"""

import pathlib
import shlex
import sys
from typing import TYPE_CHECKING, Any

from absl import flags

from pfrec import amounts, cells, command, errors, files, json_fields, run_records, text_table
from pfrec.data import names
from tff_process import plan as plan_lib
from tff_process import plan_difference
from tff_process.algorithms import registry
from tff_process.commands import flags as training_flags
from tff_process.commands import from_flags, idle_flags, watchers
from tff_process.runtime import private_network

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pfrec.data.dataset import dataset as dataset_lib

# As `run_directory` has them, which imports TensorFlow.
_SYNTHETIC_DATA, _LOGS = "data", "logs"
_COMMON = (
    "data",
    "output",
    "algorithm",
    "rounds",
    "learning_rate",
    "batch_size",
    "seed",
    "resume",
    "workers",
    "synthetic_scenarios",
    "synthetic_rows",
)


def main() -> None:
    """Entry point of `pfrec-train`."""
    training_flags.define(silos=True)
    flags.DEFINE_string(
        "algorithm", "pf_msmtrec", "What to train with; an unknown name lists the known ones."
    )
    flags.DEFINE_integer(
        "seed", 0, "Of initial values, row order and --data=synthetic.", lower_bound=0
    )
    flags.DEFINE_bool(
        "resume", False, "Continue the run in --output after its last complete round."
    )
    flags.DEFINE_string(
        "init_from",
        None,
        "A finished run that goes on, all of it, on --data of later days, by its own flags but for "
        "those given; with --new_scenario that one starts from what its scenarios have in common.",
    )
    flags.DEFINE_string(
        "new_scenario",
        None,
        "A scenario of --data that joins the run of --init_from: it trains alone, nothing of that "
        "run changes.",
    )
    flags.DEFINE_enum(
        "changed_scenarios",
        "refuse",
        ["refuse", "follow"],
        "Where --init_from has other scenarios than --data: refuse, or follow the data: those gone "
        "are left, and new ones start from what the others have in common.",
    )
    watchers.define("RUN/tensorboard")
    command.run(_main, common=_COMMON, go_on="--resume")


def _main(argv: "list[str]") -> None:
    del argv
    f = flags.FLAGS
    output = pathlib.Path(f.output)
    # What can be told at once is told before TensorFlow is imported, which takes seconds.
    if f.data:
        command.require_data(f.data)
    if not f.resume:
        files.require_empty(output, besides=[_LOGS] if f.workers else [_SYNTHETIC_DATA, _LOGS])
    registry.check(f.algorithm)
    begun = f.resume and (output / run_records.CONFIG).exists()
    if f.new_scenario is not None and f.init_from is None and not begun:
        raise errors.PfrecError("--new_scenario: name the run that it joins as --init_from")
    if f.init_from is not None and not begun:
        remedy = "name a finished run as --init_from"
        command.require_file(pathlib.Path(f.init_from) / run_records.CONFIG, remedy)
    watchers.require(simulated=not f.workers)
    idle_flags.require_effective()
    continues = f.init_from is not None and f.new_scenario is None
    # Of the run that is resumed, or that this one goes on from.
    record: Mapping[str, Any] = {}
    of = output
    if begun:
        record = run_records.read_config(output)
        plan, newcomer = from_flags.resumed_plan(record), _newcomer(record, output, f.new_scenario)
    elif continues:
        of = pathlib.Path(f.init_from)
        record = run_records.read_config(of)
        plan, newcomer = from_flags.continued_plan(record, of), None
    elif f.new_scenario is not None:
        joined = pathlib.Path(f.init_from)
        plan = from_flags.joining_plan(run_records.read_config(joined), joined)
        newcomer = f.new_scenario
    else:
        plan, newcomer = from_flags.plan(f.algorithm, f.seed), None
    if not plan.continues:
        command.refuse_idle(["changed_scenarios"], "is of a run that goes on, all of it")
    # A newcomer trains by local; what the line that began it said of another was let pass once.
    idle_flags.require_concerned([f.algorithm if begun and newcomer else plan.name])
    idle_flags.require_of_clients(plan)
    idle_flags.require_used_by_one([plan])
    if note := from_flags.preset_note(plan):
        print(f"note: {note}", file=sys.stderr, flush=True)
    if not f.workers:
        # A simulation needs no network, and TFF's worker listens on all that there is. Before NumPy
        # is imported, see `private_network`.
        data = [pathlib.Path(f.data)] if f.data and f.data != "synthetic" else []
        private_network.enter_if_permitted(data, [output])
    made = output / _SYNTHETIC_DATA
    if f.resume and f.data == "synthetic" and (made / "dataset.json").exists():
        open_data(f.data, made, from_flags.synthetic(), plan.seed)  # Of these flags, or refused.
    left_out = None if newcomer else (f.skip_scenarios, f.min_rows)
    if begun and _is_finished(record, output, plan, f.data, left_out):
        return
    options = from_flags.options(record, of)
    from pfrec import run_directory
    from pfrec.report import run_page
    from tff_process.commands import progress
    from tff_process.silos import training as silo_training
    from tff_process.training import automatic, loop

    asked, plan = plan, automatic.resolved(plan, output if f.resume else None)
    if options.workers:
        if plan.pooled:
            raise errors.PfrecError(
                f"--algorithm={plan.name}: needs all rows in one place; over silos train a "
                "federated one"
            )
        dataset = silo_training.survey(options, output)
    else:
        dataset = open_data(
            f.data, output / run_directory.SYNTHETIC_DATA, from_flags.synthetic(), plan.seed
        )
    if newcomer is not None:
        from tff_process.process import joining

        newcomer = names.meant(newcomer, dataset.scenarios)
        dataset = joining.only(dataset, newcomer)
        if not begun:
            joining.check(pathlib.Path(f.init_from), dataset, newcomer)
    dataset = from_flags.chosen(dataset)
    if continues and not begun:
        where = "--workers" if options.workers else str(dataset.path)
        _tell_of_same_rows(pathlib.Path(f.init_from), dataset, where)
        _check_scenarios(pathlib.Path(f.init_from), dataset, f.changed_scenarios, where)
    place = "silos" if options.workers else dataset.path
    print(
        f"training {plan.name} on {place} ({', '.join(dataset.scenarios)}) for "
        f"{amounts.amount(plan.rounds, 'round')}",
        flush=True,
    )
    if told := automatic.told(asked, plan, begun):
        if options.workers and plan.precision == plan_lib.BFLOAT16:
            told += "; a silo whose processor has no such products trains all the same, slowly"
        print(told, flush=True)
    with progress.reporting(plan) as shown:
        outcome = loop.train(
            plan,
            dataset,
            output,
            resume=f.resume,
            options=options,
            progress=shown,
            callbacks=watchers.of_run(plan, dataset, output, output.resolve().name),
        )
    print(table(outcome.summary))
    print(f"page: {output / run_page.NAME}")
    print(f"run: {output}")
    if outcome.summary["fault"]:
        raise errors.PfrecError(f"{output}: {outcome.summary['fault']}")


def _newcomer(
    config: "Mapping[str, Any]", output: pathlib.Path, named: "str | None"
) -> "str | None":
    """The scenario that joined in a run that is resumed; None where the run is none of a newcomer.

    Args:
      config: the run's record.
      output: the run.
      named: what --new_scenario names, if it is given.

    Raises:
      PfrecError: where that is not the one that joined.
    """
    joined = config["scenarios"][0] if from_flags.joins(config["plan"]) else None
    if named is not None and (joined is None or names.meant(named, [joined]) != joined):
        was = f"--new_scenario={joined}" if joined else "no --new_scenario"
        raise errors.PfrecError(
            f"--new_scenario={named}: {output} was begun with {was}; leave the flag out, or choose "
            "another --output"
        )
    return joined


def _check_scenarios(
    run: pathlib.Path, dataset: "dataset_lib.Dataset", changed_scenarios: str, where: str
) -> None:
    """Says which scenarios of `where` are gone and which are new where a run goes on.

    Raises:
      PfrecError: where there are any, and the flag refuses them.
    """
    from pfrec import run_directory
    from tff_process.training import continuing

    before = run_directory.open_run(run, with_models=False)
    gone, new = continuing.changed_scenarios(before, dataset)
    told = [
        *([f"no rows of {', '.join(gone)}"] if gone else []),
        *([f"new scenarios {', '.join(new)}"] if new else []),
    ]
    if not told:
        return
    words = f"{where}: has {' and '.join(told)}, beside {run}"
    if changed_scenarios == "refuse":
        raise errors.PfrecError(
            f"{words}; with --changed_scenarios=follow those gone are left, and new ones start "
            "from what the others have in common"
        )
    command.warn(words)


def _tell_of_same_rows(run: pathlib.Path, dataset: "dataset_lib.Dataset", where: str) -> None:
    """Warns where a run goes on with the very rows that it was trained on."""
    from pfrec import run_data, run_directory

    config = run_directory.open_run(run, with_models=False).config
    if same := run_data.learned(config, dataset):
        own = config[run_data.PLACE]
        data = f"--data={own}" if own else f"--workers={','.join(flags.FLAGS.workers)}"
        line = shlex.join([data, f"--output={run}", "--resume"])
        command.warn(
            f"{where}: the rows of {', '.join(same)} are those that {run} was trained on; name "
            f"later ones, or train it for more rounds with {line} --rounds=N"
        )


def _is_finished(
    config: "Mapping[str, Any]",
    output: pathlib.Path,
    plan: plan_lib.Plan,
    data: "str | None",
    left_out: "tuple[Sequence[str], int] | None" = ((), 0),
) -> bool:
    """Whether the run in `output` was made by this plan on these data and is finished, which is
    then told; False also where that takes more than reading it.

    Args:
      config: the run's record.
      output, plan, data: what was asked for.
      left_out: the scenarios of the data to skip and the training rows that the others have at
        least; None where the run is of one scenario.
    """
    if not (output / run_records.SUMMARY).exists():
        return False
    place = output / _SYNTHETIC_DATA if data == "synthetic" else data and pathlib.Path(data)
    if config.get("data") != (str(place.resolve()) if place else None):
        return False
    if plan_difference.first(config.get("plan", {}), plan):
        return False
    from pfrec import run_data
    from pfrec.data.dataset import dataset as dataset_lib
    from pfrec.data.dataset import trainable

    if place:
        opened = dataset_lib.Dataset.open(place)
        if run_data.changed(config, opened):
            return False  # The long way, which says of which scenarios the rows are others.
        if left_out is not None:
            asked = trainable.chosen(opened, *left_out)
            if list(asked.scenarios) != config["scenarios"]:
                return False
    summary = run_records.read_summary(output)
    if summary.get("fault"):
        raise errors.PfrecError(f"{output}: {summary['fault']}")
    print(table(summary))
    print(f"run: {output}, finished: there is nothing to resume")
    return True


def open_data(
    data: str, synthetic_path: pathlib.Path, synthetic: "Mapping[str, Any]", seed: int
) -> "dataset_lib.Dataset":
    """Opens `--data`; 'synthetic' is generated at `synthetic_path` by arguments of
    `synthetic.generate` where it is not there yet.

    Raises:
      PfrecError: where there is no dataset, or the synthetic one there was made with other flags.
    """
    from pfrec.data.dataset import dataset as dataset_lib

    if data != "synthetic":
        opened = dataset_lib.Dataset.open(pathlib.Path(data))
        for warning in opened.warnings:
            command.warn(warning)
        if opened.schema.weight is not None:
            weighted = f"{opened.schema.weight!r} multiplies the losses of training rows"
            print(f"note: {weighted}; metrics count all rows alike", file=sys.stderr, flush=True)
        return opened
    if (synthetic_path / "dataset.json").exists():
        place, remedy = synthetic_path / "dataset.json", "remove the directory"
        made = json_fields.Fields(files.read_json(place, remedy=remedy), str(place), remedy)
        found = {"seed": made.integer("split_seed"), **made.fields("options").value}
        found.pop("conflict", None)  # No flag sets it.
        if found != {"seed": seed, **synthetic}:
            told = ", ".join(f"{name} {value}" for name, value in found.items())
            raise errors.PfrecError(
                f"{synthetic_path}: synthetic data of {told}; give the same flags, or choose "
                "another --output"
            )
    else:
        from pfrec.data import synthetic as synthetic_lib

        synthetic_lib.generate(synthetic_path, **synthetic, seed=seed)
    return dataset_lib.Dataset.open(synthetic_path)


def table(summary: "Mapping[str, Any]") -> str:
    """The test metrics as text."""
    spent = [
        f"{scenario}: epsilon {told['epsilon_spent']:.3f} spent at delta {told['delta']:.3g}"
        for scenario, told in summary.get("differential_privacy", {}).items()
    ]
    if not run_records.measured(summary):
        model = f"the model is that of round {summary['best_round']}, the last one trained"
        return "\n".join([*spent, f"metrics are withheld: no round was chosen by them, {model}"])
    counts, numbers = ("rows", "positives"), ("auc", "logloss", "ece")
    lines = [("scenario", "task", *counts, *numbers)]
    for scenario, tasks in summary["test"].items():
        for task, cell in tasks.items():
            texts = [cells.text(cell, name, ".0f") for name in counts]
            texts += [cells.text(cell, name) for name in numbers]
            lines.append((scenario, task, *texts))
    note = run_records.counts_note(summary)
    mean = "undefined" if summary["mean_auc"] is None else f"{summary['mean_auc']:.4f}"
    if summary.get("nan"):
        mean = f"undefined (predictions are NaN: {', '.join(summary['nan'])})"
    told = f"mean test AUC {mean} at round {summary['best_round']} (the best on valid) of "
    told += str(summary["rounds"])
    if early := run_records.ended_early(summary):
        told += f", {early}"
    told += ", finished at home" * run_records.finished(summary)
    counted = [f"note: {note}"] if note else []
    return "\n".join([*text_table.aligned(lines, "llrrrrr"), *counted, *spent, told])


if __name__ == "__main__":
    main()
