"""The loop over rounds, on a training whose AUC on `valid` is written down beforehand."""

import contextlib
import csv
import dataclasses

import numpy as np
import pytest

from pfrec import cells, errors, metrics, run_directory
from pfrec import run_records as run_records_lib
from tff_process import plan
from tff_process.process import round_report
from tff_process.runtime import options
from tff_process.training import beginning, callbacks, loop


class Scripted:
    """A training that comes to given AUCs, round by round, of ten batches each;
    its state is the number of rounds done.
    """

    finds_spread = False

    def __init__(self, asked, dataset, script):
        self.rounds = asked.rounds_of(10)
        self._shape = [len(dataset.scenarios), len(dataset.schema.tasks), len(metrics.METRICS)]
        self._script, self.done = script, 0

    def train_round(self, number):
        assert number == self.done
        self.done += 1
        return round_report.RoundReport({}, {})

    def evaluate(self, split):
        values = np.zeros(self._shape)
        auc = self._script[self.done - 1]
        for name, value in (("auc", auc), ("rows", 4), ("positives", 2)):
            values[:, :, metrics.METRICS.index(name)] = value
        # A model that answers NaN has no loss either.
        values[:, :, metrics.METRICS.index("logloss")] = 0.5 + 0.0 * np.asarray(auc)
        return values

    def to_save(self):
        return run_directory.RoundState({"done": np.int64(self.done)}, {}, {})

    def restore(self, saved):
        self.done = int(saved.server["done"])

    def after_round(self, versions):
        self.told = versions

    def finish(self, round_number, test):
        self.finished = round_number


def summary(path, dataset, script, progress=lambda number, score: None, more=(), **settings):
    """Trains, or goes on, to the script; the summary and the rounds whose AUC was written."""
    asked = plan.Plan("local", **settings)
    opened = path.exists()
    run = (
        run_directory.RunDirectory(path, {"scenarios": []})
        if opened
        else run_directory.RunDirectory.create(path, {"scenarios": []})
    )
    hooks = (callbacks.Progress(progress), *more)
    training = Scripted(asked, dataset, script)
    made = loop._loop(asked, dataset, run, training, options.Options(), hooks)
    with (path / "metrics.csv").open(newline="") as stream:
        return made, sorted(
            {int(row["round"]) for row in csv.DictReader(stream) if row["split"] == "valid"}
        )


@pytest.mark.parametrize(
    ("patience", "best", "rounds"),
    [(0, 6, 6), (1, 1, 2), (2, 4, 6), (3, 6, 6)],
)
def test_patience_ends_a_training_that_does_not_get_better(
    dataset, tmp_path, patience, best, rounds
):
    """It counts the rounds since the best one, and begins anew with every better one."""
    script = [0.6, 0.5, 0.55, 0.7, 0.65, 0.8] if patience != 2 else [0.6, 0.5, 0.65, 0.7, 0.65, 0.6]
    made, seen = summary(tmp_path / "run", dataset, script, rounds=6, patience=patience)
    assert made["best_round"] == best
    assert (made["rounds"], made["planned_rounds"]) == (rounds, 6)
    assert seen == list(range(1, rounds + 1))


def test_a_summary_tells_the_rounds_that_were_trained_where_a_callback_ended_them(
    dataset, tmp_path
):
    class Ending(callbacks.Callback):
        def after_round(self, *, number, **others):
            return number == 3

    script = [0.5, 0.6, 0.55, 0.7, 0.8]
    made, seen = summary(tmp_path / "run", dataset, script, more=[Ending()], rounds=5)
    assert (made["rounds"], made["planned_rounds"], made["best_round"]) == (3, 5, 2)
    assert made["changed_rounds"] == 3
    assert seen == [1, 2, 3]
    assert run_records_lib.ended_early(made) == "ended after 3 of 5 rounds"


@pytest.mark.parametrize(
    ("steps", "rounds"), [(0, 6), (1, 1), (10, 1), (11, 2), (35, 4), (1000, 6)]
)
def test_max_steps_ends_a_training_with_the_round_that_reaches_them(
    dataset, tmp_path, steps, rounds
):
    made, seen = summary(tmp_path / "run", dataset, [0.5] * 6, rounds=6, max_steps=steps)
    assert made["rounds"] == made["planned_rounds"] == rounds
    assert run_records_lib.ended_early(made) == ""
    assert seen == list(range(1, rounds + 1))


