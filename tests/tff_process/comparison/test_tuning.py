"""The tuning budget of a comparison."""

import math

import pytest

from pfrec import errors
from tff_process import plan as plan_lib
from tff_process.comparison import entries, report, search, tuning

RATES = tuning.Tuning.parse("learning_rate=0.001|0.01")


def test_every_entry_tries_the_same_values():
    for name in ("fedbn", "pooled_mmoe", "ditto:ditto_lambda=1"):
        found = [entry.name for entry in RATES.candidates(entries.Entry.parse(name))]
        assert found == [f"{name}:learning_rate=0.001", f"{name}:learning_rate=0.01"]


def test_an_entry_with_a_value_of_its_own_keeps_it():
    entry = entries.Entry.parse("fedbn:learning_rate=0.1")
    assert RATES.candidates(entry) == [entry]


def test_an_entry_that_the_flag_does_not_concern_stands_alone():
    weights = tuning.Tuning.parse("ditto_lambda=0.1|1")
    assert len(weights.candidates(entries.Entry.parse("ditto"))) == 2
    entry = entries.Entry.parse("fedbn")
    assert weights.candidates(entry) == [entry]


def test_the_better_on_valid_is_chosen_and_of_equals_the_first():
    low, high = RATES.candidates(entries.Entry.parse("fedbn"))
    tried = [tuning.Tried(low, 2, 0.7), tuning.Tried(high, 2, 0.8)]
    assert [one.candidate for one in tuning.best_first(tried)] == [high, low]
    equal = [tuning.Tried(low, 2, 0.7), tuning.Tried(high, 2, 0.7)]
    assert tuning.best_first(equal) == equal
    assert tuning.to_json({"fedbn": tried}) == {"fedbn": {low.name: 0.7, high.name: 0.8}}
    assert tuning.table({"fedbn": tried}, [high]) == [
        ("fedbn", "learning_rate=0.01", 2, 0.8, "chosen"),
        ("fedbn", "learning_rate=0.001", 2, 0.7, ""),
    ]


def test_a_candidate_of_no_use_has_no_score_to_tell():
    low, high = RATES.candidates(entries.Entry.parse("fedbn"))
    tried = {"fedbn": [tuning.Tried(low, 2, 0.7), tuning.Tried(high, 2, -1.0)]}
    assert tuning.to_json(tried) == {"fedbn": {low.name: 0.7, high.name: None}}
    rows = tuning.table(tried, [low])
    assert rows[0][3] == 0.7
    assert math.isnan(rows[1][3])
    assert report._tried(rows)[-1] == "| fedbn | learning_rate=0.01 | 2 | NaN |  |"


def test_scores_after_fewer_rounds_are_no_rivals_of_those_after_all():
    low, high = RATES.candidates(entries.Entry.parse("fedbn"))
    tried = [tuning.Tried(low, 1, 0.9), tuning.Tried(high, 2, 0.8)]
    assert [row[2:] for row in tuning.table({"fedbn": tried}, [high])] == [
        (2, 0.8, "chosen"),
        (1, 0.9, ""),
    ]


class _Runner:
    """Says the same of a candidate whatever its rounds: its learning rate."""

    def __init__(self):
        self.trained = []

    def scores(self, planned):
        found = [(float(dict(entry.settings)["learning_rate"]), plan) for entry, plan in planned]
        self.trained.append([(rate, plan.rounds) for rate, plan in found])
        return [rate for rate, _ in found]


def test_the_worse_half_is_left_aside_and_stands_behind_who_went_on():
    rates = tuning.Tuning.parse("learning_rate=0.1|0.4|0.2|0.3")
    candidates, runner = rates.candidates(entries.Entry.parse("fedbn")), _Runner()
    found = search.search(candidates, lambda entry: plan_lib.Plan("fedbn", rounds=4), 2, runner)
    assert runner.trained == [
        [(0.1, 1), (0.4, 1), (0.2, 1), (0.3, 1)],
        [(0.4, 2), (0.3, 2)],
        [(0.4, 4)],
    ]
    assert [(one.score, one.rounds) for one in found] == [(0.4, 4), (0.3, 2), (0.2, 1), (0.1, 1)]


@pytest.mark.parametrize(
    "text",
    [
        "learning_rate",
        "=1|2",
        "learning_rate=",
        "learning_rate=1|",
        "learning_rate=1|1",
        "mu=2..1",
        "mu=a..b",
    ],
)
def test_what_cannot_be_tuned_by_is_refused(text):
    with pytest.raises(errors.PfrecError, match="give a flag and its values"):
        tuning.Tuning.parse(text)


def test_rounds_are_chosen_on_valid_and_not_tuned():
    rounds = tuning.Tuning.parse("rounds=1..4")
    with pytest.raises(errors.PfrecError, match=r"--tune=rounds: .*; give --rounds, or entries"):
        rounds.require_concerned([entries.Entry.parse("fedbn")])


