"""The page of a run holds its figures, stands alone, and takes every name for data."""

import json

import pytest

from pfrec import errors
from pfrec.report import run_page
from tests.pfrec.report import pages


def made(run):
    return pages.check_alone(run_page.write(run).read_text(encoding="utf-8"))


def test_the_figures_of_a_run_are_in_its_page(tmp_path):
    page = made(pages.write_run(tmp_path / "run"))
    assert ["nl", "ctr", "0.6000", "0.2500", "0.0100", "1,000", "50", "5%"] in page.rows
    assert ["fr", "cvr", "0.6030", "0.2500", "0.0100", "1,000", "50", "5%"] in page.rows
    assert "grouped AUC" not in page.text  # nobody has groups
    for words in ("0.6543", "2 of 3", "17 s", "mean test AUC"):
        assert words in page.text, words
    # 125 of 1000 are positive, in four columns.
    assert ["nl", "12,345", "12,345", "12,345", "12.5%", "12.5%", "12.5%", "12.5%"] in page.rows
    # A round: two sites, each 4 * (2000 + 3000) and once 500 for the evaluation.
    for words in ("41 kB", "123 kB", "until round 2", "82 kB"):
        assert words in page.text, words
    assert ["expert/0", "39×8", "1.25 kB", "as it is", "every aggregation"] in page.rows
    assert "batch_norm/expert_0, secret." in page.text
    assert ["2", "nl", "update refused: too large"] in page.rows
    # Round 1 was traced: the mean of the others.
    assert ["a round", "2.5 s"] in page.rows
    assert ["settings.mu", "0.25"] in page.rows
    assert "pfrec-diagnose --run=" in page.text


def test_grouped_auc_has_a_column_where_there_is_any(tmp_path):
    run = pages.write_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    summary["test"]["nl"]["ctr"]["gauc"] = 0.7171
    summary["test"]["nl"]["cvr"] = pages.cell(None, positives=0)
    pages.put(run / "summary.json", summary)
    page = made(run)
    assert ["nl", "ctr", "0.6000", "0.7171", "0.2500", "0.0100", "1,000", "50", "5%"] in page.rows
    nothing = ["nl", "cvr", "one class", "one class", "0.2500", "0.0100", "1,000", "0", "0%"]
    assert nothing in page.rows


def test_metrics_of_finished_models_are_called_so(tmp_path):
    run = pages.write_run(tmp_path / "run")
    told = "best on valid, finished by each client on its own rows. AUC"
    assert told not in made(run).text
    summary = json.loads((run / "summary.json").read_text())
    pages.put(run / "summary.json", {**summary, "finished": {"nl": "0f"}})
    assert told in made(run).text


def test_a_run_that_ended_early_says_of_how_many_rounds(tmp_path):
    run = pages.write_run(tmp_path / "run")
    assert "Training ended" not in made(run).text
    summary = json.loads((run / "summary.json").read_text())
    pages.put(run / "summary.json", {**summary, "rounds": 3, "planned_rounds": 8})
    assert "Training ended after 3 of 8 rounds." in made(run).text


def test_a_run_under_way_tells_the_rounds_that_its_budget_leaves(tmp_path):
    run = pages.write_run(tmp_path / "run")
    (run / "summary.json").unlink()
    manifest = json.loads((run / "privacy_manifest.json").read_text())
    pages.put(run / "privacy_manifest.json", {**manifest, "most_rounds": 7})
    assert "The run is not finished: round 3 of 7." in made(run).text


