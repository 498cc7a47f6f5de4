import dataclasses
import json

import pytest

import pfrec
from pfrec import errors, files
from pfrec.data import schema as schema_lib
from tff_process.silos import agreement as agreement_lib


@pytest.fixture
def agreed(schema):
    leaves = {
        "groups": [],
        "report": [
            {"what": "embedding/item/embeddings", "shape": [10, 3], "bytes": 120},
            {"what": "loss", "shape": [], "bytes": 4},
        ],
        "row_counts": [
            {"what": "row_counts/embedding/item/embeddings", "shape": [10], "bytes": 40}
        ],
        "metrics": [{"what": "metrics", "shape": [1, 6], "bytes": 24}],
        "never": ["embedding/user", "optimizer"],
    }
    bounds = agreement_lib.Bounds(
        trainings=1, rounds=3, reports=24, evaluations=8, rows=50, steps=1
    )
    return agreement_lib.Agreement(
        "nl",
        pfrec.__version__,
        {"algorithm": "fedavg", "init_from": "", "rounds": 3},
        schema,
        leaves,
        bounds,
    )


def test_it_is_read_back_and_told_to_a_person(agreed, tmp_path):
    files.write_json(tmp_path / "agreement.json", agreed.to_json())
    assert agreement_lib.Agreement.read(tmp_path / "agreement.json") == agreed
    text = agreed.describe()
    assert "embedding/item/embeddings" in text
    assert "10 x 3" in text
    assert "never leaves: embedding/user, optimizer" in text
    assert "at most 1 training of 3 rounds, 24 reports and 8 evaluations" in text
    assert "behind each report at least 50 rows in 1 batch" in text
    assert "no budget of differential privacy" in text
    withheld = dataclasses.replace(agreed, leaves={**agreed.leaves, "metrics": []})
    assert "24 reports and no evaluations" in withheld.describe()
    budget = {**agreed.plan, "dp_epsilon": 3.0, "dp_delta": 0.0, "dp_unit": "group"}
    text = dataclasses.replace(agreed, plan=budget).describe()
    assert "differential privacy of each group: at most epsilon 3 at delta 1 / rows^1.1" in text
    assert "drawn for each report: at least 50 rows in the mean, in 1 batch" in text
    assert "behind each report" not in text  # By chance there may be fewer.


def test_under_a_budget_statistics_of_normalisation_are_told_to_be_constants(agreed):
    told = "  of these, statistics of normalisation are constants, 0 and 1, whatever the rows"
    budget = {**agreed.plan, "dp_epsilon": 3.0, "dp_delta": 0.0, "dp_unit": "row"}
    assert told not in dataclasses.replace(agreed, plan=budget).describe()
    agreed.leaves["report"].append(
        {"what": "batch_norm/numeric/normalise/moving_mean", "shape": [2], "bytes": 8}
    )
    assert told not in agreed.describe()
    lines = dataclasses.replace(agreed, plan=budget).describe().splitlines()
    assert lines[lines.index(told) - 1].startswith("batch_norm/numeric/normalise/moving_mean")


def test_its_columns_stand_under_each_other_however_long_a_name(agreed):
    longest = "row_counts/embedding/categorical_10/embedding_categorical_10/table"
    agreed.leaves["row_counts"][0]["what"] = longest
    lines = agreed.describe().splitlines()
    head = next(line for line in lines if line.startswith("what leaves"))
    for name, shape in ((longest, "10 "), ("loss", "number"), ("embedding/item", "10 x 3")):
        line = next(line for line in lines if line.startswith(name))
        assert line.index(shape, len(name)) == head.index("shape")


def test_digests_tell_what_matters_apart(agreed, schema):
    assert (
        agreement_lib.plan_digest({**agreed.plan, "init_from": "/somewhere"}, schema)
        == agreed.plan_digest
    )
    assert agreement_lib.plan_digest({**agreed.plan, "rounds": 4}, schema) != agreed.plan_digest
    assert agreement_lib.plan_digest(agreed.plan, schema, "0.1.0") != agreed.plan_digest
    other = schema_lib.Schema(schema.categorical[:1], schema.numerical, schema.tasks, schema.group)
    assert agreement_lib.plan_digest(agreed.plan, other) != agreed.plan_digest
    stricter = dataclasses.replace(agreed, bounds=dataclasses.replace(agreed.bounds, rows=60))
    assert stricter.plan_digest == agreed.plan_digest
    # With whom it is summed is part of what an owner signs.
    summed = [dataclasses.replace(agreed, sums_keys={"nl": key}) for key in ("aa", "bb")]
    assert len({one.digest for one in (agreed, *summed)}) == 3
    assert stricter.digest != agreed.digest


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda value: value.pop("bounds"), "not an agreement"),
        (lambda value: value.update(format_version=9), "format version 9"),
        (lambda value: value.update(pfrec="9.9"), "agrees to pfrec 9.9"),
        (lambda value: value["bounds"].update(rows=0), "rows is 0"),
        (lambda value: value["bounds"].update(rows=True), "rows is True"),
        (lambda value: value["bounds"].update(more=1), "not an agreement"),
        (lambda value: value.update(plan=3), "not an agreement"),
    ],
)
def test_a_damaged_one_is_refused(agreed, tmp_path, change, match):
    value = json.loads(files.json_text(agreed.to_json()))
    change(value)
    files.write_json(tmp_path / "agreement.json", value)
    with pytest.raises(errors.PfrecError, match=match):
        agreement_lib.Agreement.read(tmp_path / "agreement.json")
    with pytest.raises(errors.PfrecError, match="make it with pfrec-agreement"):
        agreement_lib.Agreement.read(tmp_path / "missing.json")


def test_the_silos_schema_is_the_ceiling(schema):
    rows = [
        {"group": "embedding/item", "leaves": True},
        {"group": "embedding/user", "leaves": False},
        {"group": "gate/a", "leaves": True},
    ]
    agreement_lib.check_ceiling(rows, schema, "--sharing")
    rows[1]["leaves"] = True
    with pytest.raises(
        errors.PfrecError,
        match=(
            "--sharing: embedding/user would leave, and the silo's schema says that it is private"
        ),
    ):
        agreement_lib.check_ceiling(rows, schema, "--sharing")


def test_a_driver_is_told_on_which_side_a_plan_is_what(schema):
    asked = agreement_lib.Asked.of({"algorithm": "fedavg", "rounds": 4}, schema)
    told = {**asked.plan, "rounds": 20}
    assert asked.difference(told, schema) == "here rounds is 4 against 20 there"
    other = dataclasses.replace(schema, group=None)
    assert asked.difference(asked.plan, other) == "here group is 'session' against None there"
    assert asked.difference(asked.plan, schema) == ""  # Their versions differ.
