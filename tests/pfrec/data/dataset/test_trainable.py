"""What nothing can be learned from is named, all together; a scenario need not serve every task."""

import pathlib

import pytest

from pfrec import errors
from pfrec.data import names
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import trainable

SCHEMA = schema_lib.Schema(
    categorical=(schema_lib.Categorical("item", 4),),
    numerical=(),
    tasks=(schema_lib.Task("click", "click"), schema_lib.Task("buy", "buy", given="click")),
)


def counts(rows, click, buy):
    """Observed labels and positives of each task."""
    tasks = ("click", "buy")
    observed, positives = zip(click, buy)
    return dataset_lib.Counts(rows, dict(zip(tasks, observed)), dict(zip(tasks, positives)))


GOOD = counts(100, (100, 20), (20, 5))


def made(**train):
    return dataset_lib.Dataset(
        path=pathlib.Path("data"),
        scenarios=tuple(train),
        schema=SCHEMA,
        counts={name: {"train": own, "valid": GOOD, "test": GOOD} for name, own in train.items()},
        files={},
        source_format="test",
        split_seed=0,
    )


def test_all_that_nothing_can_be_learned_from_is_named_together():
    data = made(
        nl=GOOD,
        fr=counts(1, (1, 1), (1, 0)),
        es=counts(50, (50, 0), (0, 0)),
        uk=counts(50, (50, 50), (50, 50)),
        de=counts(50, (0, 0), (0, 0)),
    )
    with pytest.raises(errors.PfrecError) as raised:
        trainable.require(data)
    assert str(raised.value) == (
        "data: nothing can be learned from 4 scenarios: fr has one training row; es has labels of "
        "one class alone (click); uk has labels of one class alone (click, buy); de has no label "
        "of any task among its training rows; give them more rows, or leave them out with "
        "--skip_scenarios=fr,es,uk,de or --min_rows"
    )
    # Of one alone, as a silo is, none can be left out.
    with pytest.raises(
        errors.PfrecError, match=r"from 1 scenario: fr has one training row; give it more rows$"
    ):
        trainable.require(data.only(["fr"]))
    trainable.require(trainable.chosen(data, ["fr", "es", "uk", "de"]))
    # What only silos know of themselves is theirs to say.
    with pytest.raises(
        errors.PfrecError, match="from 2 scenarios: fr has one training row; de has no label"
    ):
        trainable.require(data, classes=False)


def test_a_scenario_need_not_serve_every_task():
    data = made(nl=GOOD, fr=counts(80, (80, 9), (0, 0)))
    trainable.require(data)
    assert trainable.not_served(data) == {"fr": ("buy",)}
    assert trainable.notes(data) == [
        "no labels in training, so these tasks are not served there: fr: buy"
    ]
    with pytest.raises(errors.PfrecError, match=r"no scenario has labels of buy .* out of the sch"):
        trainable.require(data.only(["fr"]))


def test_one_class_of_a_task_or_a_split_is_said():
    data = made(nl=GOOD, fr=counts(80, (80, 9), (9, 0)))
    told = trainable.notes(data)
    assert len(told) == 1
    assert told[0].endswith("whose training labels are of one class: fr: buy")
    data.counts["nl"]["test"] = counts(10, (10, 10), (10, 2))
    assert trainable.notes(data)[1] == "of one class on test, so they have no AUC: nl: click"


def test_scenarios_are_chosen_by_name_and_rows():
    data = made(nl=GOOD, fr=counts(80, (80, 9), (9, 1)), es=counts(10, (10, 5), (5, 1)))
    assert trainable.chosen(data) is data
    assert trainable.chosen(data, ["nl"], 11).scenarios == ("fr",)
    assert trainable.chosen(data, [], 80).scenarios == ("nl", "fr")
    by_value = made(nl=GOOD, **{names.scenario_name("São Paulo"): GOOD})
    assert trainable.chosen(by_value, ["São Paulo"]).scenarios == ("nl",)
    with pytest.raises(errors.PfrecError, match="has no scenario xx; it has nl, fr, es"):
        trainable.chosen(data, ["xx"])
    with pytest.raises(errors.PfrecError, match="no scenario is left; the largest has 100 train"):
        trainable.chosen(data, [], 101)


def test_a_dataset_of_some_scenarios_has_those_that_are_named():
    data = made(nl=GOOD, fr=GOOD, es=GOOD)
    assert data.only({"es", "nl"}).scenarios == ("nl", "es")
    for asked, message in (
        (["fr", "uk"], "data: no scenario 'uk'; there are nl, fr, es"),
        ([], "data: no scenario is named; there are nl, fr, es"),
        ("nl", "only: scenarios is a str; list them"),
    ):
        with pytest.raises(errors.PfrecError, match=message):
            data.only(asked)