@pytest.mark.parametrize(
    ("rows", "steps", "rounds"),
    [(1, 0, 1), (320, 0, 1), (321, 0, 2), (1000, 0, 4), (9999, 0, 6), (1000, 15, 2), (321, 35, 2)],
)
def test_max_rows_ends_a_training_with_the_round_that_reaches_them(
    dataset, tmp_path, rows, steps, rounds
):
    """Rounds of ten batches of 32; of two budgets the smaller one counts."""
    settings = {"batch_size": 32, "rounds": 6, "max_rows": rows, "max_steps": steps}
    _, seen = summary(tmp_path / "run", dataset, [0.5] * 6, **settings)
    assert seen == list(range(1, rounds + 1))


def test_a_best_round_that_is_the_last_one_is_warned_of(dataset, tmp_path, caplog):
    summary(tmp_path / "risen", dataset, [0.5, 0.6], rounds=2)
    assert "the best round is the last one, 2; with more --rounds" in caplog.text
    caplog.clear()
    summary(tmp_path / "short", dataset, [0.5, 0.6], rounds=9, max_steps=20)
    assert "the best round is the last one, 2; with more --max_steps it" in caplog.text
    caplog.clear()
    budgets = {"batch_size": 32, "max_steps": 20, "max_rows": 640}
    summary(tmp_path / "both", dataset, [0.5, 0.6], rounds=9, **budgets)
    assert "2; with more --max_steps and --max_rows it" in caplog.text
    caplog.clear()
    summary(tmp_path / "fallen", dataset, [0.6, 0.5], rounds=2)
    assert not caplog.text


def test_a_training_that_patience_has_ended_is_not_taken_up_again(dataset, tmp_path):
    class KilledError(Exception):
        pass

    def kill(number, score):
        if number == 3:
            raise KilledError

    script = [0.6, 0.5, 0.4, 0.9]
    with pytest.raises(KilledError):
        summary(tmp_path / "run", dataset, script, kill, rounds=4, patience=2)
    made, seen = summary(tmp_path / "run", dataset, script, rounds=4, patience=2)
    assert (made["best_round"], seen) == (1, [1, 2, 3])
    assert (made["rounds"], made["planned_rounds"]) == (3, 4)


@pytest.mark.parametrize("old", [{}, {"best_score": 0.9, "best_scenarios": [0.9]}])
def test_a_run_whose_best_round_was_chosen_otherwise_goes_on_by_what_it_came_to(
    dataset, tmp_path, old
):
    """A run of an older pfrec: what its state says of the score is of another rule, or nothing."""
    summary(tmp_path / "run", dataset, [0.7, 0.6], rounds=2)
    opened = run_directory.RunDirectory(tmp_path / "run", {"scenarios": []})
    state = opened.load(2)
    opened.commit(2, dataclasses.replace(state, clients={}, meta={**state.meta, **old}))
    made, _ = summary(tmp_path / "run", dataset, [0.7, 0.6, 0.65, 0.75], rounds=3)
    assert made["best_round"] == 1
    made, _ = summary(tmp_path / "run", dataset, [0.7, 0.6, 0.65, 0.75], rounds=4)
    assert made["best_round"] == 4


def test_a_run_is_not_resumed_where_what_its_best_round_came_to_is_lost(dataset, tmp_path):
    """Any round would be better than one of which nothing is known."""
    summary(tmp_path / "run", dataset, [0.6, 0.7, 0.5], rounds=3)
    table = tmp_path / "run" / "metrics.csv"
    lines = table.read_text().splitlines()
    last = f"2,{dataset.scenarios[-1]},valid,{dataset.schema.tasks[-1].name},rows"
    for lost in (last, "2,"):
        table.write_text("\n".join(line for line in lines if not line.startswith(lost)))
        with pytest.raises(errors.PfrecError, match="does not tell what round 2, the best one"):
            summary(tmp_path / "run", dataset, [0.6, 0.7, 0.5, 0.65], rounds=4)
    table.write_text("\n".join(lines).replace("0.7", "o.7"))
    with pytest.raises(errors.PfrecError, match=r"metrics\.csv: cannot be read"):
        summary(tmp_path / "run", dataset, [0.6, 0.7, 0.5, 0.65], rounds=4)
    # A client that was skipped is told of, by nothing; a line that a kill cut is of no round.
    known = [f"{last}," if line.startswith(last) else line for line in lines]
    table.write_text("\n".join([*known, "4,nl,va"]))
    made, _ = summary(tmp_path / "run", dataset, [0.6, 0.7, 0.5, 0.65], rounds=4)
    assert made["best_round"] == 4


