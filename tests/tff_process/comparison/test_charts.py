"""Charts hold what they are to show, and equal figures give equal text."""

import xml.etree.ElementTree

from tff_process.comparison import charts

SVG = "{http://www.w3.org/2000/svg}"


def texts(chart):
    """The texts of a chart with their heights on the page."""
    return {
        element.text: float(element.get("y"))
        for element in xml.etree.ElementTree.fromstring(chart).iter(f"{SVG}text")
    }


def test_dots_stand_below_each_other_with_their_names():
    rows = [
        charts.Dot("one", 0.7, 0.01),
        charts.Dot("two & more", 0.8),
        charts.Dot("three", 0.75, kind=1),
    ]
    chart = charts.dots("A < B", "AUC", rows)
    found = texts(chart)
    assert {"A < B", "AUC"} <= set(found)
    assert found["one"] < found["two & more"] < found["three"]
    assert chart == charts.dots("A < B", "AUC", rows)
    # One value alone has a scale, too.
    assert "one" in texts(charts.dots("t", "x", rows[:1]))


def test_kinds_have_a_legend_of_those_that_are_there():
    rows = [charts.Dot("one", 0.7), charts.Dot("two", 0.8, kind=1)]
    assert {"stays", "pooled"} <= set(texts(charts.dots("t", "x", rows, ["stays", "pooled"])))
    assert "pooled" not in texts(charts.dots("t", "x", rows[:1], ["stays", "pooled"]))


def test_rounds_are_whole_numbers_and_seeds_spread():
    points = [(1.0, 0.5), (2.0, 0.6), (3.0, 0.7)]
    plain = charts.lines("t", "round", "up", [charts.Line("a", points)], whole=True)
    assert {"1", "2", "3"} <= set(texts(plain))
    assert not any("." in text for text in texts(plain) if text[0] in "123")
    spread = charts.lines("t", "round", "up", [charts.Line("a", points, [0.1] * 3)], whole=True)
    assert spread.count("FillBetween") > plain.count("FillBetween")


def test_long_names_are_shortened():
    name = "pf_msmtrec:gate/*=private:pf_mu=0.9:learning_rate=0.003"
    (shown,) = {
        text for text in texts(charts.dots("t", "x", [charts.Dot(name, 1.0)])) if "…" in text
    }
    assert shown.startswith("pf_msmtrec:gate")
    assert shown.endswith("rate=0.003")
    assert len(shown) < len(name)


def test_a_matrix_of_many_columns_has_a_bar_in_place_of_numbers_and_says_what_it_is():
    columns = [str(number) for number in range(1, 31)]
    chart = charts.grid(
        "t",
        ["a"],
        columns,
        [[number / 7 - 2 for number in range(30)]],
        row_axis="pair",
        column_axis="round",
        around_zero=True,
    )
    assert {"pair", "round", "30"} <= set(texts(chart))
    assert "1.71" not in texts(chart)


def test_lines_that_colours_do_not_tell_apart_are_dashed():
    rows = [
        charts.Line(f"line {number}", [(0.0, 0.5), (1.0, 0.5 + number)]) for number in range(12)
    ]
    chart = charts.lines("t", "round", "share", rows)
    assert {"round", "share", *(row.label for row in rows)} <= set(texts(chart))
    # Each stands in the chart and in the legend.
    assert chart.count("stroke-dasharray") == 2 * 2


def test_a_grid_shows_every_number_and_leaves_out_what_is_not_known():
    found = texts(charts.grid("t", ["up", "down"], ["left", "right"], [[0.0, 1.0], [None, 0.5]]))
    assert set(found) == {"t", "up", "down", "left", "right", "0", "1", "0.5"}
    assert found["0"] == found["1"] < found["0.5"]
    assert "1.23e-05" in texts(charts.grid("t", ["a"], ["b"], [[1.2345e-5]]))
