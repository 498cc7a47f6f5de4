"""Commands that are killed at a random instant come to the same in the end; of many instants see
`benchmarks/random_kills.py`.
"""

import pathlib

from benchmarks import random_kills


def test_killed_commands_come_to_the_same(tmp_path: pathlib.Path) -> None:
    killed = random_kills.run(tmp_path / "kills", 2, 900, seed=3, only=("convert", "train"))
    assert sum(killed.values()) >= 1
