"""A comparison's cells, standings and tables, from summaries written by hand."""

import dataclasses
import json
import math
import pathlib

import pytest

from pfrec import errors
from tests import run_records
from tff_process import plan as plan_lib
from tff_process.comparison import entries, intervals, report, runs, standings


def _cell(
    name, seed, mean, cell=0.5, valid=(0.6, 0.7), round_bytes=1000, leaves=("expert/0/shared",)
):
    test = {
        "nl": {"ctr": {"auc": mean, "gauc": cell, "logloss": 0.3, "ece": 0.01}},
        "es": {"ctr": {"auc": None, "gauc": None, "logloss": 0.2, "ece": 0.02}},
    }
    entry = entries.Entry.parse(name)
    summary = {
        "algorithm": entry.algorithm,
        "seed": seed,
        "best_round": len(valid),
        "mean_auc": mean,
        "wall_seconds": 10.0 + seed,
        "test": test,
    }
    return runs.Cell(entry, seed, summary, valid, round_bytes, leaves)


CELLS = [
    _cell("local", 0, 0.70, leaves=()),
    _cell("local", 1, 0.72, leaves=()),
    _cell("pf_msmtrec", 0, 0.73),
    _cell("pf_msmtrec", 1, 0.74),
]


class _Data:
    path = "data"
    scenarios = ("nl", "es")

    class schema:  # noqa: N801  (stands for a Schema)
        tasks = (type("T", (), {"name": "ctr"}),)

    @staticmethod
    def rows(scenario, split):
        return {"nl": 30, "es": 20}[scenario]


def test_standings_are_means_over_seeds_best_first():
    first, second = standings.standings(CELLS)
    assert (first.algorithm, second.algorithm) == ("pf_msmtrec", "local")
    assert first.mean == pytest.approx(0.735)
    # Of 0.73 and 0.74: sqrt(2 * 0.005^2 / (2 - 1)).
    assert first.deviation == pytest.approx(0.00707107, rel=1e-5)
    assert first.seconds == pytest.approx(10.5)


def test_students_quantiles_are_those_of_the_tables():
    for degrees, expected in [(1, 12.706), (2, 4.303), (4, 2.776), (9, 2.262), (30, 2.042)]:
        assert intervals.t_quantile(0.975, degrees) == pytest.approx(expected, abs=5e-4)


def test_differences_are_paired_by_seed():
    """0.03 and 0.02: mean 0.025, standard error 0.00707 / sqrt(2) = 0.005, times 12.706."""
    found = standings.difference(CELLS, "pf_msmtrec", "local")
    assert found.mean == pytest.approx(0.025)
    assert found.half_width == pytest.approx(12.706 * 0.005, rel=1e-4)
    assert not found.excludes_zero
    # A seed that one of them lacks counts for nothing.
    more = [*CELLS, _cell("local", 2, 0.1, leaves=())]
    assert standings.difference(more, "pf_msmtrec", "local") == found
    assert math.isnan(standings.difference(CELLS[::2], "pf_msmtrec", "local").half_width)
    # Entries that came to the same are no different, however sure that is.
    assert not standings.difference(CELLS, "local", "local").excludes_zero
    assert intervals.Interval(-0.2, 0.1).excludes_zero


def test_the_subject_is_held_against_the_best_federated_baseline():
    rows = standings.standings(
        [*CELLS, _cell("fedbn", 0, 0.71), _cell("fedbn", 1, 0.73), _cell("pooled_mmoe", 0, 0.9)]
    )
    assert standings.subject(rows).entry == "pf_msmtrec"
    assert standings.best_baseline(rows).entry == "fedbn"
    text = report.markdown(
        [*CELLS, _cell("fedbn", 0, 0.71), _cell("fedbn", 1, 0.73)], _Data(), None
    )
    # 0.02 and 0.01.
    assert (
        "fedbn, which on test is the best of the others whose rows stay where they are, "
        "pf_msmtrec stands +0.0150 ± 0.0635, paired by seed: the "
        "interval holds zero" in text
    )


