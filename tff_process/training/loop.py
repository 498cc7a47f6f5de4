"""A whole training: rounds, evaluation, choice of the best round on `valid`, test at that round,
and a directory that survives a kill.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
import time
from collections.abc import Iterator, Mapping
from typing import Any, Callable, Optional, Protocol, Union

import numpy as np
import tensorflow_federated as tff

from pfrec import errors, files, run_directory
from pfrec import metrics as metrics_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models import precision
from tff_process import plan as plan_lib
from tff_process.algorithms import registry
from tff_process.process import federation
from tff_process.process import reference as reference_lib
from tff_process.runtime import cache as cache_lib
from tff_process.runtime import hosts, reference_context, simulation
from tff_process.runtime import options as options_lib
from tff_process.silos import training as silo_training
from tff_process.training import pooled, privacy_manifest, selection

_log = logging.getLogger(__name__)
_BELOW_ALL = -1.0  # no score


class Training(Protocol):
    """What the loop needs of federated and pooled training alike.

    Attributes:
      round_steps: batches of a round, of the client with most of them.
    """

    round_steps: int

    def train_round(self, round_number: int) -> federation.RoundReport:
        """Trains round `round_number`, counted from 0."""
        ...

    def evaluate(self, split: str) -> np.ndarray:
        """Metrics, float64 [scenarios, tasks, metrics]."""
        ...

    def to_save(self) -> run_directory.RoundState:
        """All state."""
        ...

    def restore(self, saved: run_directory.RoundState) -> None:
        """Continues from saved state."""
        ...


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Attributes:
      run: its directory.
      summary: the content of summary.json.
    """

    run: run_directory.RunDirectory
    summary: "dict[str, Any]"


Progress = Callable[[int, float], None]


def train(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    output: "Union[str, os.PathLike[str]]",
    *,
    resume: bool = False,
    options: options_lib.Options = options_lib.Options(),
    cache: "Optional[cache_lib.ComputationCache]" = None,
    progress: Progress = lambda round_number, score: None,
) -> Outcome:
    """Trains, evaluates and writes a run directory.

        >>> import pfrec
        >>> plan = pfrec.Plan("pf_msmtrec", rounds=1, aggregations=1, batch_size=64)
        >>> outcome = pfrec.train(plan, pfrec.Dataset.open("data"), "run")
        >>> outcome.summary["best_round"], sorted(outcome.summary["test"])
        (1, ['fr', 'nl'])

    Args:
      plan: what to do.
      dataset: on what; where the options name silos, what `silo_training.survey` found.
      output: the run directory: new or empty, or, with `resume`, one that a training with the same
        plan and data began.
      resume: whether to continue after the last complete round.
      options: how it is executed, which does not change what comes out.
      cache: keeps what is traced and compiled for a simulation;
        None where no other run is to use it.
      progress: called after each round with its number and its `selection.score`.

    Raises:
      PfrecError: for bad data, a directory that does not fit, or no space left.
    """
    if isinstance(plan.algorithm, str):
        registry.check(plan.algorithm)
    path = pathlib.Path(output)
    if not options.workers:
        precision.check(plan.precision)
        dataset.verify()
    started = time.monotonic()
    if resume and (path / "config.json").exists():
        run = check_same(path, plan, dataset, options)
        run.remove_leftovers()
    else:
        run = run_directory.RunDirectory.create(path, _config(plan, dataset, options))
    with _training(plan, dataset, run, options, cache) as training:
        summary = _loop(plan, dataset, run, training, options, progress)
        if isinstance(training, silo_training.SiloTraining):
            training.finish(summary["best_round"], summary["test"])
    summary["wall_seconds"] = round(time.monotonic() - started, 1)
    files.write_json(run.path / "summary.json", summary)
    return Outcome(run, summary)


def check_same(
    output: pathlib.Path,
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    options: options_lib.Options = options_lib.Options(),
) -> run_directory.RunDirectory:
    """The run in `output`, which must have been begun with this plan and data.

    Raises:
      PfrecError: where it was not, or where there is none.
    """
    run = run_directory.RunDirectory.read(output)
    begun = f"{output}: was begun with another"
    remedy = "resume with the same flags and data, or choose another --output"
    difference = plan_lib.first_difference(run.config["plan"], plan)
    if difference:
        raise errors.PfrecError(f"{begun} plan: {difference}; {remedy}")
    for key, value in _config(plan, dataset, options).items():
        if key not in _OF_PLAN and files.json_text(run.config[key]) != files.json_text(value):
            raise errors.PfrecError(f"{begun} {key}; {remedy}")
    return run


