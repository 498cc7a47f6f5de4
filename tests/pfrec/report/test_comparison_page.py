"""The page of a comparison holds its figures, and stands alone."""

import json

import pytest

from pfrec import errors
from pfrec.report import comparison_page, markup
from tests.pfrec.report import pages


def entry(name, mean, **others):
    return {
        "algorithm": name.partition(":")[0],
        "test_auc": {"mean": mean, "deviation": 0.0012, "by_seed": [mean, mean]},
        "valid_auc": 0.71,
        "subject_minus_it": None,
        "plan": {"algorithm": name, "rounds": 2, "mu": 0.5},
        "seeds": [0, 1],
        "leaves": ["expert/0"],
        "round_bytes": 2_000_000,
        "rounds_to_target": 2,
        "bytes_to_target": 4_000_000,
        **others,
    }


@pytest.fixture
def comparison(tmp_path):
    evil = f"fedavg:{pages.EVIL}"
    runs = [f"runs/pf/seed_{seed}" for seed in range(2)]
    for place in runs:
        pages.write_run(tmp_path / place)
    (tmp_path / runs[1] / "report.html").write_text("")
    curve = {"mean": [0.5, 0.6, 0.7], "deviation": [0.01, 0.02, 0.03]}
    against = {"mean": 0.0345, "half_width": 0.0111}
    entries = {
        "pf_msmtrec": entry("pf_msmtrec", 0.7345, runs=runs, valid_by_round=curve),
        evil: entry(evil, 0.7, subject_minus_it=against),
        "pooled_mmoe": entry("pooled_mmoe", None, round_bytes=None, leaves=[]),
    }
    value = {
        "data": "/somewhere",
        "rows": {"nl": 1234},
        "given_to_all": {"rounds": 2},
        "subject": "pf_msmtrec",
        "target_valid_auc": 0.6789,
        "entries": entries,
    }
    pages.put(tmp_path / "results.json", value)
    lines = ["algorithm,seed,scenario,task,metric,value"]
    for name, values in (
        ("pf_msmtrec", ("0.80", "0.90")),
        ('"' + evil.replace('"', '""') + '"', ("0.70", "0.70")),
        ("pooled_mmoe", ("NaN", "")),
    ):
        for seed, value in enumerate(values):
            lines.append(f"{name},{seed},nl,ctr,auc,{value}")
            lines.append(f"{name},{seed},nl,ctr,logloss,{value}")
            lines.append(f"{name},{seed},,,train_seconds,{10 + seed}")
    (tmp_path / "results.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_the_figures_of_a_comparison_are_in_its_page(comparison):
    text = comparison_page.write(comparison).read_text(encoding="utf-8")
    page = pages.check_alone(text)
    evil = f"fedavg:{pages.EVIL}"
    rows = [row for row in page.rows if len(row) == 6 and row[0] != "entry"]
    # Best first, of no number last.
    assert [row[0] for row in rows] == ["pf_msmtrec", evil, "pooled_mmoe"]
    assert rows[0][1:] == ["no", "0.7345 ± 0.0012", "-", "0.7100", "10 s"]
    assert rows[1][3] == "+0.0345 ± 0.0111"
    assert rows[2][1:3] == ["yes", "NaN"]
    # Mean and deviation of 0.8 and 0.9, and the best of the line.
    assert ["nl", "ctr", "0.8500 ± 0.0707", "0.7000 ± 0.0000", "NaN"] in page.rows
    assert "<b>0.8500 ± 0.0707</b>" in text
    # A loss is better where it is lower.
    assert "<b>0.7000 ± 0.0000</b>" in text
    assert ["pf_msmtrec", "2 MB", "2", "4 MB"] in [row[:4] for row in page.rows]
    assert "a valid AUC of 0.6789" in page.text
    assert ["nl", "1,234"] in page.rows
    assert ["mu", "0.5"] in page.rows
    # 66 seconds for six runs.
    assert "63 s" in page.text
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links == ["runs/pf/seed_1/report.html"]
    # The spread over seeds of all and of its one scenario and task that was run.
    assert page.tags.count("polygon") >= 2


def test_one_seed_has_no_spread(comparison):
    curves = [[(1.0, 0.5), (2.0, 0.6)], [(1.0, 0.7)]]
    line = comparison_page._mean_line("a", curves, 0)
    # At rounds that both have: 0.6, and sqrt(2) / 10.
    assert line.points == [(1.0, pytest.approx(0.6))]
    assert line.spread == [pytest.approx(0.141421, abs=1e-6)]
    assert comparison_page._mean_line("a", curves[:1], 0).spread == ()


def test_a_seed_whose_predictions_are_nan_is_not_left_out_of_the_mean(comparison):
    path = comparison / "results.csv"
    line = "pf_msmtrec,1,nl,ctr,auc,"
    path.write_text(path.read_text().replace(f"{line}0.90", f"{line}NaN"))
    row = comparison_page._best_marked(comparison_page.Comparison(comparison), "nl", "ctr", "auc")
    assert row[0] == "NaN"
    assert "0.7000" in str(row[1])


def test_bytes_beyond_all_bounds_are_told(comparison):
    value = json.loads((comparison / "results.json").read_text())
    value["entries"]["pf_msmtrec"]["round_bytes"] = 1e308
    pages.put(comparison / "results.json", value)
    with pytest.raises(errors.PfrecError, match=r"round_bytes is 1e\+308, not a number from 0"):
        comparison_page.write(comparison)


def test_what_is_no_comparison_is_told(tmp_path):
    with pytest.raises(errors.PfrecError, match=r"results\.json: no such file"):
        comparison_page.write(tmp_path)
    pages.put(tmp_path / "results.json", {"a": 1})
    with pytest.raises(errors.PfrecError, match="has no entries"):
        comparison_page.write(tmp_path)


@pytest.mark.parametrize(("count", "name"), [(12, "h3"), (13, "summary")])
def test_many_panels_wait_behind_their_title(count, name):
    panels = [markup.tag("p", f"panel {number}") for number in range(count)]
    made = "".join(comparison_page._by_pair(panels, ""))
    assert f"<{name}>AUC on valid by scenario and task" in made
    assert ("<details>" in made) == (count > 12)
    assert f"panel {count - 1}" in made