def test_the_entry_that_is_best_on_valid_speaks_for_its_algorithm():
    """The other one is ahead on test, which must not choose."""
    own = "fedbn:embedding/*=shared"
    rows = standings.standings(
        [_cell("fedbn", 0, 0.9, valid=(0.6, 0.7)), _cell(own, 0, 0.8, valid=(0.6, 0.8)), *CELLS]
    )
    assert {row.entry: row.speaks for row in rows if row.algorithm == "fedbn"} == {
        "fedbn": False,
        own: True,
    }
    assert standings.best_baseline(rows).entry == own
    assert "fedbn (another of its entries is ahead on `valid`)" in report.markdown(
        [_cell("fedbn", 0, 0.9, valid=(0.6, 0.7)), _cell(own, 0, 0.8, valid=(0.6, 0.8))],
        _Data(),
        None,
    )


def test_the_subject_and_those_it_is_held_against_are_each_algorithms_best_on_valid():
    """Of each the other one is ahead on test. 0.74 is four tenths of the way from 0.70 to 0.80."""
    valid = {False: (0.6,), True: (0.7,)}
    tested = (("pf_msmtrec", 0.79, 0.74), ("local", 0.75, 0.70), ("pooled_mmoe", 0.90, 0.80))
    cells = [
        _cell(f"{name}:learning_rate={rate}", 0, mean, valid=valid[speaks])
        for name, *means in tested
        for rate, mean, speaks in zip((0.1, 0.01), means, (False, True))
    ]
    rows = standings.standings(cells)
    assert standings.subject(rows).entry == "pf_msmtrec:learning_rate=0.01"
    assert standings.of_algorithm(rows, "local").entry == "local:learning_rate=0.01"
    assert standings.gap_closed(rows) == pytest.approx(0.4)


def test_without_pf_msmtrec_the_subject_is_the_best_on_valid():
    """Another is ahead on test, and what predicts NaN is none."""
    cells = [
        _cell("fedavg", 0, 0.72, valid=(0.7,)),
        _cell("fedbn", 0, 0.74, valid=(0.6,)),
        _cell("fedrep", 0, math.nan, valid=(0.9,)),
        _cell("pooled_mmoe", 0, 0.9, valid=(0.8,)),
    ]
    rows = standings.standings(cells)
    assert standings.subject(rows).entry == "fedavg"
    assert standings.best_baseline(rows).entry == "fedbn"
    assert "fedavg, the best of all on `valid`, stands -0.0200," in report.markdown(
        cells, _Data(), None
    )
    assert standings.subject(rows[-1:]).entry == "fedrep"
    assert standings.subject([]) is None


def test_what_is_not_known_on_valid_is_chosen_last_and_not_called_the_best_there():
    cells = [
        _cell("fedbn", 0, 0.74, valid=(math.nan,)),
        _cell("fedbn:embedding/*=shared", 0, 0.73, valid=(math.nan,)),
        _cell("fedavg", 0, 0.72, valid=(math.nan,)),
    ]
    text = report.markdown(cells, _Data(), None)
    assert "fedbn, the best of all on test, as none is known on `valid`, stands +0.0200" in text
    assert "fedbn:embedding/*=shared (another of its entries speaks for it)" in text
    known = [
        _cell("fedbn:embedding/*=private", 0, 0.71, valid=(0.6,)),
        _cell("fedrep", 0, 0.70, valid=(0.5,)),
    ]
    rows = standings.standings([*cells, *known])
    assert standings.subject(rows).entry == "fedbn:embedding/*=private"
    assert standings.winner([*cells, *known], pathlib.Path())["valid_auc"] == 0.6


def test_what_predicts_nan_is_the_last_and_never_a_best():
    rows = standings.standings([_cell("fedavg", 0, math.nan), *CELLS, _cell("fedbn", 0, 0.6)])
    assert [row.entry for row in rows] == ["pf_msmtrec", "local", "fedbn", "fedavg"]
    useless = {"auc": None, "logloss": None, "rows": 9}
    one = _cell("fedavg", 0, 0.7)
    one.summary["test"]["es"]["ctr"] = useless
    assert math.isnan(standings.cell_auc(one, "es", "ctr"))
    assert math.isnan(standings.scenario_auc(one, "es"))
    # Of one class, or without rows, it is not defined, whatever is predicted.
    for cell in ({**useless, "logloss": 0.3}, {**useless, "rows": 0}):
        one.summary["test"]["es"]["ctr"] = cell
        assert standings.cell_auc(one, "es", "ctr") is None
        assert standings.scenario_auc(one, "es") is None


