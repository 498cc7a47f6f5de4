"""The worlds of benchmarks/worlds.py: how they are split, and the rows that are built in."""

import csv
import pathlib

import pytest

from benchmarks import worlds

REAL = ("movielens", "app")


def test_no_world_is_in_both_halves_and_real_ones_are_in_each():
    assert not set(worlds.CHOOSING) & set(worlds.REPORTING)
    assert len(worlds.CHOOSING) + len(worlds.REPORTING) >= 12
    for half in (worlds.CHOOSING, worlds.REPORTING):
        assert sum(name.startswith(REAL) for name in half) >= 3
        assert sum(not name.startswith(REAL) for name in half) >= 3


def test_rare_ids_repeat_fall_in_size_and_have_both_classes():
    made = [list(worlds.ids(1, users=50, items=40, rows=600, scenarios=3)) for _ in range(2)]
    assert made[0] == made[1]
    rows = made[0]
    counts = [sum(row["scenario"] == f"S{number}" for row in rows) for number in (1, 2, 3)]
    assert counts == [600, 300, 200]
    assert {row["user"] for row in rows} <= set(range(50))
    assert {row["item"] for row in rows} <= set(range(40))
    for task in ("click", "buy"):
        assert {row[task] for row in rows} == {0, 1}
    assert all(row["click"] for row in rows if row["buy"])


def test_app_rows_leave_out_what_the_outcome_is_and_rare_scenarios(tmp_path):
    path = tmp_path / "frappe" / "frappe.csv"
    path.parent.mkdir()
    header = [
        "user",
        "item",
        "cnt",
        "daytime",
        "weekday",
        "isweekend",
        "homework",
        "cost",
        "weather",
        "country",
        "city",
    ]
    with pathlib.Path(path).open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerow(
            [1, 2, 10, "noon", "friday", "workday", "home", "free", "sunny", "Spain", 3]
        )
        writer.writerow([1, 2, 2, "noon", "friday", "workday", "home", "free", "snowy", "Peru", 3])
    by_weather = list(worlds.apps(tmp_path, "weather"))
    assert [row["scenario"] for row in by_weather] == ["sunny"]
    assert (by_weather[0]["often"], by_weather[0]["much"]) == (1, 1)
    by_country = list(worlds.apps(tmp_path, "country"))
    assert [(row["scenario"], row["often"]) for row in by_country] == [("Spain", 1), ("Peru", 0)]
    assert not {"cnt", "daytime", "isweekend"} & set(by_country[0])


@pytest.mark.parametrize(
    ("years", "band"), [(23, "to_23"), (24, "to_30"), (41, "to_41"), (42, "over")]
)
def test_age_bands(years, band):
    assert worlds.age_band(years) == band


def test_another_draw_is_another_world_of_the_same_sizes(tmp_path):
    made = {}
    for name, draw in (("own", None), ("again", 101), ("other", 1)):
        worlds.CHOOSING["few_rows"](tmp_path, tmp_path / name, draw)
        made[name] = {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.tfrecord*")
        }
    assert made["own"]
    assert made["own"] == made["again"]
    assert made["own"].keys() == made["other"].keys()
    assert all(made["own"][path] != made["other"][path] for path in made["own"])


def test_another_draw_of_app_use_is_another_split_of_the_same_rows(monkeypatch):
    asked = []
    monkeypatch.setattr(worlds, "apps", lambda source, by: [dict.fromkeys(worlds.APP_FEATURES, 1)])
    monkeypatch.setattr(worlds, "_convert", lambda *given: asked.append(given))
    for draw in (None, 3):
        worlds.REPORTING["app_by_weekday"](pathlib.Path(), pathlib.Path(), draw)
    assert [given[-1] for given in asked] == [None, 3]
    assert asked[0][:-1] == asked[1][:-1]
