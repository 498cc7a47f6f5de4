"""A run that is begun, or gone on with where it is the same."""

import hashlib
import pathlib
from typing import Any, Optional

from pfrec import errors, files, run_data, run_directory, run_records
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.report import run_files
from tff_process import plan as plan_lib
from tff_process import plan_difference, plan_records
from tff_process.runtime import options as options_lib
from tff_process.silos import training as silo_training
from tff_process.training import checks, continuing, own_code


def open_run(
    path: pathlib.Path,
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    resume: bool,
    options: options_lib.Options,
) -> run_directory.RunDirectory:
    """The run that is begun or gone on with, free of what a kill left half-written."""
    if resume and (path / "config.json").exists():
        run = check_same(path, plan, dataset, options)
    else:
        checks.check_new(plan, dataset, options)
        run = _begin(path, plan, dataset, options)
    run.remove_leftovers()
    counts = {name: _counts(dataset, name, bool(options.workers)) for name in dataset.scenarios}
    files.write_json(path / run_files.COUNTS, counts)
    for scenario in dataset.scenarios if not options.workers else ():
        run_data.keep_client_schema(run.client_path(scenario), dataset, scenario)
    return run


def note_begun(
    run: run_directory.RunDirectory, plan: plan_lib.Plan, options: options_lib.Options
) -> None:
    """Notes in a run whose training is up how it is executed from here on, and more rounds where it
    has them: one that did not come up, as where a silo is away, leaves the record as it was, and a
    finished run finished.
    """
    if plan.rounds > run.config["plan"].get("rounds", plan.rounds):
        run.extended_to({**run.config["plan"], "rounds": plan.rounds})
    run.executed_by(options.to_json())


def options_of(begun: "Optional[pathlib.Path]") -> options_lib.Options:
    """How a training is executed where nobody says: as it was before.

    Args:
      begun: the directory of the run, where it goes on.

    Raises:
      PfrecError: where its record is damaged.
    """
    if begun is None or not (begun / run_records.CONFIG).exists():
        return options_lib.Options()
    return options_lib.Options.of_run(run_records.read_config(begun), begun)


def check_same(
    output: pathlib.Path,
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    options: options_lib.Options = options_lib.Options(),
) -> run_directory.RunDirectory:
    """The run in `output`, which must have been begun with this plan, or with one of fewer rounds,
    and these rows, wherever they are now.

    Raises:
      PfrecError: where it was not, or where there is none.
    """
    run = run_directory.RunDirectory.read(output)
    begun = f"{output}: was begun"
    other = "or choose another --output"
    remedy = f"with the same flags and data, {other}"
    before = run.config["plan"]
    more_rounds = plan.rounds > before.get("rounds", plan.rounds)
    if more_rounds and plan.dp_epsilon:
        raise errors.PfrecError(
            f"{begun} with {before['rounds']} rounds, which its noise was made for: more of them "
            f"would pass --dp_epsilon={plan.dp_epsilon:g}; resume {remedy}"
        )
    if more_rounds:
        if plan.schedule != plan_lib.CONSTANT or plan.warmup:
            raise errors.PfrecError(
                f"{output}: was begun with {before['rounds']} rounds, over which its step sizes "
                "follow a schedule; with more it would be another training: choose another --output"
            )
        before = {**before, "rounds": plan.rounds}
    difference = plan_difference.first(before, plan)
    if difference:
        name = difference.partition(" ")[0]
        if name in plan_records.BEFORE and name not in before:
            remedy = f"with --{name}={plan_records.BEFORE[name]:g}, as all were then, {other}"
        elif getattr(plan, name, None) == plan_records.AS_THE_BUDGET and name in before:
            # Then the same flags may have meant something else.
            remedy = f"with --{name}={before[name]:g}, {other}"
        raise errors.PfrecError(f"{begun} with another plan: {difference}; resume {remedy}")
    for key, value in config(plan, dataset).items():
        if key in _OF_PLAN or files.json_text(run.config.get(key)) == files.json_text(value):
            continue
        if key == run_data.DIGESTS:
            names = ", ".join(run_data.changed(run.config, dataset) or dataset.scenarios)
            raise errors.PfrecError(
                f"{begun} on other rows of {names} than {dataset.path} holds now; resume {remedy}"
            )
        raise errors.PfrecError(f"{begun} with another {key}; resume {remedy}")
    own_code.warn_of_edits(run, plan)
    if not options.workers:
        run.moved_to(run_data.places(output, dataset.path))
    return run


# What config.json says of the plan besides the plan, for readers that need nothing else of it.
_OF_PLAN = ("plan", "algorithm", "model", "seed")


def config(plan: plan_lib.Plan, dataset: dataset_lib.Dataset) -> "dict[str, Any]":
    """What makes a run what it is; a run that is resumed must have the same."""
    return {
        "plan": plan.to_json(),
        "algorithm": plan.name,
        "model": plan.model.to_json(),
        "seed": plan.seed,
        "schema": dataset.schema.to_json(),
        "scenarios": list(dataset.scenarios),
        run_data.DIGESTS: {name: dataset.digests.get(name) for name in dataset.scenarios},
    }


def _begin(
    output: pathlib.Path,
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    options: options_lib.Options,
) -> run_directory.RunDirectory:
    told = named = config(plan, dataset)
    new: dict[str, Any] = {run_records.OPTIONS: options.to_json(), **own_code.record(plan)}
    if plan.continues:
        before = run_directory.RunDirectory.read(pathlib.Path(plan.init_from))
        new[continuing.NEW] = continuing.changed_scenarios(before, dataset)[1]
    if options.workers:
        # In the silos: so are the data and what each client knows of its schema.
        if plan.continues:
            # What silos carried over of one run is not for a training that goes on from another,
            # which may have taken its place.
            named = {**told, "before": before.identity}
        identity = silo_training.identity(named, output)
        return run_directory.RunDirectory.create(
            output, {**told, **new, "id": identity, run_data.PLACE: None}
        )
    identity = hashlib.sha256(files.json_text(told).encode()).hexdigest()[:16]
    return run_directory.RunDirectory.create(
        output, {**told, **new, "id": identity, **run_data.places(output, dataset.path)}
    )


def _counts(dataset: dataset_lib.Dataset, scenario: str, silos: bool) -> "dict[str, Any]":
    """Rows and labels by split, as far as they are known: a silo tells its training rows alone, and
    coarsely.
    """
    if silos:
        return {"train": {"rows": dataset.rows(scenario, "train")}}
    return {
        split: {
            "rows": counts.rows,
            "observed": dict(counts.observed),
            "positives": dict(counts.positives),
        }
        for split, counts in dataset.counts[scenario].items()
    }