def test_the_edge_of_what_was_tried_is_told():
    three = tuning.Tuning.parse("learning_rate=0.003|0.01|0.03")
    low, middle, high = three.candidates(entries.Entry.parse("fedbn"))
    assert three.edge_note(middle) == ""
    for entry, value in ((low, "0.003"), (high, "0.03")):
        told = f"the best learning_rate is at the edge of those tried, {value}; a better one"
        assert told in three.edge_note(entry)
    words = tuning.Tuning.parse("coordination=mean|none|pcgrad")
    assert words.edge_note(words.candidates(entries.Entry.parse("pf_msmtrec"))[0]) == ""
    assert RATES.edge_note(RATES.candidates(entries.Entry.parse("fedbn"))[0]) == ""
    assert three.edge_note(entries.Entry.parse("fedbn:learning_rate=0.1")) == ""
    span = tuning.Tuning.parse("learning_rate=0.001..0.1")
    assert span.edge_note(entries.Entry.parse("fedbn:learning_rate=0.011")) == ""
    for value in ("0.0011", "0.0965"):
        assert value in span.edge_note(entries.Entry.parse(f"fedbn:learning_rate={value}"))


def test_several_flags_are_tried_at_as_many_points_by_every_entry():
    space = tuning.Tuning.parse("learning_rate=0.001..0.1", "mu=0.25|0.5|1", points=16)
    found = space.candidates(entries.Entry.parse("pf_msmtrec"))
    assert found == space.candidates(entries.Entry.parse("pf_msmtrec"))
    assert len(found) == 16
    rates = [float(dict(entry.settings)["learning_rate"]) for entry in found]
    assert min(rates) >= 0.001
    assert max(rates) <= 0.1
    # By its logarithm: as many below a hundredth as above.
    assert sum(rate < 0.01 for rate in rates) == 8
    values = [dict(entry.settings)["mu"] for entry in found]
    assert {values.count(value) for value in ("0.25", "0.5", "1")} <= {5, 6}
    # Of an algorithm without the second flag the first alone is tried, as often.
    other = space.candidates(entries.Entry.parse("fedbn"))
    assert len(other) == 16
    assert all(len(entry.settings) == 1 for entry in other)
    both = tuning.Tuning.parse("learning_rate=0.1|1", "batch_size=32|64")
    assert both.points == tuning.DEFAULT_POINTS
    assert len(both.candidates(entries.Entry.parse("local"))) == 4  # each once


def test_whole_numbers_are_drawn_alike():
    of = tuning.Dimension.parse("experts=1..4")
    assert [of.text(place, int) for place in (0.0, 0.24, 0.26, 0.99, 1.0)] == list("11244")
    assert not of.logarithmic
    assert tuning.Dimension.parse("experts=1..10").logarithmic
    assert tuning.Dimension.parse("experts=2..32").text(1.0, int) == "32"


def test_budgets_that_do_not_fit_are_refused():
    with pytest.raises(errors.PfrecError, match="take 4 or 8"):
        tuning.Tuning.parse("mu=0..1", points=6)
    with pytest.raises(errors.PfrecError, match="give each flag once"):
        tuning.Tuning.parse("mu=0..1", "mu=0.5|1")
    with pytest.raises(errors.PfrecError, match="mu is no flag of a training of these"):
        tuning.Tuning.parse("mu=0..1").require_concerned([entries.Entry.parse("fedbn")])


@pytest.mark.parametrize(
    ("candidates", "rounds", "halving", "expected"),
    [
        (8, 20, 0, [(8, 20)]),
        (8, 20, 2, [(8, 3), (4, 5), (2, 10), (1, 20)]),
        (9, 9, 3, [(9, 1), (3, 3), (1, 9)]),
        (8, 2, 2, [(8, 1), (4, 2)]),
        (1, 20, 2, [(1, 20)]),
        (5, 4, 2, [(5, 1), (3, 2), (2, 4)]),
        # The logarithm of 243 by 3 is 4.999999999999999 to a machine.
        (243, 243, 3, [(243, 1), (81, 3), (27, 9), (9, 27), (3, 81), (1, 243)]),
    ],
)
def test_rungs_of_successive_halving(candidates, rounds, halving, expected):
    assert tuning.rungs(candidates, rounds, halving) == expected


def test_the_report_says_that_entries_are_tuned_in_flags_of_their_own():
    one = tuning.Tuning.parse("learning_rate=0.001|0.01").sentence(0)
    assert one == "Each chose its learning_rate among 0.001, 0.01 by `valid` of the first seed"
    two = tuning.Tuning.parse("learning_rate=0.001|0.01", "mu=0.25|0.5", points=4).sentence(0)
    assert two.startswith("Each chose what it has of learning_rate among 0.001, 0.01 and mu among")
    assert "at up to 4 Sobol points" in two