class Recorder(callbacks.Callback):
    """Keeps what it is told, and ends the training after a round."""

    def __init__(self, last):
        self.last, self.seen = last, []

    def before_training(self, *, done, **others):
        self.seen.append(("before", done))

    def after_round(self, *, number, best_round, score, **others):
        self.seen.append((number, best_round, round(score, 6)))
        return number == self.last


def test_a_users_callbacks_are_told_of_complete_rounds_and_may_end_the_training(dataset, tmp_path):
    recorder = Recorder(3)
    script = [0.6, 0.7, 0.5, 0.9]
    made, seen = summary(tmp_path / "run", dataset, script, more=(recorder,), rounds=4)
    assert recorder.seen == [("before", 0), (1, 1, 0.6), (2, 2, 0.7), (3, 2, 0.5)]
    assert (made["best_round"], seen) == (2, [1, 2, 3])
    assert run_directory.RunDirectory(tmp_path / "run", {"scenarios": []}).rounds() == [2, 3]


def test_a_callback_that_overrides_nothing_changes_nothing(dataset, tmp_path):
    made, seen = summary(
        tmp_path / "run", dataset, [0.6, 0.7], more=(callbacks.Callback(),), rounds=2
    )
    assert (made["best_round"], seen) == (2, [1, 2])


def test_nan_is_told_by_name_spoils_the_mean_and_is_the_worst_round(dataset, tmp_path, caplog):
    """Not "one class": the remedy is another."""
    nan = np.array([[float("nan"), 0.9]] * 3)
    made, _ = summary(tmp_path / "run", dataset, [0.55, nan], rounds=2)
    assert (made["best_round"], made["nan"], made["mean_auc"]) == (1, [], pytest.approx(0.55))
    assert "round 2: predictions on valid are NaN: es ctr, fr ctr, nl ctr" in caplog.text
    made, _ = summary(tmp_path / "spoilt", dataset, [nan], rounds=1)
    assert made["nan"] == ["es ctr", "fr ctr", "nl ctr"]
    assert made["mean_auc"] is None
    assert made["fault"] == ""
    made, _ = summary(tmp_path / "lost", dataset, [float("nan")], rounds=1)
    assert made["fault"].startswith("every prediction on test is NaN")


def test_a_silo_that_is_away_at_the_test_is_unknown_and_in_no_mean(dataset, tmp_path, monkeypatch):
    whole = Scripted.evaluate

    def evaluate(self, split):
        values = whole(self, split)
        if split == "test":
            values[0] = np.nan  # as `skip` leaves it: the number of rows too
        return values

    monkeypatch.setattr(Scripted, "evaluate", evaluate)
    made, _ = summary(tmp_path / "run", dataset, [0.55], rounds=1)
    assert made["test"]["es"]["ctr"]["rows"] is None
    assert cells.text(made["test"]["es"]["ctr"], "auc") == cells.UNKNOWN
    assert made["test"]["fr"]["ctr"]["rows"] == 4
    assert (made["mean_auc"], made["nan"]) == (pytest.approx(0.55), [])


def test_a_training_that_changed_nothing_is_at_fault_also_after_a_resume(dataset, tmp_path):
    class Refused(Scripted):
        def train_round(self, number):
            self.done += 1
            return round_report.RoundReport({}, {}, refused={"nl": "too large"}, applied=False)

    class KilledError(Exception):
        pass

    def kill(number, score):
        raise KilledError

    def run(opened, progress):
        asked = plan.Plan("local", rounds=2)
        made = Refused(asked, dataset, [0.5, 0.5])
        hooks = (callbacks.Progress(progress),)
        return loop._loop(asked, dataset, opened, made, options.Options(), hooks)

    with pytest.raises(KilledError):
        run(run_directory.RunDirectory.create(tmp_path / "run", {"scenarios": []}), kill)
    made = run(
        run_directory.RunDirectory(tmp_path / "run", {"scenarios": []}), lambda number, score: None
    )
    assert "the update of nl was refused: too large" in made["fault"]


