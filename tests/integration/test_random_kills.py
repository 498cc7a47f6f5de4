"""Commands that are killed at a random instant come to the same in the end; of many instants see
`benchmarks/random_kills.py`.
"""

import pathlib

from benchmarks import random_kills


def test_killed_commands_come_to_the_same(tmp_path: pathlib.Path) -> None:
    killed = random_kills.run(tmp_path / "convert", 8, 900, seed=3, only=("convert",))
    assert killed["convert"] >= 1
    killed = random_kills.run(tmp_path / "train", 2, 900, seed=3, only=("train",))
    assert killed["train"] >= 1
