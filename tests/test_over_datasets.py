"""benchmarks/over_datasets.py: means and paired intervals, by hand."""

import json
import math

from benchmarks import over_datasets

# Of two data sets, two seeds each.
TABLES = [
    {"own": [0.80, 0.82], "other": [0.70, 0.72]},  # ahead by 0.10 with each seed
    {"own": [0.60, 0.64], "other": [0.62, 0.62]},  # -0.02 and 0.02
]


def test_means_and_intervals_by_hand():
    own, other = over_datasets.overall(TABLES, ["other", "own"], "own")[2:]
    assert own == "| own | 0.7150 | - | - | - | - |"
    # Student's quantile of one degree is 12.7062. By seed: means over data sets differ by 0.04 and
    # 0.06; by data set: by 0.10 and 0.00.
    by_seed, by_data_set = 12.7062 * 0.01, 12.7062 * 0.05
    assert math.isclose(by_seed, 0.1271, abs_tol=1e-4)
    expected = f"| other | 0.6650 | +0.0500 ± {by_seed:.4f} | +0.0500 ± {by_data_set:.4f} | 1 | 0 |"
    assert other == expected


def test_one_seed_has_no_interval():
    tables = [{name: found[:1] for name, found in table.items()} for table in TABLES]
    other = over_datasets.overall(tables, ["other", "own"], "own")[3]
    # Differences of 0.10 and -0.02: 12.7062 times 0.06 by data set.
    assert other == "| other | 0.6600 | +0.0400 | +0.0400 ± 0.7624 | 0 | 0 |"


def test_every_data_set_has_a_line_and_algorithms_stand_by_their_mean():
    lines = over_datasets.by_data_set(dict(zip(("a", "b"), TABLES)), {"other", "own"})
    assert lines[0] == "| data set | own | other |"
    assert lines[2:] == ["| a | 0.8100 | 0.7100 |", "| b | 0.6200 | 0.6200 |"]


def test_a_comparison_beside_counts_over_the_seeds_that_both_have(tmp_path):
    def write(path, name, by_seed):
        path.mkdir(parents=True, exist_ok=True)
        entry = {
            "algorithm": name,
            "speaks_for_its_algorithm": True,
            "test_auc": {"by_seed": by_seed},
        }
        (path / "results.json").write_text(json.dumps({"entries": {f"{name}:rate=1": entry}}))

    write(tmp_path, "own", [0.5, 0.6, 0.9])
    write(tmp_path / "others", "other", [0.4, 0.5])
    path = tmp_path / "results.json"
    assert over_datasets.table_of(path, False, "") == {"own": [0.5, 0.6, 0.9]}
    both = {"own": [0.5, 0.6], "other": [0.4, 0.5]}
    assert over_datasets.table_of(path, False, "others") == both