def test_an_undefined_auc_is_left_out_and_said():
    text = report.markdown(CELLS, _Data(), None)
    assert "| algorithm | nl ctr | es ctr |" in text
    assert "| pf_msmtrec | 0.7350 ± 0.0071 | one class |" in text
    assert "| local | 0.7100 ± 0.0141 | one class |" in text


def test_the_smallest_scenario_stands_on_its_own():
    text = report.markdown(CELLS, _Data(), None)
    assert "## The smallest scenario, es (20 training rows)" in text


def test_the_smallest_scenario_is_held_against_local_training_of_any_setting():
    class Larger(_Data):
        @staticmethod
        def rows(scenario, split):
            return {"nl": 10, "es": 20}[scenario]

    tuned = [
        _cell("local:learning_rate=0.03", seed, mean, leaves=())
        for seed, mean in ((0, 0.70), (1, 0.72))
    ]
    text = report.markdown([*CELLS[2:], *tuned], Larger(), None)
    # 0.03 and 0.02, as above.
    assert "| pf_msmtrec | 0.7350 | 0.0071 | +0.0250 ± 0.0635 |" in text
    assert "| local:learning_rate=0.03 | 0.7100 | 0.0141 | - |" in text


def test_how_much_of_the_gap_to_pooling_is_closed():
    """Local 0.71, ours 0.735: of the way to 0.76 a half;
    a pooled model that is no better has no gap to close.
    """
    text = report.markdown(
        [*CELLS, _cell("fedbn", 0, 0.71), _cell("pooled_mmoe", 0, 0.76)], _Data(), None
    )
    assert (
        "From local training to the pooled MMoE, which sees all rows, it goes 50% of the way."
        in text
    )
    for pooled in (0.71, 0.70):
        rows = standings.standings([*CELLS, _cell("pooled_mmoe", 0, pooled)])
        assert standings.gap_closed(rows) is None
    assert standings.gap_closed(standings.standings(CELLS)) is None


def test_bytes_to_reach_an_auc_that_all_reach():
    cells = [
        _cell("fedavg", 0, 0.7, valid=(0.5, 0.6, 0.62), round_bytes=2_000_000),
        _cell("fedbn", 0, 0.7, valid=(0.55, 0.65, 0.66), round_bytes=1_000_000),
        _cell("local", 0, 0.7, valid=(0.4, 0.4, 0.4), leaves=()),
        _cell("pooled_mmoe", 0, 0.7, valid=(0.3, 0.3, 0.3), round_bytes=None, leaves=()),
    ]
    rows = standings.standings(cells)
    target = standings.target_auc(cells, rows)
    assert target == 0.62
    assert standings.rounds_to(cells, "fedavg", target) == 3
    assert standings.rounds_to(cells, "fedbn", target) == 2
    assert standings.rounds_to(cells, "fedavg", 0.9) is None
    text = report.markdown(cells, _Data(), target)
    assert "| fedavg | 2 | 3 | 6 |" in text
    assert "| fedbn | 1 | 2 | 2 |" in text


def test_what_predicts_nan_sets_no_target_and_has_no_share_of_a_gap():
    """Its rounds count as 0, the worst, and a score of 0 is no AUC."""
    useless = _cell("pf_msmtrec", 0, math.nan, valid=(0.0, 0.0))
    useless.summary.update(nan=["nl ctr"], mean_auc=None)
    cells = [
        useless,
        _cell("fedavg", 0, 0.7, valid=(0.5, 0.62)),
        _cell("local", 0, 0.6, leaves=()),
        _cell("pooled_mmoe", 0, 0.8, round_bytes=None, leaves=()),
    ]
    rows = standings.standings(cells)
    assert standings.target_auc(cells, rows) == 0.62
    assert standings.target_auc(cells[:1], rows[-1:]) is None
    assert standings.gap_closed(rows) is None
    text = report.markdown(cells, _Data(), 0.62)
    assert "| pf_msmtrec | 0.001 | - | not reached |" in text
    assert "nan" not in text
    plans = {row.entry: plan_lib.Plan(row.algorithm) for row in rows}
    found = report.to_json(cells, plans, _Data(), 0.62)["entries"]
    assert found["pf_msmtrec"]["valid_auc"] is None
    assert found["fedavg"]["valid_auc"] == 0.62
    told = {row[4]: row[5] for row in runs.long_rows([useless]) if not row[2]}
    assert (told["mean_auc"], told["valid_auc"]) == ("NaN", "NaN")


