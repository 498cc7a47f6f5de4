"""A whole training: rounds, evaluation, choice of the best round on `valid`, test at that round,
and a directory that survives a kill.
"""

import contextlib
import dataclasses
import functools
import logging
import os
import pathlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Callable, Optional, Protocol, Union

import numpy as np

from pfrec import errors, files, run_directory, run_records
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.report import run_page
from tff_process import plan as plan_lib
from tff_process.algorithms import robust as robust_lib
from tff_process.process import round_report
from tff_process.runtime import cache as cache_lib
from tff_process.runtime import hosts
from tff_process.runtime import options as options_lib
from tff_process.training import (
    automatic,
    beginning,
    checks,
    continuing,
    results,
    runtimes,
    selection,
    spreading,
)
from tff_process.training import callbacks as callbacks_lib

_log = logging.getLogger(__name__)


class Training(spreading.Training, Protocol):
    """What the loop needs of federated and pooled training alike.

    Attributes:
      rounds: how many there are at most.
      finds_spread: whether how far apart clients stay is found on valid after every round; what
        `spreading.Training` asks for is called there alone.
    """

    rounds: int
    finds_spread: bool

    def train_round(self, round_number: int) -> round_report.RoundReport:
        """Trains round `round_number`, counted from 0."""
        ...

    def evaluate(self, split: str) -> np.ndarray:
        """Metrics, float64 [scenarios, tasks, metrics]."""
        ...

    def evaluate_spreads(self, split: str, factors: "Sequence[float]") -> np.ndarray:
        """`evaluate` with the clients' differences from the consensus times each factor, float64
        [factors, scenarios, tasks, metrics]; asked where `finds_spread`.
        """
        ...

    def finish_at_home(self, round_number: int) -> "tuple[np.ndarray, list[str]]":
        """Lets clients finish what they serve; called once, where the plan says so, when the best
        round's state is current. Metrics on test, float64 [scenarios, tasks, metrics], and the
        scenarios that did.
        """
        ...

    def to_save(self) -> run_directory.RoundState:
        """All state."""
        ...

    def restore(self, saved: run_directory.RoundState) -> None:
        """Continues from saved state."""
        ...

    def after_round(self, versions: "Sequence[Mapping[str, int]]") -> None:
        """Called when a round is complete, with the clients' versions that are still needed."""
        ...

    def finish(self, round_number: int, test: "Mapping[str, Any]") -> None:
        """Called once, when the best round's state is current, with the metrics on test."""
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


# A callback, or a function of each round's number and `selection.score`.
Progress = Union[callbacks_lib.Callback, Callable[[int, float], None]]


