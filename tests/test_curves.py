"""The curves of benchmarks/curves.py: the rows that they are measured on, and what is said of
them.
"""

import numpy as np
import pytest

from benchmarks import curves
from pfrec.data.dataset import dataset as dataset_lib


def test_valid_rows_are_as_many_in_every_scenario_however_few_it_trains_on(tmp_path):
    data = dataset_lib.Dataset.open(curves.generate(tmp_path / "data", 300, 500, seed=0))
    assert [data.rows(name, "train") for name in data.scenarios] == [300, 139, 65, 30]
    assert [data.rows(name, "valid") for name in data.scenarios] == [500] * 4
    data.verify()


def test_a_table_names_where_the_subject_is_farthest_behind_after_a_tenth_of_an_epoch():
    # Two seeds, twenty parts of an epoch: the first is not looked at.
    own = [[0.5] * 20, [0.7] * 20]
    near = [[0.9] + [0.4] * 19, [0.9] + [0.6] * 19]
    far = [[0.5] * 20, [0.7] * 20]
    far[0][9], far[1][9] = 0.6, 0.9
    lines = curves.table(1000, 20, 200, {"a": own, "b": near, "c": far})
    assert lines[2] == "| epoch | steps | a | b | c |"
    assert lines[4] == "| 0.10 | 20 | 0.6000 | 0.5000 | 0.6000 |"
    assert lines[8] == "| 0.50 | 100 | 0.6000 | 0.5000 | 0.7500 |"
    assert len(lines) == 4 + 10 + 3
    # Gaps of 0.1 and 0.2: a mean of 0.15 and a standard error of 0.1 / sqrt(2) / sqrt(2).
    assert lines[-2] == "a is behind another by +0.1500 (+-0.0500) at most: at epoch 0.50, c."


def test_one_seed_has_no_error():
    behind = curves.behind(np.array([0.5]), np.array([0.7]))
    assert behind == (pytest.approx(0.2), 0.0)