def test_what_each_was_given_is_on_record():
    own = "ditto:gate/*=private"
    cells = [*CELLS, _cell(own, 0, 0.7)]
    plans = {name: plan_lib.Plan(name.partition(":")[0]) for name in ("local", "pf_msmtrec", own)}
    found = report.to_json(cells, plans, _Data(), 0.65)
    assert found["given_to_all"]["rounds"] == 20
    assert found["entries"][own]["knobs"] == {"weight": 0.1}
    assert found["entries"][own]["sharing"] == [["gate/*", "private"]]
    assert found["entries"]["pf_msmtrec"]["knobs"]["coordination"] == "conflict_averse"
    assert found["entries"]["local"]["knobs"] == {}
    assert found["entries"]["pf_msmtrec"]["bytes_to_target"] == 2000
    assert found["entries"]["local"]["subject_minus_it"]["mean"] == pytest.approx(0.025)
    assert found["entries"]["local"]["test_auc"]["by_seed"] == [0.70, 0.72]
    json.dumps(found, allow_nan=False)


def test_two_plans_have_two_records():
    """Whatever setting differs: the record is the plan's own."""
    plain = plan_lib.Plan("pf_msmtrec")
    changed = [
        dataclasses.replace(plain, **{name: value})
        for name, value in {
            "lazy_adam": True,
            "weight_decay": 7.0,
            "precision": "bfloat16",
            "sharing": (("gate/*", "private"),),
            "init_from": "run",
            "robust": "norm",
            "withhold": ("loss",),
            "settings": dataclasses.replace(plain.settings, mu=0.5),
            "model": dataclasses.replace(plain.model, rank=2),
        }.items()
    ]
    records = [
        json.dumps(report.to_json(CELLS, {"pf_msmtrec": one, "local": one}, _Data(), 0.65))
        for one in (plain, *changed)
    ]
    assert len(set(records)) == len(records)


def test_long_rows_keep_the_contract_and_leave_undefined_values_empty():
    rows = runs.long_rows(CELLS[:1])
    assert all(len(row) == len(runs.HEADER) for row in rows)
    assert ("local", 0, "nl", "ctr", "auc", 0.70) in rows
    assert ("local", 0, "es", "ctr", "auc", "") in rows
    assert ("local", 0, "", "", "train_seconds", 10.0) in rows
    assert ("local", 0, "", "", "valid_auc", 0.7) in rows


def test_the_winner_is_the_federated_one_that_is_best_on_valid(tmp_path):
    cells = [
        _cell("local", 0, 0.75, valid=(0.6, 0.7), leaves=()),
        _cell("pf_msmtrec", 1, 0.74, valid=(0.6, 0.72)),
        _cell("pf_msmtrec", 0, 0.73, valid=(0.6, 0.71)),
        _cell("fedavg", 0, math.nan, valid=(0.6, 0.8)),
        _cell("pooled_mmoe", 0, 0.9, valid=(0.6, 0.9)),
    ]
    assert standings.winner(cells, tmp_path) == {
        "federated": "runs/pf_msmtrec/seed_0",
        "algorithm": "pf_msmtrec",
        "entry": "pf_msmtrec",
        "mean_auc": pytest.approx(0.735),
        "valid_auc": pytest.approx(0.715),
    }
    assert standings.winner(cells[-2:], tmp_path)["federated"] is None


def test_no_defined_auc_at_all_is_one_clear_error():
    with pytest.raises(errors.PfrecError, match="no scenario's test split holds both classes"):
        standings.standings([_cell("local", 0, None)])