def train(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    output: "Union[str, os.PathLike[str]]",
    *,
    resume: bool = False,
    options: Optional[options_lib.Options] = None,
    cache: "Optional[cache_lib.ComputationCache]" = None,
    progress: Progress = lambda round_number, score: None,
    callbacks: "Sequence[callbacks_lib.Callback]" = (),
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
      resume: whether to continue after the last complete round; with more rounds in the plan than
        before, a finished run is extended.
      options: how it is executed, which does not change what comes out; None for the
        defaults, but for what lasts (`options.LASTING`) of a run that is resumed.
      cache: keeps what is traced and compiled for a simulation;
        None where no other run is to use it.
      progress: shows each round, before the callbacks: one itself, or a function of the round's
        number and its `selection.score`.
      callbacks: hooks around the rounds, called in order when a round is complete.

    Raises:
      PfrecError: for bad data, scenarios that nothing can be learned from
        (`trainable.require`), a directory that does not fit, or no space left.
    """
    checks.check_given(plan, dataset)
    errors.require_kind(callbacks, Iterable, "callbacks", "give a list of them")
    callbacks = tuple(callbacks)
    for one in callbacks:
        errors.require_kind(
            one,
            callbacks_lib.Callback,
            "one of the callbacks",
            "derive it from tff_process.training.callbacks.Callback, or pass a function of each "
            "round's number and score as progress",
        )
    path = pathlib.Path(output)
    plan = automatic.resolved(plan, path if resume else None)
    if options is None:
        options = beginning.options_of(path if resume else None)
    checks.check(plan, dataset, options)
    if not options.workers:
        dataset.verify()
    started = time.monotonic()
    with files.Lock(path), contextlib.ExitStack() as ending, contextlib.ExitStack() as refused:
        new = not (path / "config.json").exists()
        run = beginning.open_run(path, plan, dataset, resume, options)
        ending.callback(run.remove_spares)
        if new:
            refused.push(functools.partial(_discard_refused, run))
        options = continuing.with_newcomers(options, run)
        shown = (
            progress
            if isinstance(progress, callbacks_lib.Callback)
            else callbacks_lib.Progress(progress)
        )
        hooks = (callbacks_lib.Times(run), shown, *callbacks)
        with runtimes.start(_needed(plan, run), dataset, run, options, cache) as training:
            if plan.continues and not run.rounds():
                continuing.begin(run, training)
            refused.pop_all()  # It is up: what is begun from here on is kept.
            beginning.note_begun(run, plan, options)
            summary = _loop(plan, dataset, run, training, options, hooks)
            if plan.dp_epsilon:
                summary["differential_privacy"] = training.charges.to_json()
        summary["wall_seconds"] = round(time.monotonic() - started, 1)
        files.write_json(run.path / "summary.json", summary)
        run_page.write(run.path)
    for hook in hooks:
        hook.after_training(summary=summary)
    return Outcome(run, summary)


def _needed(plan: plan_lib.Plan, run: run_directory.RunDirectory) -> plan_lib.Plan:
    """The plan without the run that a newcomer's first values come from, where a complete round
    holds what became of them and no client finishes from them.
    """
    if plan.continues or plan.finishes or not run.rounds():
        return plan
    return dataclasses.replace(plan, init_from="")


def _discard_refused(
    run: run_directory.RunDirectory, kind: "Optional[type[BaseException]]", *_: Any
) -> None:
    """Removes a run whose training was refused before it was up, so that the mended command can
    have the same directory.
    """
    if kind is not None and issubclass(kind, errors.PfrecError):
        run.discard()


def _loop(
    plan: plan_lib.Plan,
    dataset: dataset_lib.Dataset,
    run: run_directory.RunDirectory,
    training: Training,
    options: options_lib.Options,
    hooks: "Sequence[callbacks_lib.Callback]",
) -> "dict[str, Any]":
    done, meta = _resume(run, training)
    robust = plan.robust != robust_lib.NONE
    # How many rounds changed the server's state, and why the first of the others did not.
    changed, why = meta.get("changed_rounds", done), meta.get("unchanged_because", "")
    measured = plan_lib.METRICS not in plan.withhold
    best = selection.Best(meta["best_round"] if done else 0)
    if measured and done:
        # By what it came to, since what is best may be measured otherwise than when it was chosen.
        best = selection.Best.of(best.round, results.on_valid(run.path, dataset, best.round))

    def values_on(split: str) -> np.ndarray:
        if not measured:
            return results.unknown(dataset)
        return results.measured(dataset, training.evaluate(split))

    def spreads_on_valid(factors: "Sequence[float]") -> np.ndarray:
        told = training.evaluate_spreads("valid", factors)
        return np.stack([results.measured(dataset, values) for values in told])

    # A round is complete once its state is committed: what is written before that is taken out
    # again where a kill cuts it off.
    writers = [
        callbacks_lib.Metrics(run, dataset, plan_lib.LOSS not in plan.withhold, measured),
        callbacks_lib.Diagnostics(run),
    ]
    stopping, rounds = callbacks_lib.EarlyStopping(plan.patience), training.rounds
    for hook in (*writers, stopping, *hooks):
        hook.before_training(done=done, best_round=best.round, rounds=rounds)
    ended = bool(done) and stopping.after_round(number=done, best_round=best.round)
    trained = done
    for number in range(done + 1, rounds + 1):
        if ended:
            break
        report = training.train_round(number - 1)
        if training.finds_spread:
            values, report = spreading.after_round(training, report, spreads_on_valid, robust)
        else:
            values = values_on("valid")
        score = selection.score(values)
        nan = results.nan(dataset, values)
        if nan:
            _log.warning("round %d: predictions on valid are NaN: %s", number, ", ".join(nan))
        if measured and np.isnan(score):
            raise errors.PfrecError(
                f"{dataset.path}: no scenario's valid split holds both classes of any task; a best "
                "round cannot be chosen, convert with more rows"
            )
        # Where metrics are withheld nothing is known of any round: the last one is chosen.
        best = best.after(number, values, robust) if measured else selection.Best(number)
        told: dict[str, Any] = {
            "number": number,
            "best_round": best.round,
            "score": score,
            "values": values,
            "report": report,
        }
        changed += report.applied
        why = why or results.why_not_applied(report)
        state = training.to_save()
        for hook in writers:
            hook.after_round(**told)
        meta = {**state.meta, "best_round": best.round}
        meta.update(changed_rounds=changed, unchanged_because=why)
        run.commit(number, dataclasses.replace(state, meta=meta))
        training.after_round(_keep_last(run, options.keep_rounds))
        answers = [hook.after_round(**told) for hook in (stopping, *hooks)]
        ended, trained = any(answers), number
    if measured and best.round == rounds > 1:
        budgets = [name for name in ("max_steps", "max_rows") if getattr(plan, name)]
        _log.warning(
            "%s: the best round is the last one, %d; with more --%s it may become better",
            run.path,
            rounds,
            "rounds" if rounds == plan.rounds else " and --".join(budgets),
        )
    training.restore(run.load(best.round))
    finished: dict[str, str] = {}
    if plan.finishes:
        run.remove_finished()
        _log.info("each client finishes what it serves of round %d on its own rows", best.round)
        told_at_home, who = training.finish_at_home(best.round)
        values = results.measured(dataset, told_at_home)
        finished = run.finished(best.round, who)
    else:
        values = values_on("test")
    rows = callbacks_lib.metric_rows(best.round, dataset, "test", values) if measured else []
    run.append_metrics(rows)
    summary = results.summary(plan, dataset, best.round, values)
    # Patience or a callback may have ended it before all that were planned.
    summary.update({"rounds": trained, run_records.PLANNED: rounds})
    summary.update(changed_rounds=changed, unchanged_because=why)
    if finished:
        summary[run_directory.FINISHED] = finished
    summary["fault"] = results.fault(summary)
    if not summary["fault"]:
        training.finish(best.round, summary["test"])
    return summary


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
            f"{run.path}: every kept round is damaged, or the clients' states of it are gone (the "
            "warnings say which); train into another --output"
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
