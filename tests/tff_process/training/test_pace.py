"""No traced round is a measure, and none that waited; what is left follows from the others."""

import types

import pytest

from tff_process import plan as plan_lib
from tff_process.commands import progress
from tff_process.training import pace


class Clock:
    """Says times in turn."""

    def __init__(self, *times: float) -> None:
        self._times = list(times)

    def __call__(self) -> float:
        return self._times.pop(0)


def test_the_traced_round_is_no_measure():
    measured = pace.Pace(Clock(0.0, 10.0, 50.0, 52.0, 55.0, 59.0))
    measured.begin()
    assert measured.typical is None
    assert [measured.ended(number) for number in (7, 8, 9, 10)] == [40.0, 2.0, 3.0, 4.0]
    assert measured.traced(7)
    assert not measured.traced(8)
    assert measured.typical == 3.0
    assert measured.elapsed == 49.0


@pytest.mark.parametrize("waited", [2, 3, 4])
def test_a_round_that_waited_for_a_lost_silo_is_no_measure(waited):
    measured = pace.Pace(Clock(*(n + 600.0 * (n >= waited) for n in (0, 0, 1, 2, 3, 4))))
    measured.begin()
    for number in (1, 2, 3, 4):
        measured.ended(number)
    assert measured.typical == 1.0
    assert measured.elapsed == 604.0


def report(*losses: float) -> types.SimpleNamespace:
    return types.SimpleNamespace(loss=dict(enumerate(losses)))


def test_each_round_says_loss_time_and_what_is_left():
    told: list[tuple[int, int, str]] = []
    shown = progress.Progress(
        plan_lib.Plan("fedavg", rounds=10),
        lambda complete, number, text: told.append((complete, number, text)),
        pace.Pace(Clock(0.0, 0.0, 30.0, 32.0, 36.0)),
    )
    shown.before_training(done=0, best_round=0)
    for number in (1, 2, 3):
        shown.after_round(number=number, best_round=1, score=0.5, report=report(0.5, 0.25))
    assert told == [
        (0, 1, "tracing computations, once"),
        (
            1,
            1,
            "valid AUC 0.5000, loss 0.3750, 30 s elapsed, with tracing, which is no measure of the "
            "rest",
        ),
        (2, 2, "valid AUC 0.5000, loss 0.3750, 32 s elapsed, 2.0 s a round, 16 s left"),
        # Seven rounds of two seconds.
        (3, 3, "valid AUC 0.5000, loss 0.3750, 36 s elapsed, 2.0 s a round, 14 s left"),
    ]


def test_what_is_withheld_is_not_told_and_patience_makes_it_at_most():
    told: list[str] = []
    shown = progress.Progress(
        plan_lib.Plan("fedavg", rounds=3, patience=1, withhold=("loss",)),
        lambda complete, number, text: told.append(text),
        pace.Pace(Clock(0.0, 0.0, 1.0, 2.0)),
    )
    shown.before_training(done=0, best_round=0)
    for number in (1, 2):
        shown.after_round(number=number, best_round=1, score=0.5, report=report(0.0))
    assert told[-1] == "valid AUC 0.5000, 2.0 s elapsed, 1.0 s a round, at most 1.0 s left"


def test_lines_when_piped(capsys):
    plan = plan_lib.Plan("fedavg", rounds=4)
    with progress.reporting(plan, "run 3 of 30, fedavg seed 1: ") as shown:
        shown.before_training(done=1, best_round=1)
        shown.after_round(number=2, best_round=1, score=0.61, report=report(0.5))
    said = capsys.readouterr().out.splitlines()
    start = "run 3 of 30, fedavg seed 1: round 2/4: "
    assert said[0] == f"{start}tracing computations, once"
    assert said[1].startswith(f"{start}valid AUC 0.6100, loss 0.5000, ")
    assert len(said) == 2


def test_where_no_round_is_left_none_is_called_under_way(capsys):
    """As in a run that was killed while its clients finished what they serve."""
    with progress.reporting(plan_lib.Plan("fedavg", rounds=20, max_steps=6)) as shown:
        shown.before_training(done=3, best_round=1, rounds=3)
    assert capsys.readouterr().out == (
        "round 3/3: was the last one; what comes after the rounds is left\n"
    )


def test_a_budget_leaves_fewer_rounds_to_be_shown(capsys):
    with progress.reporting(plan_lib.Plan("fedavg", rounds=20, max_steps=6)) as shown:
        shown.before_training(done=0, best_round=0, rounds=3)
        shown.after_round(number=1, best_round=1, score=0.61, report=report(0.5))
    assert [line[:10] for line in capsys.readouterr().out.splitlines()] == ["round 1/3:"] * 2


def test_runs_are_numbered_as_they_are_asked_for():
    """Of two seeds: the candidates of an entry, then the chosen one's second seed. What other runs
    an earlier comparison left in the directory does not count.
    """
    count = progress.Counter([["a:mu=1", "a:mu=2"], ["b"]], seeds=2)
    assert count.label("a:mu=1", 0) == "run 1 of 5, a:mu=1 seed 0: "
    assert count.label("a:mu=2", 0) == "run 2 of 5, a:mu=2 seed 0: "
    for chosen in ("a:mu=1", "a:mu=2"):
        assert count.label(chosen, 1) == f"run 3 of 5, {chosen} seed 1: "
    assert count.label("b", 0) == "run 4 of 5, b seed 0: "
    assert count.label("b", 1) == "run 5 of 5, b seed 1: "


@pytest.mark.parametrize(
    ("seconds", "told"), [(3.21, "3.2 s"), (119.0, "119 s"), (150.0, "2 min"), (7300.0, "2.0 h")]
)
def test_durations(seconds, told):
    assert pace.duration(seconds) == told