def test_withheld_metrics_are_called_so(tmp_path):
    run = pages.write_run(tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    summary.update(mean_auc=None, withheld=["metrics"])
    pages.put(run / "summary.json", summary)
    page = made(run)

    # Where losses are too, metrics.csv tells of no round; times.csv does.
    (run / "metrics.csv").write_text("round,scenario,split,task,metric,value\n")
    assert "2 of 3" in made(run).text
    assert "withheld" in page.text
    assert "the model is that of the last" in page.text
    assert "At the round that was best on valid" not in page.text


def test_what_a_site_receives_to_find_the_spread_is_told(tmp_path):
    run = pages.write_run(tmp_path / "run")
    assert "to find the spread" not in made(run).text
    manifest = json.loads((run / "privacy_manifest.json").read_text())
    told = {"bytes": 640, "group": "expert/1", "shape": [20, 8], "what": "consensus/expert/1/bias"}
    pages.put(run / "privacy_manifest.json", {**manifest, "evaluation_downloads": [told]})
    page = made(run)
    assert "to find the spread" in page.text
    assert ["expert/1", "20×8", "640 B", "as it is", "every round"] in page.rows


def test_metrics_leave_once_a_round(tmp_path):
    run = pages.write_run(tmp_path / "run")
    manifest = json.loads((run / "privacy_manifest.json").read_text())

    def often(*names):
        told = [{"bytes": 96, "group": "", "shape": [2, 6], "what": name} for name in names]
        pages.put(run / "privacy_manifest.json", {**manifest, "uploads": told})
        return {row[0]: row[-1] for row in made(run).rows if row[0] in names}

    assert often("metrics", "loss") == {"metrics": "every round", "loss": "every aggregation"}
    spreads = often("metrics", "spreads_metrics")
    assert spreads == {"metrics": "once, on test", "spreads_metrics": "every round"}


def test_budgets_of_differential_privacy(tmp_path):
    run = pages.write_run(tmp_path / "run")
    assert "Differential privacy" not in made(run).text
    manifest = json.loads((run / "privacy_manifest.json").read_text())
    budget = {
        "epsilon": 8.0,
        "delta": 5.9e-5,
        "noise_multiplier": 1.2345,
        "sampling_rate": 0.1875,
        "steps": 1240,
    }
    spent = {"epsilon_spent": 7.99214, "steps_spent": 1200}
    manifest["differential_privacy"] = {
        "protects": "one training row",
        "takes_as_known": "training rows to two digits",
        "mechanism": "Gaussian noise",
        "clip": 1.0,
        "scenarios": {"nl": {**budget, **spent}, "fr": budget},
    }
    pages.put(run / "privacy_manifest.json", manifest)
    rows = made(run).rows
    assert ["nl", "8", "7.992", "5.9e-05", "1.234", "18.75%", "1,200 of 1,240"] in rows
    assert ["fr", "8", "", "5.9e-05", "1.234", "18.75%", "0 of 1,240"] in rows


def test_names_are_data(tmp_path):
    evil = pages.EVIL
    run = pages.write_run(tmp_path / "run", ("nl", "fr"), ("ctr", evil))
    pages.put(run / "diagnostics" / "round_00002.json", {"refused": {evil: evil}})
    page = made(run)
    assert ["nl", evil, "0.6010", "0.2500", "0.0100", "1,000", "50", "5%"] in page.rows
    assert ["2", evil, f"update refused: {evil}"] in page.rows
    # A scenario is a directory, and has the name of one.
    with pytest.raises(errors.PfrecError, match="cannot be a directory's name"):
        made(pages.write_run(tmp_path / "other", (evil, "fr"), ("ctr",)))


def test_twenty_scenarios_of_three_tasks_are_lines_and_panels(tmp_path):
    scenarios = tuple(f"market_{number}" for number in range(20))
    run = pages.write_run(tmp_path / "run", scenarios, ("click", "cart", "buy"))
    page = made(run)
    lines = [row for row in page.rows if len(row) == 8 and row[1] in ("click", "cart", "buy")]
    assert len(lines) == 60
    assert lines[59][:3] == ["market_19", "buy", "0.6590"]
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert set(scenarios) <= set(labels)
    assert page.tags.count("polyline") >= 60
    # Of 190 pairs those that conflict most, and it says so.
    assert "the 40 of 190 pairs that conflict most" in page.text


def worth(mean):
    return {"mean": mean, "deviation": 0.001}


def test_what_diagnose_computed_is_drawn(tmp_path):
    run = pages.write_run(tmp_path / "run")
    parts = [{"rows": 10, "positives": 1, "predicted": 0.2}]
    found = {"split": "test", "round": 2, "scenarios": {"nl": {"ctr": parts}}}
    pages.put(run / "diagnostics" / "calibration.json", found)
    found = {
        "split": "valid",
        "round": 2,
        "repeats": 3,
        "features": ["price", pages.EVIL],
        "scenarios": {"nl": {"ctr": {"price": worth(0.0123), pages.EVIL: worth(0.0456)}}},
    }
    pages.put(run / "diagnostics" / "importance.json", found)
    pages.put(run / "diagnostics" / "gate_use.json", {"2": {"nl": {"ctr": [0.25, 0.75]}}})
    page = made(run)
    assert "ctr: 0.2, 0.1" in page.text
    assert "price, nl ctr: 0.012" in page.text
    assert page.text.index("0.046") < page.text.index("0.012")  # what matters most first
    assert "nl ctr, expert 1: 0.75" in page.text
    assert "pfrec-diagnose" not in page.text


def test_a_run_that_goes_on_says_so(tmp_path):
    page = made(pages.write_run(tmp_path / "run", finished=False))
    assert "not finished: round 3 of 3" in page.text
    assert "mean test AUC" not in page.text


def test_silos_tell_their_training_rows_alone(tmp_path):
    run = pages.write_run(tmp_path / "run")
    pages.put(run / "counts.json", {name: {"train": {"rows": 1800}} for name in ("nl", "fr")})
    config = json.loads((run / "config.json").read_text())
    pages.put(run / "config.json", {**config, "data": None})
    page = made(run)
    assert ["nl", "1,800"] in page.rows
    assert "silos, which tell coarse counts" in page.text


def test_a_pooled_run_sends_nothing(tmp_path):
    run = pages.write_run(tmp_path / "run")
    (run / "privacy_manifest.json").unlink()
    assert "all rows are in one place" in made(run).text


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    run = pages.write_run(tmp_path / "run", finished=False)
    with (run / "metrics.csv").open("a") as stream:
        stream.write("4,nl,valid,ctr")
    assert "round 3 of 3" in made(run).text


def test_files_that_are_no_runs_are_told(tmp_path):
    with pytest.raises(errors.PfrecError, match=r"config\.json: no such file"):
        run_page.write(tmp_path)
    pages.put(tmp_path / "config.json", [1])
    with pytest.raises(errors.PfrecError, match="of format version None"):
        run_page.write(tmp_path)
    run = pages.write_run(tmp_path / "run")
    (run / "summary.json").write_text("{")
    with pytest.raises(errors.PfrecError, match=r"summary\.json: cannot be read"):
        run_page.write(run)
