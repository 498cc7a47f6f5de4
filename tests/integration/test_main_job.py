"""The main job as a user types it: train, evaluate, compare, export, verify."""

import csv
import json
import os
import pathlib
import signal
import time

import pytest

from pfrec import coarsening
from pfrec.data.dataset import dataset as dataset_lib
from tests.integration import commands, silo_machines
from tests.pfrec.report import pages


def _json(path: pathlib.Path) -> "dict[str, object]":
    value: dict[str, object] = json.loads(path.read_text())
    return value


def test_a_run_directory_holds_what_the_contract_names(
    run: pathlib.Path, dataset: dataset_lib.Dataset
) -> None:
    summary = _json(run / "summary.json")
    assert {"algorithm", "seed", "rounds", "best_round", "mean_auc", "wall_seconds", "test"} <= set(
        summary
    )
    assert summary["algorithm"] == "pf_msmtrec"
    assert sorted(path.name for path in (run / "clients").iterdir()) == sorted(dataset.scenarios)
    with (run / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["round", "scenario", "split", "task", "metric", "value"]
    assert {row["split"] for row in rows} == {"train", "valid", "test"}
    # Test is evaluated once, at the round that was best on valid.
    assert {int(row["round"]) for row in rows if row["split"] == "test"} == {summary["best_round"]}
    manifest = _json(run / "privacy_manifest.json")
    assert "embedding/user" in manifest["never_leaves"]  # type: ignore[operator]
    page = pages.check_alone((run / "report.html").read_text(encoding="utf-8"))
    assert f"{summary['mean_auc']:.4f}" in page.text
    assert ["nl", "300", "80", "80"] in [row[:4] for row in page.rows]
    assert not commands.workers(str(run))


def test_evaluating_afresh_gives_the_same_numbers(run: pathlib.Path) -> None:
    commands.succeed("pfrec-evaluate", f"--run={run}")
    evaluation, summary = _json(run / "evaluation.json"), _json(run / "summary.json")
    for scenario, tasks in summary["test"].items():  # type: ignore[attr-defined]
        for task, cell in tasks.items():
            found = evaluation["metrics"][scenario][task]  # type: ignore[index]
            # What a client says is rounded: metrics to four decimals, classes to two digits.
            for metric in ("auc", "logloss", "gauc"):
                assert found[metric] == pytest.approx(cell[metric], abs=5.1e-5), (
                    scenario,
                    task,
                    metric,
                )
            positives, negatives = found["positives"], found["rows"] - found["positives"]
            assert cell["positives"] == coarsening.row_count(positives)
            assert cell["rows"] - cell["positives"] == coarsening.row_count(negatives)


def test_a_terminated_export_leaves_nothing(run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Neither a child nor a folder of feature rows, while its C library is asked."""
    process = commands.start_alone("pfrec-export", f"--run={run}", f"--output={tmp_path}")
    until = time.monotonic() + 200
    while not list(tmp_path.rglob(".tmp-requests-*")) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert not list(tmp_path.rglob(".tmp-*"))
    lines = [path.read_bytes() for path in _command_lines()]
    assert not [line for line in lines if os.fsencode(tmp_path) in line]


def _command_lines() -> "list[pathlib.Path]":
    return [
        entry / "cmdline"
        for entry in pathlib.Path("/proc").iterdir()
        if entry.name.isdecimal() and (entry / "cmdline").exists()
    ]


def test_export_and_verify(
    run: pathlib.Path, dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    serving = tmp_path / "serving"
    # Every id as it was trained, so that the run says the same of rare ones.
    commands.succeed("pfrec-export", f"--run={run}", f"--output={serving}", "--least_rows=0")
    for scenario in dataset.scenarios:
        assert (serving / scenario / "1" / "saved_model.pb").is_file()
    out = commands.succeed("pfrec-verify", f"--serving={serving}")
    assert out.rstrip().endswith(" 0 failed")
    _score_alike(run, serving, tmp_path)
    damaged = serving / dataset.scenarios[0] / "1" / "variables" / "variables.data-00000-of-00001"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    done = commands.run("pfrec-verify", f"--serving={serving}")
    assert done.returncode == 1
    assert "variables.data-00000-of-00001 was changed" in done.stdout


def _score_alike(run: pathlib.Path, serving: pathlib.Path, directory: pathlib.Path) -> None:
    """pfrec-predict says of raw rows the same with the run as with what it exported."""
    lines = [f"{('nl', 'es', 'fr')[n % 3]},{n % 13},{n % 10},{n / 7},{n}" for n in range(300)]
    (directory / "new.csv").write_text("\n".join(["site,user,item,price,age", *lines]) + "\n")
    found = {}
    for kind, path in (("run", run), ("serving", serving)):
        output = directory / f"by_{kind}.csv"
        arguments = (f"--input={directory / 'new.csv'}", f"--output={output}", "--columns=age")
        out = commands.succeed(
            "pfrec-predict", f"--{kind}={path}", "--scenario_column=site", *arguments
        )
        assert f"wrote {output}: 300 rows" in out
        with output.open(newline="") as stream:
            found[kind] = list(csv.DictReader(stream))
    own = (f"--output={directory / 'own.csv'}", "--columns=p_ctr", "--scenario_column=site")
    done = commands.run("pfrec-predict", f"--run={run}", *arguments, *own)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--columns=p_ctr: the output has such a column of its own" in done.stderr
    assert [row["age"] for row in found["run"]] == [str(n) for n in range(300)]
    assert len({row["p_ctr"] for row in found["run"]}) > 100
    for one, other in zip(found["run"], found["serving"]):
        assert list(one) == ["age", "scenario", "p_ctr", "p_cvr_given_ctr", "p_cvr"]
        for name in ("p_ctr", "p_cvr_given_ctr", "p_cvr"):
            assert float(one[name]) == pytest.approx(float(other[name]), abs=1e-6)


def test_equal_runs_are_equal_and_a_killed_run_resumes_to_the_same(
    run: pathlib.Path, dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    """SIGKILL falls into a round; what the worker was doing is lost with it,
    and `--resume` comes to the same bytes.
    """
    output = tmp_path / "run"
    arguments = (f"--data={dataset.path}", f"--output={output}", "--rounds=3", *commands.SMALL)
    process = commands.start_alone("pfrec-train", *arguments)
    deadline = time.monotonic() + 240
    while not (output / "server" / "round_00001").is_dir():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    told = commands.succeed("pfrec-status", f"--run={output}")
    assert f"{output}: pf_msmtrec on {dataset.path} (es, fr, nl)" in told
    assert " of 3 is complete since " in told
    # Nobody else reaches a simulation's worker.
    for pid in commands.workers(str(output)):
        assert not silo_machines.HAS_NAMESPACES or commands.network(pid) == commands.network(
            process.pid
        ) != commands.network("self")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(0.5)
    assert not commands.workers(str(output))
    assert not (output / "summary.json").exists()
    assert "not finished" in commands.fail("pfrec-evaluate", f"--run={output}")
    commands.succeed("pfrec-train", *arguments, "--resume")
    assert (output / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()
    first, second = _json(run / "summary.json"), _json(output / "summary.json")
    assert {**first, "wall_seconds": 0} == {**second, "wall_seconds": 0}
    assert "was begun with another plan" in commands.fail(
        "pfrec-train", *arguments, "--resume", "--learning_rate=0.5"
    )


def test_compare_searches_for_all_entries_alike(
    dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    """Of four Sobol points of two flags two go on after a round."""
    output = tmp_path / "compare"
    arguments = (
        f"--data={dataset.path}",
        f"--output={output}",
        "--rounds=2",
        "--seeds=1",
        *commands.SMALL,
    )
    search = (
        "--tune=learning_rate=0.000001..0.01",
        "--tune=local_epochs=0.5|1",
        "--tune_points=4",
        "--tune_halving=2",
        "--tensorboard",
    )
    given = ("pfrec-compare", *arguments, "--algorithms=local,pooled_mmoe", *search)
    out = commands.succeed(*given)
    assert "run 1 of 8, " in out
    made = _json(output / "results.json")
    assert set(made["tuning"]) == {"local", "pooled_mmoe"}  # type: ignore[call-overload]
    with (output / "tuning.csv").open(newline="") as stream:
        tried = list(csv.DictReader(stream))
    for name in ("local", "pooled_mmoe"):
        own = [row for row in tried if row["entry"] == name]
        assert [int(row["rounds"]) for row in own] == [2, 2, 1, 1]
        assert [row["chosen"] for row in own] == ["chosen", "", "", ""]
        chosen = f"{name}:{own[0]['with']}"
        assert made["entries"][chosen]["seeds"] == [0]  # type: ignore[index]
    # Of every run, those that were dropped too.
    assert len({path.parent for path in output.glob("runs/*/seed_0/tensorboard/events*")}) == 8
    again = commands.succeed(*given)
    assert "round 1/" not in again, "what was trained is not trained again"
    assert _json(output / "results.json") == made
    assert "learning_rat is no flag of a training" in commands.fail(
        "pfrec-compare", *arguments, "--algorithms=local:learning_rat=1"
    )


@pytest.mark.skipif(
    not silo_machines.HAS_NAMESPACES, reason="this system does not permit network namespaces"
)
def test_nobody_else_reaches_the_worker_of_a_comparison(
    dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    process = commands.start(
        "pfrec-compare",
        f"--data={dataset.path}",
        f"--output={tmp_path / 'out'}",
        "--algorithms=local",
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("comparing")
        assert commands.network(process.pid) != commands.network("self")
    finally:
        process.kill()
        process.communicate()


def test_compare_resumes_cell_by_cell(dataset: dataset_lib.Dataset, tmp_path: pathlib.Path) -> None:
    output = tmp_path / "compare"
    arguments = (
        f"--data={dataset.path}",
        f"--output={output}",
        "--rounds=2",
        "--seeds=1",
        *commands.SMALL,
    )
    commands.succeed("pfrec-compare", *arguments, "--algorithms=local,pooled_mmoe")
    before = (output / "runs" / "local" / "seed_0" / "summary.json").stat().st_mtime_ns
    out = commands.succeed(
        "pfrec-compare", *arguments, "--algorithms=local,fedavg,pf_msmtrec,pooled_mmoe"
    )
    assert (output / "runs" / "local" / "seed_0" / "summary.json").stat().st_mtime_ns == before
    assert out.rstrip().endswith(f"wrote {output / 'results.csv'} and {output / 'results.md'}")
    page = pages.check_alone((output / "report.html").read_text(encoding="utf-8"))
    assert "pooled_mmoe" in [row[0] for row in page.rows]
    assert ("a", "href", "runs/fedavg/seed_0/report.html") in page.attributes
    with (output / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["algorithm", "seed", "scenario", "task", "metric", "value"]
    assert {row["algorithm"] for row in rows} == {"local", "fedavg", "pf_msmtrec", "pooled_mmoe"}
    given = _json(output / "results.json")["entries"]["fedavg"]  # type: ignore[index]
    assert "expert/0/shared" in given["leaves"]
    assert given["round_bytes"] > 0
    assert "<svg" in (output / "results.svg").read_text()
    winner = _json(output / "winner.json")
    assert winner["algorithm"] in ("local", "fedavg", "pf_msmtrec")
    assert (output / str(winner["federated"]) / "summary.json").is_file()
    assert not commands.workers(str(output))
