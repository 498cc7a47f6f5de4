"""Markup, small charts and signals, by hand."""

import math

import pytest

from pfrec.report import drawing, figures, markup, results, shades, signals
from tests.pfrec.report import pages


def test_text_is_escaped_and_markup_is_not():
    made = markup.tag("p", "a < b", markup.tag("b", 1), None, ["x", ["&"]], title='"', class_="c")
    assert made == '<p title="&quot;" class="c">a &lt; b<b>1</b>x&amp;</p>'
    assert markup.section("empty", markup.Markup(""), None) == ""


def test_the_browser_is_told_to_fetch_nothing():
    page = pages.Page(markup.page("a"))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert ("meta", "content", policy) in page.attributes
    assert "prefers-color-scheme:dark" in markup.page("a")


def test_ticks_are_round_and_rounds_are_whole():
    assert drawing.ticks(0.5, 0.7) == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7])
    assert drawing.ticks(1, 3, whole=True) == [1, 2, 3]
    assert drawing.ticks(1, 2, whole=True) == [1, 2]
    assert drawing.ticks(1, 300, whole=True) == [100, 200, 300]


def test_long_names_keep_both_ends():
    name = "pf_msmtrec:gate/*=private:pf_mu=0.9"
    assert drawing.short(name, 21) == "pf_msmtrec…:pf_mu=0.9"
    assert drawing.short(name, len(name)) == name


def test_lines_leave_out_what_is_no_number():
    points = [(1.0, 0.5), (2.0, math.nan), (3.0, 0.7)]
    page = pages.Page(figures.lines("t", [figures.Line("a", points, 9, [0.1, 0.1, 0.1])]))
    drawn = {name: value for tag, name, value in page.attributes if tag == "polyline"}
    assert len((drawn["points"] or "").split()) == 2
    # The ninth style is the first colour but one, dashed.
    assert (drawn["stroke"], drawn["stroke-dasharray"]) == ("var(--c1)", "5 3")
    assert "no values" in pages.Page(figures.lines("t", [figures.Line("a", [])])).text


def test_a_matrix_is_warm_above_zero_and_empty_where_nothing_is_known():
    page = pages.Page(shades.matrix("t", ["r"], ["a", "b", "c"], [[0.5, -1.0, None]]))
    fills = [value for tag, name, value in page.attributes if (tag, name) == ("rect", "fill")]
    assert fills == ["var(--warm)", "var(--cold)"]
    assert "r, b: -1.00" in page.text
    turned = pages.Page(shades.matrix("t", ["r"], ["a"], [[0.5]], opposed=True))
    assert ("rect", "fill", "var(--cold)") in turned.attributes


def test_likeness_is_the_mean_cosine_of_those_who_took_part():
    rounds = {
        1: {
            "gram/a": [[4.0, -1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, 0.0]],
            "gram/b": [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]],
        }
    }
    found = signals.likeness(rounds, ["x", "y", "z"])
    # -1 / sqrt(4 * 1) and 1; the third took no part.
    assert found == {("x", "y"): {1: pytest.approx(0.25)}}


def test_likeness_asks_a_matrix_of_fewer_clients_for_no_more_than_it_has():
    found = signals.likeness(
        {1: {"gram/a": [[1.0, 2.0], [2.0, 4.0]], "gram/b": []}}, ["x", "y", "z"]
    )
    assert found == {("x", "y"): {1: pytest.approx(1.0)}}


def test_those_that_conflict_most_are_kept_in_their_order():
    pairs = {("a", "b"): {1: -0.1}, ("a", "c"): {1: 0.5, 2: 0.5}, ("b", "c"): {1: -0.9, 2: 0.1}}
    assert signals.strongest(pairs, 2) == [("a", "b"), ("b", "c")]


@pytest.mark.parametrize("name", ["consensus_distance", "template_distance"])
def test_distances_go_over_all_groups(name):
    """Under their name, and under the one that they had in earlier runs."""
    rounds = {2: {f"{name}/a": [3.0, 0.0], f"{name}/b": [4.0, 1.0]}}
    assert signals.distances(rounds, ["x", "y"]) == {"x": {2: 5.0}, "y": {2: 1.0}}


def test_what_is_applied_has_the_own_part_in_it():
    """A quarter of the own values, and three quarters of what is offered."""
    value = {
        "attention/a": [[0.2, 0.8], [0.0, 1.0]],
        "own_weight/a": [0.25, 1.0],
        "attention/b": [[1.0, 0.0], [0.0, 1.0]],
        "own_weight/embedding/x": [0.5, 0.5],
    }
    assert signals.applied(value, 2) == {
        "a": [[pytest.approx(0.4), pytest.approx(0.6)], [0.0, 1.0]]
    }
    assert signals.applied(value, 3) == {}


def test_events_of_the_guard_rails():
    rounds = {1: {"skipped": {"x": "away"}, "applied": False}, 2: {"clipped": {"y": 0.5}}}
    assert signals.events(rounds) == [
        (1, "x", "missed the round: away"),
        (1, "", "not applied: the server's values stayed as they were"),
        (2, "y", "update scaled by 0.5"),
    ]


def test_units():
    assert [results.size(n) for n in (4, 1248, 2_000_000, 3e9)] == [
        "4 B",
        "1.25 kB",
        "2 MB",
        "3 GB",
    ]
    assert [results.duration(n) for n in (2.5, 17.0, 600, 9000)] == [
        "2.5 s",
        "17 s",
        "10 min",
        "2.5 h",
    ]
    assert results.rate(1, 0) == "-"


def test_names_are_as_long_as_it_takes_to_tell_them_apart():
    assert drawing.distinct(["a", "bc"], 5) == ["a", "bc"]
    names = [f"market_{n}_of_some_country" for n in (10, 11)]
    assert drawing.distinct(names, 9) == [drawing.short(name, 18) for name in names]
    assert drawing.short(names[0], 17) == drawing.short(names[1], 17)
    assert drawing.distinct(["same_name", "same_name"], 5) == ["sa…me", "sa…me"]


def test_of_crowded_numbers_some_stand_for_all_and_names_stand_upright():
    rounds = [str(number) for number in range(1, 31)]
    page = pages.Page(shades.matrix("t", ["r"], rounds, [[0.5] * 30]))
    assert "1 3 5 7" in " ".join(page.text.split())
    assert not any(name == "transform" for _, name, _ in page.attributes)
    named = pages.Page(shades.matrix("t", ["r"], ["north", "south"] * 5, [[0.5] * 10]))
    assert sum(name == "transform" for _, name, _ in named.attributes) == 10