def test_a_training_that_is_refused_leaves_its_directory_to_the_mended_one(dataset, tmp_path):
    """What it was refused for may be known as late as when its runtime starts."""
    reference = options.Options(runtime=options.REFERENCE)
    asked = plan.Plan("fedavg", rounds=1, upload_bits=8)
    kept = tmp_path / "there" / "logs" / "worker.log"
    kept.parent.mkdir(parents=True)
    kept.write_text("of an earlier one", encoding="utf-8")
    for path in (tmp_path / "new", tmp_path / "there"):
        with pytest.raises(errors.PfrecError, match="--upload_bits and --runtime=reference"):
            loop.train(asked, dataset, path, options=reference)
    assert not (tmp_path / "new").exists()
    assert [entry.name for entry in (tmp_path / "there").iterdir()] == ["logs"]
    assert kept.read_text(encoding="utf-8") == "of an earlier one"
    run_directory.RunDirectory.create(tmp_path / "there", {"scenarios": []})


def test_a_run_that_was_begun_before_is_not_removed_when_it_is_refused(
    dataset, tmp_path, monkeypatch
):
    def refuse(*arguments):
        raise errors.PfrecError("no silo answers")

    asked, path = plan.Plan("fedavg", rounds=1), tmp_path / "run"
    with monkeypatch.context() as patched:
        patched.setattr(beginning, "_counts", lambda *arguments: {})
        beginning.open_run(path, asked, dataset, False, options.Options())
    monkeypatch.setattr(loop.runtimes, "start", refuse)
    with pytest.raises(errors.PfrecError, match="no silo answers"):
        loop.train(asked, dataset, path, resume=True)
    assert (path / "config.json").exists()


def test_a_finished_run_that_is_not_extended_after_all_stays_as_it_is(
    dataset, tmp_path, monkeypatch
):
    """Neither its rounds nor how it is executed change where a silo is away; both do where it is
    there.
    """
    path, asked = tmp_path / "run", plan.Plan("local", rounds=2)
    away = False

    def start(needed, dataset, run, options, cache):
        if away:
            raise errors.PfrecError("no silo answers")
        return contextlib.nullcontext(Scripted(needed, dataset, [0.5, 0.6, 0.7]))

    monkeypatch.setattr(loop.runtimes, "start", start)
    loop.train(asked, dataset, path)
    before = [(path / name).read_bytes() for name in ("config.json", "summary.json")]
    longer, otherwise = dataclasses.replace(asked, rounds=3), options.Options(keep_rounds=7)
    away = True
    with pytest.raises(errors.PfrecError, match="no silo answers"):
        loop.train(longer, dataset, path, resume=True, options=otherwise)
    assert before == [(path / name).read_bytes() for name in ("config.json", "summary.json")]
    away = False
    made = loop.train(longer, dataset, path, resume=True, options=otherwise)
    assert made.summary["rounds"] == 3
    config = run_directory.open_run(path).config
    assert (config["plan"]["rounds"], config["options"]["keep_rounds"]) == (3, 7)


def test_a_run_is_resumed_as_it_was_executed_where_nobody_says(dataset, tmp_path, monkeypatch):
    """Rounds that were to be kept are not removed."""
    path, asked = tmp_path / "run", plan.Plan("local", rounds=3)

    def start(needed, dataset, run, options, cache):
        return contextlib.nullcontext(Scripted(needed, dataset, [0.6, 0.5, 0.5, 0.5, 0.5]))

    monkeypatch.setattr(loop.runtimes, "start", start)

    def kept(rounds, **more):
        longer = dataclasses.replace(asked, rounds=rounds)
        return loop.train(longer, dataset, path, **more).run.rounds()

    assert kept(3, options=options.Options(keep_rounds=3)) == [1, 2, 3]
    assert kept(4, resume=True) == [1, 2, 3, 4]
    assert kept(5, resume=True, options=options.Options(keep_rounds=1)) == [1, 5]
    assert options.Options.of_run(run_directory.open_run(path).config, path).keep_rounds == 1


def test_what_is_no_plan_dataset_or_callback_is_named(dataset, tmp_path):
    asked = plan.Plan("local")
    for given, more, message in (
        (("local", dataset), {}, r"the plan is a str; give a pfrec\.Plan"),
        ((asked, "data"), {}, r"the dataset is a str; give what pfrec\.Dataset\.open"),
        ((asked, dataset), {"callbacks": [print]}, "callbacks is a builtin_function_or_method; "),
    ):
        with pytest.raises(errors.PfrecError, match=message):
            loop.train(*given, tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()