# What config.json says of the plan besides the plan, for readers that need nothing else of it.
_OF_PLAN = ("plan", "algorithm", "model", "seed")


def _config(
    plan: plan_lib.Plan, dataset: dataset_lib.Dataset, options: options_lib.Options
) -> "dict[str, Any]":
    return {
        "data": None if options.workers else str(dataset.path.resolve()),  # None: in the silos
        "plan": plan.to_json(),
        "algorithm": plan.name,
        "model": plan.model.to_json(),
        "seed": plan.seed,
        "schema": dataset.schema.to_json(),
        "scenarios": list(dataset.scenarios),
    }


@contextlib.contextmanager
def _training(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    run: run_directory.RunDirectory,
    options: options_lib.Options,
    cache: "Optional[cache_lib.ComputationCache]",
) -> Iterator[Training]:
    if plan.pooled:
        yield pooled.PooledTraining(plan, dataset)
        return
    if options.workers:
        with silo_training.silo_training(
            plan,
            dataset,
            run,
            options,
            silo_training.identity(_config(plan, dataset, options), run.path),
        ) as training:
            privacy_manifest.write(run.path / "privacy_manifest.json", training)
            yield training
        return
    if options.runtime == options_lib.REFERENCE:
        with reference_context.Worker(
            run.path / "logs" / "worker.log", options.max_concurrent_clients
        ) as running:
            with tff.framework.get_context_stack().install(running.context()):
                reference = reference_lib.FederatedTraining(plan, dataset)
                privacy_manifest.write(run.path / "privacy_manifest.json", reference)
                yield reference
        return
    with simulation.resident_training(plan, dataset, run, options, cache) as simulated:
        privacy_manifest.write(run.path / "privacy_manifest.json", simulated)
        yield simulated


