"""Runs with faults: each goes on or resumes,
and where no client was skipped ends bit for bit where a run without faults ends.

`PFREC_FAULT_ROUNDS=60 python -m pytest tests/integration/test_faults.py` is the long run.
"""

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from pfrec import checkpoint, errors, files
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import writer
from pfrec.models.config import ModelConfig
from tests.conftest import random_rows
from tff_process import plan
from tff_process.runtime import options
from tff_process.training import loop

ROUNDS = int(os.environ.get("PFREC_FAULT_ROUNDS", "6"))
FAULT = ROUNDS // 2
SCENARIOS = tuple(f"s{i}" for i in range(8))
PLAN = plan.Plan(
    "pf_msmtrec",
    rounds=ROUNDS,
    aggregations=1,  # so that versions of clients count rounds
    batch_size=16,
    participation=0.76,
    model=ModelConfig(embedding_dim=3, numeric_dim=2, experts=1, expert_units=(4,), tower_units=()),
)


class StoppedError(Exception):
    """What a fault in the driver is here, where the process must go on to test the rest."""


@pytest.fixture(scope="module")
def eight(schema, tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "eight"
    with writer.DatasetWriter(path, schema, source_format="test", split_seed=0) as target:
        for number, scenario in enumerate(SCENARIOS):
            for offset, split in enumerate(("train", "valid", "test")):
                target.add(scenario, split, random_rows(schema, 64, 10 * number + offset))
    return dataset_lib.Dataset.open(path)


def train(dataset, path, fault=lambda: None, at=FAULT, **settings):
    """Trains, resuming where there is something, and causes a fault after round `at`."""

    def progress(number, auc):
        if number == at:
            fault()

    return loop.train(
        PLAN, dataset, path, resume=True, options=options.Options(**settings), progress=progress
    )


def workers(program="worker_binary"):
    """The pids of the processes of a program that are children of this process."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            name, rest = status.read_text().rsplit(")", 1)
        except OSError:
            continue
        if program in name and rest.split()[1] == str(os.getpid()) and rest.split()[0] != "Z":
            found.append(int(status.parent.name))
    return found


def ending(path, client=None):
    """All that a run came to, but for times: bytes of the metrics,
    the last round's tensors of the server and of every client.

    `client` says where a scenario's versions are, in a simulation in the run directory.
    """
    client = client or (lambda scenario: path / "clients" / scenario)
    server, meta = checkpoint.load(path / "server" / f"round_{ROUNDS:05d}")
    clients = {
        s: checkpoint.load(client(s) / f"version_{v:05d}")[0] for s, v in meta["versions"].items()
    }
    return (path / "metrics.csv").read_bytes(), meta, {"server": server, **clients}


def assert_same(path, expected, client=None):
    metrics, meta, tensors = ending(path, client)
    assert metrics == expected[0]
    # A driver of silos sees none of their states, of which a simulation's round tells the digests.
    assert meta == (expected[1] if client is None else {**expected[1], "states": {}})
    for owner, values in expected[2].items():
        assert set(tensors[owner]) == set(values)
        for name, value in values.items():
            np.testing.assert_array_equal(tensors[owner][name], value, err_msg=f"{owner} {name}")


@pytest.fixture(scope="module")
def expected(eight, tmp_path_factory):
    """The run without faults."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    train(eight, path)
    assert not workers()
    return ending(path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_hangs_in_a_round(eight, expected, tmp_path, number, caplog):
    """SIGSTOP for longer than the deadline: the worker counts as hung, is killed,
    and its clients resume from their files.
    """
    before = []

    def fault():
        before.extend(workers())
        # A moment later, so that it hits calls under way.
        threading.Timer(0.05, lambda: [os.kill(pid, number) for pid in before]).start()

    train(eight, tmp_path / "run", fault, client_timeout=6.0)
    assert len(before) == 1
    assert "is lost; starting it again" in caplog.text
    assert_same(tmp_path / "run", expected)
    assert not workers()


def stop():
    raise StoppedError


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_worker_that_dies_between_the_aggregations_of_a_round(eight, tmp_path, caplog):
    several, whole, hit = (
        dataclasses.replace(PLAN, aggregations=3, rounds=3),
        tmp_path / "whole",
        tmp_path / "hit",
    )
    loop.train(several, eight, whole)
    struck = []

    def fault(number, auc):
        if number == 1:
            struck.extend(workers())
            threading.Timer(0.3, lambda: [os.kill(pid, signal.SIGKILL) for pid in struck]).start()

    loop.train(several, eight, hit, progress=fault)
    assert len(struck) == 1
    assert "is lost; starting it again" in caplog.text
    assert (hit / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    versions = checkpoint.load_meta(hit / "server" / "round_00003")["versions"]
    assert versions == checkpoint.load_meta(whole / "server" / "round_00003")["versions"]
    assert max(versions.values()) == 9


@pytest.mark.parametrize("part", ["server", "client"])
def test_a_flipped_byte_in_a_checkpoint(eight, expected, tmp_path, part, caplog):
    run = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(eight, run, stop)
    damaged = run / "server" / f"round_{FAULT:05d}"
    if part == "client":
        versions = files.read_json(damaged / "meta.json", remedy="")["meta"]["versions"]
        scenario = next(s for s in SCENARIOS if versions[s] == FAULT)
        damaged = run / "clients" / scenario / f"version_{FAULT:05d}"
    flip(damaged / "state.data-00000-of-00001")
    train(eight, run)
    assert f"round {FAULT} cannot be used" in caplog.text
    assert (str(damaged) if part == "server" else damaged.parent.name) in caplog.text
    assert_same(run, expected)


def test_a_client_that_cannot_write(eight, expected, tmp_path):
    """The version's path is taken by a file, as unwritable as a full disk; the run stops by name,
    and goes on when it is mended.
    """
    run = tmp_path / "run"
    blocked = []

    def fault():
        scenario = next(SCENARIOS[i] for i in participants(FAULT))
        blocked.append(run / "clients" / scenario / f"version_{FAULT + 1:05d}")
        blocked[0].write_text("in the way")

    with pytest.raises(errors.PfrecError, match=r"client s\d: training failed 3 times") as raised:
        train(eight, run, fault)
    assert "[[" not in str(raised.value)
    blocked[0].unlink()
    train(eight, run)
    assert_same(run, expected)


def participants(round_number):
    count = max(1, round(PLAN.participation * len(SCENARIOS)))
    chosen = np.random.default_rng([PLAN.seed, round_number]).permutation(len(SCENARIOS))[:count]
    return sorted(int(i) for i in chosen)


def test_a_client_that_cannot_write_may_miss_the_round(eight, tmp_path):
    run = tmp_path / "run"
    scenario = SCENARIOS[participants(FAULT)[0]]
    train(
        eight,
        run,
        lambda: (run / "clients" / scenario / f"version_{FAULT + 1:05d}").write_text("x"),
        on_client_failure="skip",
    )
    diagnostics = json.loads((run / "diagnostics" / f"round_{FAULT + 1:05d}.json").read_text())
    assert list(diagnostics["skipped"]) == [scenario]
    lines = (run / "metrics.csv").read_text().splitlines()
    assert f"{FAULT + 1},{scenario},train,all,loss" not in "\n".join(lines)
    assert any(line.startswith(f"{FAULT + 1},{scenario},valid,ctr,auc,0") for line in lines)


def test_a_client_that_returns_nan_is_refused_by_name_and_told(eight, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(eight, run, stop)
    place = run / "server" / f"round_{FAULT:05d}" / "meta.json"
    whole = files.read_json(place, remedy="")
    meta = whole["meta"]
    number = participants(FAULT)[0]
    directory = (
        run / "clients" / SCENARIOS[number] / f"version_{meta['versions'][SCENARIOS[number]]:05d}"
    )
    values, owner = checkpoint.load(directory)
    checkpoint.save(
        directory, {name: np.full_like(value, np.nan) for name, value in values.items()}, owner
    )
    # As if it had been so when the round was written: another state is refused by its digest.
    meta["states"][SCENARIOS[number]] = checkpoint.fingerprint(directory)
    files.write_json(place, whole)
    train(eight, run)
    diagnostics = json.loads((run / "diagnostics" / f"round_{FAULT + 1:05d}.json").read_text())
    assert list(diagnostics["refused"]) == [SCENARIOS[number]]
    assert "not finite" in diagnostics["refused"][SCENARIOS[number]]
    note = run / "clients" / SCENARIOS[number] / "refused" / f"round_{FAULT + 1:05d}.json"
    assert "not finite" in json.loads(note.read_text())["reason"]
    server, _ = checkpoint.load(run / "server" / f"round_{ROUNDS:05d}")
    assert all(np.all(np.isfinite(value)) for value in server.values())


def test_a_round_with_too_few_clients_is_not_applied(eight, tmp_path, caplog):
    path = tmp_path / "run"
    train(eight, path, min_clients=7)
    server, meta = checkpoint.load(path / "server" / f"round_{ROUNDS:05d}")
    assert server["round"] == 0
    assert meta["participations"] == [0] * 8
    assert "it is not applied" in caplog.text


PROGRAM = """
import pathlib, sys
from tests.integration import test_faults
from pfrec.data.dataset import dataset
def say(number, auc): print(number, flush=True)
data, output = dataset.Dataset.open(sys.argv[1]), pathlib.Path(sys.argv[2])
test_faults.loop.train(test_faults.PLAN, data, output, progress=say)
"""


def test_the_driver_is_killed(eight, expected, tmp_path):
    """SIGKILL in the middle of a round: its worker ends with it,
    and a resumed run equals one without faults.
    """
    root = pathlib.Path(__file__).parents[2]
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(eight.path), str(run)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    for line in process.stdout:
        if line.strip() == str(FAULT):
            break
    children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    time.sleep(0.1)
    process.kill()
    process.wait()
    process.stdout.close()
    deadline = time.monotonic() + 20
    while any(_alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_alive(pid) for pid in children)
    train(eight, run)
    assert_same(run, expected)
    assert not list(run.rglob(f"{files.TEMPORARY_PREFIX}*"))


def _alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
