"""pfrec-status: of a run that begins, goes on and is finished."""

import os
import pathlib

import pytest

from pfrec import errors, files
from pfrec.commands import status
from tests import run_records


def _begun(run: pathlib.Path) -> None:
    config = {"algorithm": "fedavg", "scenarios": ["fr", "nl"], "data": "/data"}
    plan = {"algorithm": "fedavg", "rounds": 10}
    run_records.write(run, {**config, "plan": plan})


def _completed(run: pathlib.Path, number: int, when: float) -> None:
    path = run / "server" / f"round_{number:05d}"
    path.mkdir(parents=True)
    os.utime(path, (when, when))


def test_before_the_first_round(tmp_path: pathlib.Path) -> None:
    _begun(tmp_path)
    said = status.status(tmp_path, 0.0)
    assert said.splitlines()[0] == f"{tmp_path}: fedavg on /data (fr, nl)"
    assert "round 1 of 10 is under way" in said


def test_rounds_tell_what_is_left(tmp_path: pathlib.Path) -> None:
    """Rounds 2 and 4 were complete 60 seconds apart, so one takes 30 and six take 180, of which 20
    have gone by.
    """
    _begun(tmp_path)
    _completed(tmp_path, 2, 1000.0)
    (tmp_path / "server" / ".tmp-round_00005").mkdir()
    assert status.status(tmp_path, 1007.0).splitlines()[1] == "round 2 of 10 is complete since 7 s"
    _completed(tmp_path, 4, 1060.0)
    line = status.status(tmp_path, 1080.0).splitlines()[1]
    assert line == "round 4 of 10 is complete since 20 s; 30 s a round, at most 3 min left"
    # The fifth round is late, and five more are to come.
    assert status.status(tmp_path, 1270.0).splitlines()[1].endswith("at most 2 min left")
    assert status.status(tmp_path, 1271.0).splitlines()[1] == (
        "round 4 of 10 is complete since 4 min; 30 s a round: if it was ended, the line that began "
        "it goes on with --resume"
    )


def test_a_budget_leaves_fewer_rounds(tmp_path: pathlib.Path) -> None:
    _begun(tmp_path)
    lists = ("uploads", "uploads_once", "downloads", "kept_copies", "never_leaves", "groups")
    manifest: dict[str, object] = {name: [] for name in lists}
    manifest |= dict.fromkeys(("aggregations_per_round", "upload_bytes", "download_bytes"), 1)
    files.write_json(tmp_path / "privacy_manifest.json", {**manifest, "most_rounds": 6})
    assert "round 1 of 6 is under way" in status.status(tmp_path, 0.0)
    _completed(tmp_path, 6, 1000.0)
    assert "round 6 of 6 is complete" in status.status(tmp_path, 1000.0)


def test_the_last_metrics_are_shown(tmp_path: pathlib.Path) -> None:
    _begun(tmp_path)
    rows = [
        (n, s, "valid", "click", "auc", v) for n in (1, 2) for s, v in (("fr", 0.5), ("nl", ""))
    ]
    header = ("round", "scenario", "split", "task", "metric", "value")
    files.write_csv(
        tmp_path / "metrics.csv", header, [*rows, (2, "fr", "test", "click", "auc", 1.0)]
    )
    with (tmp_path / "metrics.csv").open("ab") as stream:
        stream.write("3,大".encode()[:-1])
    assert status.status(tmp_path, 0.0).splitlines()[3:] == [
        "scenario  task   valid AUC, round 2",
        "fr        click  0.5000",
        "nl        click  one class",
    ]


def test_a_finished_run(tmp_path: pathlib.Path) -> None:
    _begun(tmp_path)
    run_records.write(tmp_path, summary={"mean_auc": 0.75, "best_round": 8})
    told = "finished: mean test AUC 0.7500 at round 8"
    assert told in status.status(tmp_path, 0.0).splitlines()
    finished = {"mean_auc": 0.75, "best_round": 8, "finished": {"nl": "0f"}}
    run_records.write(tmp_path, summary=finished)
    assert f"{told}, finished at home" in status.status(tmp_path, 0.0).splitlines()
    early = {"mean_auc": 0.75, "best_round": 8, "rounds": 9, "planned_rounds": 10}
    run_records.write(tmp_path, summary=early)
    assert f"{told}, ended after 9 of 10 rounds" in status.status(tmp_path, 0.0).splitlines()


def test_a_finished_run_whose_metrics_are_withheld(tmp_path: pathlib.Path) -> None:
    _begun(tmp_path)
    told = {"mean_auc": None, "best_round": 8, "withheld": ["loss", "metrics"]}
    run_records.write(tmp_path, summary=told)
    assert "finished: metrics are withheld; the model is of round 8, the last" in status.status(
        tmp_path, 0.0
    )


@pytest.mark.parametrize("content", [b"\xff\n", b"round,split,metric,value\nx,valid,auc,0.5\n"])
def test_metrics_that_cannot_be_read_are_named(tmp_path: pathlib.Path, content: bytes) -> None:
    _begun(tmp_path)
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(errors.PfrecError, match=r"metrics\.csv: cannot be read \("):
        status.status(tmp_path, 0.0)
