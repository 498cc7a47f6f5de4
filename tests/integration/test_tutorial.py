"""Every command of docs/tutorial.md, in order, as it stands there."""

import csv
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
from typing import Union

from tests.integration import commands, preloaded

_SMALL = ("--embedding_dim=4", "--experts=2", "--expert_units=8", "--tower_units=4")


def steps() -> "list[str]":
    """The lines of the blocks that a reader would run."""
    text = (commands.ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [
        line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()
    ]


def _start(step: str, directory: pathlib.Path) -> "Union[preloaded.Child, subprocess.Popen[str]]":
    """Starts a step; a small model, so that it takes a minute."""
    name, *rest = shlex.split(step)
    if name == "python":
        return subprocess.Popen(
            [sys.executable, *rest],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(commands.ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    # A run that goes on keeps its shape.
    small = _SMALL if name == "pfrec-train" and "--init_from=run_1" not in rest else ()
    return commands.start_in(directory, name, *rest, *small)


def test_the_tutorial_runs_from_its_first_command_to_its_last(tmp_path: pathlib.Path) -> None:
    (tmp_path / "examples").symlink_to(commands.ROOT / "examples")
    said = {}
    found = steps()
    assert len(found) > 10
    for step in found:
        done = commands.finish(_start(step, tmp_path))
        assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"
        said[step] = done.stdout
    canary = next(out for step, out in said.items() if step.endswith("--canary"))
    assert "challenger" in canary
    assert "models.config serves version 2 as canary beside stable be 1, de 1, fr 1, nl 1" in canary
    report = json.loads((tmp_path / "serving" / "export_report.json").read_text())
    cells = report["champion"]["cells"]
    assert [(cell["scenario"], cell["task"]) for cell in cells] == [
        (site, task) for site in ("be", "de", "fr", "nl") for task in ("click", "buy")
    ]
    assert all(0.3 < cell["challenger_auc"] < 1.0 for cell in cells)
    with (tmp_path / "scores.csv").open(newline="") as stream:
        scores = list(csv.DictReader(stream))
    assert len(scores) == 12_000
    assert {"user", "item", "scenario", "p_click", "p_buy"} <= set(scores[0])
    # The first week's model knows the users of both weeks: they are no mean over all.
    assert len({row["p_click"] for row in scores}) > 6000
    assert (tmp_path / "run_2" / "diagnostics" / "conflict_share.svg").exists()
    worth = json.loads((tmp_path / "run_2" / "diagnostics" / "importance.json").read_text())
    assert set(worth["scenarios"]) == {"be", "de", "fr", "nl"}
    assert worth["features"] == ["user", "item", "device", "price"]
    assert (tmp_path / "run_2" / "report.html").exists()
