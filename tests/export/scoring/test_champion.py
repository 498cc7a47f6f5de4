"""What is served and what is about to be, on the same rows."""

import dataclasses

import numpy as np
import pytest

from export import interface
from export.exporting import trained
from export.graph import requests
from export.publishing import models_config
from export.scoring import champion
from pfrec import errors
from pfrec.data.dataset import row_block
from tests.export import tiny

NAMES = {"NL": "NL"}


def rows_that_follow(model, count=600):
    """Rows of the tiny model's features whose clicks are what it says."""
    rng = np.random.default_rng(4)
    base = tiny.rows(count)
    sure = {task: (p - p.mean()) * 8 for task, p in model.predict(asked(base)).items()}
    click = rng.random(count) < 1 / (1 + np.exp(-sure["click"]))
    buy = np.where(click, rng.random(count) < 0.5, row_block.UNOBSERVED)
    labels = np.stack([click, buy], axis=1).astype(np.uint8)
    return trained.LabelledRows(dataclasses.replace(base, labels=labels), tiny.SCHEMA)


def asked(rows):
    return requests.with_hashed_texts(requests.from_rows(rows, tiny.SCHEMA), rows, tiny.SCHEMA)


def champions(serving, rows, seed, **options):
    """What is served, with the tiny model of a seed considered in its place."""
    made = champion.Champions(serving, NAMES, lambda scenario, most: rows, **options)
    made.consider("NL", tiny.model(seed=seed, scenario="NL"))
    return made


def compared(serving, rows, seed):
    return champions(serving, rows, seed).comparison()


def test_texts_of_hashed_features_hash_to_the_rows_ids():
    rows = tiny.rows(40)
    known = [
        place
        for f, place in zip(tiny.SCHEMA.categorical, tiny.SCHEMA.id_places)
        if f.encoding == "hash"
    ]
    ids, _ = requests.reference_ids(asked(rows), tiny.SCHEMA)
    for place in known:
        np.testing.assert_array_equal(ids[:, place], rows.categorical[:, place])


@pytest.fixture
def serving(copy, tmp_path):
    copy()  # the tiny model of seed 0 as version 1
    models_config.write(tmp_path, str(tmp_path))
    return tmp_path


def test_a_worse_challenger_is_refused_unless_forced(serving):
    rows = rows_that_follow(tiny.model())
    found = compared(serving, rows, seed=50)
    click, buy = found.cells
    assert (click.task, click.version, click.found.rows) == ("click", 1, 600)
    assert click.worse
    assert click.high < 0
    assert not buy.worse  # a coin's toss
    assert buy.found.rows == rows.rows.labels[:, 0].sum()
    # Both hold together: two sides of 5%, by two.
    for cell in found.cells:
        assert cell.high - cell.low == pytest.approx(2 * 2.241403 * cell.found.error, rel=1e-6)
    assert found.worse == ["NL click"]
    assert "WORSE" in found.table()
    assert found.to_json()["cells"][0]["worse"]
    said = []
    with pytest.raises(errors.PfrecError, match="worse than what is served in NL click"):
        champions(serving, rows, 50, say=said.append).decide()
    assert said == [found.table()]
    champions(serving, rows, 50, force=True).decide()


def test_what_cannot_be_compared_widens_no_interval(serving):
    given = rows_that_follow(tiny.model())
    given.rows.labels[:, 1] = 0  # nobody bought
    click, buy = compared(serving, given, seed=50).cells
    assert buy.found is None
    assert not buy.worse
    assert click.high - click.low == pytest.approx(2 * 1.959964 * click.found.error, rel=1e-6)


def test_the_served_model_against_itself_and_a_better_one_pass(serving):
    same = champions(serving, rows_that_follow(tiny.model()), seed=0)
    # A float32 of the graph may break a tie of the trained model's.
    assert abs(same.comparison().cells[0].found.difference) < 1e-3
    same.decide()
    better = champions(serving, rows_that_follow(tiny.model(seed=50)), seed=50)
    assert better.comparison().cells[0].low > 0
    better.decide()


def test_a_first_export_has_no_champion_and_gone_rows_are_said(serving, tmp_path):
    assert compared(tmp_path / "new", None, 0) == champion.Comparison()
    (note,) = compared(serving, None, 0).notes
    assert note == "NL: no rows to compare with; name some with --champion_data"


def test_models_of_other_inputs_are_not_compared():
    fewer = dataclasses.replace(tiny.SCHEMA, numerical=tiny.SCHEMA.numerical[:1])
    other = champion._other_inputs(tiny.SERVED, interface.Interface(fewer))
    assert other == "takes other inputs (age)"
    assert champion._other_inputs(tiny.SERVED, tiny.SERVED) == ""
    # A text may be another id, and a task another label.
    hashed = tuple(
        dataclasses.replace(f, cardinality=f.cardinality + 1) if f.encoding == "hash" else f
        for f in tiny.SCHEMA.categorical
    )
    other = dataclasses.replace(tiny.SCHEMA, categorical=hashed)
    told = champion._other_inputs(tiny.SERVED, interface.Interface(other))
    assert told == "hashes to another number of ids"
    (task, *_) = tiny.SCHEMA.tasks
    alone = dataclasses.replace(tiny.SCHEMA, tasks=(dataclasses.replace(task, name="like"),))
    told = champion._other_inputs(tiny.SERVED, interface.Interface(alone))
    assert told == "has none of the tasks"


def test_the_pinned_version_is_the_champion(serving, copy):
    copy("NL/2")
    rows = rows_that_follow(tiny.model(), 200)
    assert compared(serving, rows, 0).cells[0].version == 2
    models_config.roll_back(serving, names=["NL"])
    assert compared(serving, rows, 0).cells[0].version == 1
    with pytest.raises(errors.PfrecError, match="lists no model FR; it lists NL"):
        models_config.roll_back(serving, names=["FR"])
