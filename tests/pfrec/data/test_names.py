import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfrec.data import names


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("price", "price"),
        ("a.b-c_d", "a.b-c_d"),
        ("price (EUR)", "price_EUR"),
        ("long view", "long_view"),
        ("click:token", "click_token"),
        ("Prix TTC €", "Prix_TTC"),
    ],
)
def test_features(name, wanted):
    assert names.internal_names([name]) == {name: wanted}


def test_features_that_come_to_the_same_differ():
    made = names.internal_names(["price (EUR)", "price EUR", "price_EUR", "价格", "商品"])
    assert made["price_EUR"] == "price_EUR"
    assert len(set(made.values())) == 5
    assert made["价格"].startswith("column_")


@pytest.mark.parametrize(
    ("value", "start"),
    [
        ("Restaurant(<20)", "Restaurant_20-"),
        ("FR/fr", "FR_fr-"),
        ("Books & Music", "Books_Music-"),
        ("日本", "scenario-"),
        ("../x", "x-"),
        (".hidden", "hidden-"),
        ("dataset.json", "dataset_json-"),
        ("x" * 300, "x" * 40 + "-"),
        ("a\nb", "a_b-"),
        ("-x", "x-"),
        ("São Paulo", "Sao_Paulo-"),
    ],
)
def test_scenarios_get_a_directory(value, start):
    assert names.scenario_name(value).startswith(start)


@pytest.mark.parametrize("value", ["nl", "age_0_23", "QK-video", "FR", "x.y"])
def test_plain_scenarios_stay(value):
    assert names.scenario_name(value) == value


def test_a_scenario_is_meant_by_its_value_or_its_name():
    known = ["nl", names.scenario_name("São Paulo")]
    assert names.meant("São Paulo", known) == known[1]
    assert names.meant(" São Paulo ", known) == known[1]
    assert [names.meant(name, known) for name in known] == known
    assert [names.meant(text, known) for text in ("Bahía", "fr", "")] == ["Bahía", "fr", ""]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8, unique=True))
def test_any_names_come_to_plain_ones_that_differ(values):
    made = names.internal_names(values)
    assert sorted(made) == sorted(values)
    assert len(set(made.values())) == len(values)
    assert all(re.fullmatch(r"[A-Za-z0-9.][A-Za-z0-9_./-]*", name) for name in made.values())
    folders = [names.scenario_name(value) for value in values]
    assert len(set(folders)) == len(values)
    assert all(re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name) for name in folders)
    assert all(len(name) <= 100 for name in folders)
