"""The tuning budget of a comparison."""

import pytest

from pfrec import errors
from tff_process.comparison import entries, runs, tuning

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


def test_valid_chooses_and_test_does_not():
    low, high = RATES.candidates(entries.Entry.parse("fedbn"))
    cells = [
        runs.Cell(low, 0, {"best_round": 2, "mean_auc": 0.5}, valid=(0.6, 0.8)),
        runs.Cell(high, 0, {"best_round": 1, "mean_auc": 0.9}, valid=(0.7, 0.6)),
    ]
    assert tuning.choose(cells) == low
    assert tuning.to_json({"fedbn": cells}) == {"fedbn": {low.name: 0.8, high.name: 0.7}}


@pytest.mark.parametrize(
    "text", ["learning_rate", "=1|2", "learning_rate=", "learning_rate=1|", "learning_rate=1|1"]
)
def test_what_cannot_be_tuned_by_is_refused(text):
    with pytest.raises(errors.PfrecError, match="give a flag and its values"):
        tuning.Tuning.parse(text)


def test_the_edge_of_what_was_tried_is_told():
    three = tuning.Tuning.parse("learning_rate=0.003|0.01|0.03")
    low, middle, high = three.candidates(entries.Entry.parse("fedbn"))
    assert tuning.edge_note(three, middle) == ""
    for entry, value in ((low, "0.003"), (high, "0.03")):
        assert f"the best learning_rate is at the edge of those tried, {value}" in tuning.edge_note(
            three, entry
        )
    words = tuning.Tuning.parse("coordination=mean|none|pcgrad")
    assert tuning.edge_note(words, words.candidates(entries.Entry.parse("pf_msmtrec"))[0]) == ""
    assert tuning.edge_note(RATES, RATES.candidates(entries.Entry.parse("fedbn"))[0]) == ""
    assert tuning.edge_note(three, entries.Entry.parse("fedbn:learning_rate=0.1")) == ""
