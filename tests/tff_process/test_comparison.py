"""The tables of a comparison, from summaries written by hand."""

import pytest

from pfrec import errors
from tff_process import comparison
from tff_process import plan as plan_lib


def _summary(algorithm, seed, mean, cell=0.5):
    test = {
        "nl": {"ctr": {"auc": mean, "gauc": cell, "logloss": 0.3, "ece": 0.01}},
        "es": {"ctr": {"auc": None, "gauc": None, "logloss": 0.2, "ece": 0.02}},
    }
    return {"algorithm": algorithm, "seed": seed, "mean_auc": mean, "wall_seconds": 10.0 + seed, "test": test}


SUMMARIES = [
    _summary("local", 0, 0.70),
    _summary("pf_msmtrec", 0, 0.73),
    _summary("local", 1, 0.72),
    _summary("pf_msmtrec", 1, 0.74),
]


def test_standings_are_means_over_seeds_best_first():
    first, second = comparison.standings(SUMMARIES)
    assert (first.algorithm, second.algorithm) == ("pf_msmtrec", "local")
    assert first.mean == pytest.approx(0.735)
    # Of 0.73 and 0.74: sqrt(2 * 0.005^2 / (2 - 1)).
    assert first.deviation == pytest.approx(0.00707107, rel=1e-5)
    assert first.seconds == pytest.approx(10.5)


def test_differences_are_paired_by_seed():
    (line,) = comparison._differences(SUMMARIES)
    # 0.03 and 0.02: mean 0.025, standard error 0.00707 / sqrt(2).
    assert line == "- pf_msmtrec minus local: +0.0250 (standard error 0.0050, paired by seed)"


def test_one_seed_has_no_deviation():
    assert "| pf_msmtrec | no | 0.7300 | - | 10 |" in comparison.markdown(SUMMARIES[:2], [plan_lib.Plan("local")], _Data())


class _Data:
    scenarios = ("nl", "es")

    class schema:  # noqa: N801  (stands for a Schema)
        tasks = (type("T", (), {"name": "ctr"}),)


def test_an_undefined_auc_is_left_out_and_said():
    text = comparison.markdown(SUMMARIES, [plan_lib.Plan("local", seed=s) for s in (0, 1)], _Data())
    assert "| nl | ctr | 0.7100 | 0.7350 |" in text
    assert "| es | ctr | one class | one class |" in text


def test_long_rows_keep_the_contract_and_leave_undefined_values_empty():
    rows = comparison.long_rows(SUMMARIES[:1])
    assert all(len(row) == len(comparison.HEADER) for row in rows)
    assert ("local", 0, "nl", "ctr", "auc", 0.70) in rows
    assert ("local", 0, "es", "ctr", "auc", "") in rows
    assert ("local", 0, "", "", "train_seconds", 10.0) in rows


def test_the_winner_is_the_best_federated_one(tmp_path):
    winner = comparison.winner([*SUMMARIES, _summary("pooled_mmoe", 0, 0.9)], tmp_path)
    assert winner["algorithm"] == "pf_msmtrec"
    assert winner["federated"] == "runs/pf_msmtrec/seed_0"


def test_no_defined_auc_at_all_is_one_clear_error():
    with pytest.raises(errors.PfrecError, match="no scenario's test split holds both classes"):
        comparison.standings([_summary("local", 0, None)])


def test_a_directory_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(errors.PfrecError, match="not an empty directory"):
        comparison.prepare(tmp_path)