def _loop(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    run: run_directory.RunDirectory,
    training: Training,
    options: options_lib.Options,
    progress: Progress,
) -> "dict[str, Any]":
    done, meta = _resume(run, training)
    if done and "best_score" not in meta:
        raise errors.PfrecError(
            f"{run.path}: begun by a pfrec that chose the best round otherwise; train into "
            "another --output"
        )
    best: Optional[tuple[int, float]] = (meta["best_round"], meta["best_score"]) if done else None
    measured = plan_lib.METRICS not in plan.withhold
    run.begin_metrics(done)
    rounds = (
        min(plan.rounds, -(-plan.max_steps // training.round_steps))
        if plan.max_steps
        else plan.rounds
    )
    for number in range(done, rounds):
        if best is not None and 0 < plan.patience <= number - best[0]:
            break
        report = training.train_round(number)
        values = training.evaluate("valid") if measured else _unknown(dataset)
        score = selection.score(values)
        told = {} if plan_lib.LOSS in plan.withhold else report.loss
        rows = [
            (number + 1, scenario, "train", "all", "loss", loss) for scenario, loss in told.items()
        ]
        if measured:
            rows += _rows(number + 1, dataset, "valid", values)
        if measured and np.isnan(score):
            raise errors.PfrecError(
                f"{dataset.path}: no scenario's valid split holds both classes of any task; a best "
                "round cannot be chosen, convert with more rows"
            )
        # A mean over other scenarios cannot be compared: a round that a skipped client is missing
        # from is the best one only for want of another.
        whole = measured and not np.isnan(values[:, :, metrics_lib.METRICS.index("rows")]).any()
        # Where metrics are withheld nothing is known of any round: the last one is chosen.
        if best is None or not measured or (whole and score > best[1]):
            best = (number + 1, score if whole else _BELOW_ALL)
        state = training.to_save()
        # Before the round is complete: what is added for one that a kill cuts off is taken out
        # again when it is resumed.
        run.append_metrics(rows)
        _write_diagnostics(run, number + 1, report)
        meta = {**state.meta, "best_round": best[0], "best_score": best[1]}
        run.commit(number + 1, dataclasses.replace(state, meta=meta))
        versions = _keep_last(run, options.keep_rounds)
        if isinstance(training, silo_training.SiloTraining):
            training.keep(versions)
        progress(number + 1, score)
    assert best is not None
    if best[0] == rounds > 1:
        budget = "--rounds" if rounds == plan.rounds else "--max_steps"
        _log.warning(
            "%s: the best round is the last one, %d; with more %s it may become better",
            run.path,
            rounds,
            budget,
        )
    training.restore(run.load(best[0]))
    values = training.evaluate("test") if measured else _unknown(dataset)
    run.append_metrics(_rows(best[0], dataset, "test", values) if measured else [])
    return _summary(plan, dataset, best[0], values)


def _resume(run: run_directory.RunDirectory, training: Training) -> "tuple[int, Mapping[str, Any]]":
    """Continues from the last complete round that is undamaged; returns its number, 0 for none,
    and its meta.

    Raises:
      PfrecError: where there are complete rounds and all are damaged.
    """
    rounds = run.rounds()
    for number in reversed(rounds):
        try:
            saved = run.load(number)
            training.restore(saved)
            return number, saved.meta
        except hosts.OutOfReachError:
            raise  # What is away is not damaged.
        except errors.PfrecError as error:
            _log.warning(
                "%s: round %d cannot be used (%s); going back to the one before",
                run.path,
                number,
                error,
            )
    if rounds:
        raise errors.PfrecError(
            f"{run.path}: every kept round is damaged; train into another --output, with a larger "
            "--keep_rounds"
        )
    return 0, {}


def _keep_last(run: run_directory.RunDirectory, count: int) -> "list[Mapping[str, int]]":
    """Keeps the last rounds, and for each of them the one that was best until then:
    going back must find its test round too.

    Returns:
      for each kept round, by scenario, the version of the client's state that belongs to it.
    """
    last = run.rounds()[-count:]
    kept = {*last, *(run.meta(number)["best_round"] for number in last)}
    versions = [run.meta(number)["versions"] for number in sorted(kept)]
    run.keep_only(kept)
    return versions


def mean_metric(values: np.ndarray, metric: str) -> float:
    """The mean of a metric over scenario-task pairs where it is defined;
    NaN where it is nowhere.
    """
    column = values[:, :, metrics_lib.METRICS.index(metric)]
    defined = column[~np.isnan(column)]
    return float(defined.mean()) if defined.size else float("nan")


def _unknown(dataset: dataset_lib.Dataset) -> np.ndarray:
    """Metrics of which nothing is known."""
    return np.full(
        [len(dataset.scenarios), len(dataset.schema.tasks), len(metrics_lib.METRICS)], np.nan
    )


def _rows(
    round_number: int, dataset: dataset_lib.Dataset, split: str, values: np.ndarray
) -> "list[run_directory.MetricRow]":
    return [
        (round_number, scenario, split, task.name, metric, float(values[s, t, m]))
        for s, scenario in enumerate(dataset.scenarios)
        for t, task in enumerate(dataset.schema.tasks)
        for m, metric in enumerate(metrics_lib.METRICS)
        if not (metric == "gauc" and dataset.schema.group is None)
    ]


def _write_diagnostics(
    run: run_directory.RunDirectory, number: int, report: federation.RoundReport
) -> None:
    value: dict[str, Any] = {
        name: np.asarray(array).tolist() for name, array in report.diagnostics.items()
    }
    value.update(
        {
            name: dict(getattr(report, name))
            for name in ("refused", "skipped", "clipped")
            if getattr(report, name)
        }
    )
    if not report.applied:
        value["applied"] = False
    if value:
        files.write_json(run.path / "diagnostics" / f"round_{number:05d}.json", value)


def _summary(
    plan: plan_lib.Plan, dataset: dataset_lib.Dataset, best_round: int, values: np.ndarray
) -> "dict[str, Any]":
    test: dict[str, Any] = {}
    for s, scenario in enumerate(dataset.scenarios):
        for t, task in enumerate(dataset.schema.tasks):
            cell = dict(zip(metrics_lib.METRICS, values[s, t].tolist()))
            known = {name: None if value != value else value for name, value in cell.items()}
            known.update(
                {name: int(cell[name]) for name in ("rows", "positives") if known[name] is not None}
            )
            test.setdefault(scenario, {})[task.name] = known
    mean_auc = mean_metric(values, "auc")
    return {
        "algorithm": plan.name,
        "seed": plan.seed,
        "rounds": plan.rounds,
        "best_round": best_round,
        "mean_auc": None if np.isnan(mean_auc) else mean_auc,
        "test": test,
    }