def test_a_run_is_scored_by_round_from_its_metrics(tmp_path):
    """As the training scored it: equal tasks weigh the same, one that is not defined does not
    count, test and loss are passed over.
    """
    values = {"auc": (0.8, 0.6), "rows": (40, 40), "positives": (10, 30)}
    lines = [
        "round,scenario,split,task,metric,value",
        "1,nl,train,all,loss,0.5",
        "1,nl,test,ctr,auc,0.1",
    ]
    for number, raised in [(1, 0.0), (2, 0.1)]:
        for task, i in [("ctr", 0), ("cvr", 1)]:
            lines += [
                f"{number},nl,valid,{task},{m},{values[m][i] + raised * (m == 'auc')}"
                for m in values
            ]
        lines += [
            f"{number},es,valid,ctr,auc,0.9",
            f"{number},es,valid,ctr,rows,9",
            f"{number},es,valid,ctr,positives,3",
        ]
        lines += [
            f"{number},es,valid,cvr,auc,",
            f"{number},es,valid,cvr,rows,9",
            f"{number},es,valid,cvr,positives,0",
        ]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    run_records.write(tmp_path, summary={"best_round": 2, "mean_auc": 0.5})
    of_local = entries.Entry.parse("local"), plan_lib.Plan("local"), 2
    cell = runs.read(tmp_path, *of_local)
    # Variances 41 / (12 * 10 * 30) of nl's two, 0.7 in the mean, and 10 / (12 * 3 * 6) of es's one.
    nl, es = 2 / (41 / 3600 + 1e-4), 1 / (10 / 216 + 1e-4)
    expected = [(nl * (0.7 + raised) + es * 0.9) / (nl + es) for raised in (0.0, 0.1)]
    assert cell.valid == pytest.approx(expected)
    assert cell.best_valid == pytest.approx(expected[1])
    # A line that a kill cut is of no round.
    (tmp_path / "metrics.csv").write_text("\n".join([*lines, "3,nl,valid,ctr"]))
    assert runs.read(tmp_path, *of_local).valid == cell.valid
    for content, message in [
        (lines[:-12], "does not tell what round 2, the best one"),
        ([*lines, "2,nl,valid,ctr,auc,0.x"], "cannot be read .*; remove .* to train it again"),
    ]:
        (tmp_path / "metrics.csv").write_text("\n".join(content) + "\n")
        with pytest.raises(errors.PfrecError, match=rf"metrics\.csv: {message}"):
            runs.read(tmp_path, *of_local)


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(errors.PfrecError, match="not an empty directory"):
        runs.prepare(tmp_path)


def test_entries_with_a_policy_of_their_own():
    plain, own = (
        entries.Entry.parse("fedbn"),
        entries.Entry.parse("fedbn:embedding/*=shared:gate/*=private"),
    )
    assert (plain.directory, plain.sharing) == ("fedbn", ())
    assert own.sharing == (("embedding/*", "shared"), ("gate/*", "private"))
    assert own.algorithm == "fedbn"
    assert own.directory.startswith("fedbn-embedding-all-shared-gate-all-private-")
    assert own.directory != entries.Entry.parse("fedbn:embedding/*=shared:gate/=private").directory
    # Of the same words, the second pair in their first sixty letters.
    long = "fedbn:" + "embedding/*=shared:" * 4
    for one, other in [
        ("fedbn:gate/*=private", "fedbn:gate/all=private"),
        (f"{long}gate/*=private", f"{long}tower/*=private"),
    ]:
        assert entries.Entry.parse(one).directory != entries.Entry.parse(other).directory
    for text, message in [
        ("fedavgg", "unknown"),
        ("fedbn:embedding", "no sharing rule"),
        ("fedbn:gate/*=public", "no sharing rule"),
        ("pooled_mmoe:gate/*=private", "no sharing policy"),
    ]:
        with pytest.raises(errors.PfrecError, match=message):
            entries.Entry.parse(text)


def test_entries_with_settings_of_their_own():
    own = entries.Entry.parse("ditto:ditto_lambda=1:gate/*=private:learning_rate=0.01")
    assert own.settings == (("ditto_lambda", "1"), ("learning_rate", "0.01"))
    assert own.sharing == (("gate/*", "private"),)
    pooled = entries.Entry.parse("pooled_mmoe").with_setting("learning_rate", "0.01")
    assert (pooled.name, pooled.algorithm) == ("pooled_mmoe:learning_rate=0.01", "pooled_mmoe")
    assert pooled.directory.startswith("pooled-mmoe-learning-rate-0-01-")
