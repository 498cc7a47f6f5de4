"""Runs over silos with faults; the scheme and the data are those of `test_faults`.

`PFREC_FAULT_ROUNDS=60 python -m pytest tests/integration/test_faults.py
tests/integration/test_silo_faults.py` is the long run.
"""

# ruff: noqa: F401, F811  # pytest finds fixtures by their names in this module

import dataclasses
import json
import os
import shutil
import signal

import pytest

from pfrec import checkpoint, errors
from tests.integration import silo_machines
from tests.integration.test_faults import (
    FAULT,
    PLAN,
    ROUNDS,
    SCENARIOS,
    assert_same,
    eight,
    ending,
    participants,
    workers,
)
from tff_process.runtime import options
from tff_process.silos import training as silo_training
from tff_process.training import loop


@pytest.fixture(scope="module")
def expected(eight, tmp_path_factory):
    """The run without faults."""
    path = tmp_path_factory.mktemp("runs") / "whole"
    silo_machines.simulate(PLAN, eight, path)
    return ending(path)


@pytest.fixture(scope="module")
def eight_silos(eight, tmp_path_factory):
    """Eight silos, through tunnels where stunnel is installed, and the driver's credentials."""
    parent = tmp_path_factory.mktemp("silos")
    credentials = (
        silo_machines.made_certificates(parent, SCENARIOS) if silo_machines.HAS_TUNNEL else None
    )
    with silo_machines.running(
        silo_machines.directories(eight, parent), credentials, "--hang_timeout=3"
    ) as running:
        yield running, credentials / "driver" if credentials else None
    assert not workers()
    assert not workers("stunnel")


def train(eight_silos, path, faults, asked=PLAN, **settings):
    """Trains over silos, resuming where there is something, and causes faults after rounds,
    by their numbers.
    """
    running, credentials = eight_silos
    addresses = {scenario: silo.address for scenario, silo in running.items()}
    chosen = options.Options(
        workers=addresses,
        tls=credentials,
        **{"client_timeout": 60.0, "silo_timeout": 60.0, **settings},
    )
    return loop.train(
        asked,
        silo_training.survey(chosen, path),
        path,
        resume=True,
        options=chosen,
        progress=lambda number, auc: faults.get(number, lambda: None)(),
    )


def taking_part(round_number):
    """A scenario that takes part in the round after `round_number` rounds."""
    return SCENARIOS[participants(round_number)[0]]


def versions(eight_silos, run):
    """Where a scenario's versions of a run are:
    the training whose last note is this run's is the newest.
    """
    any_silo = eight_silos[0][SCENARIOS[0]].directory
    newest = max(any_silo.glob("runs/*/keep.json"), key=lambda path: path.stat().st_mtime_ns)
    return lambda scenario: eight_silos[0][scenario].directory / "runs" / newest.parent.name


def test_tunnels_and_workers_that_die_or_hang(eight_silos, expected, tmp_path, caplog):
    """SIGKILL of a silo's end of the tunnel, of the driver's, and of a silo's worker;
    SIGSTOP of a worker, which its silo ends.
    """
    running, credentials = eight_silos
    hit = []

    def strike(scenario, program, number):
        (pid,) = running[scenario].children(program)
        hit.append(scenario)
        os.kill(pid, number)

    def strike_driver():
        os.kill(workers("stunnel")[0], signal.SIGKILL)
        hit.append("a silo, by the driver's end")

    faults = {
        2: lambda: strike(taking_part(2), "worker_binary", signal.SIGKILL),
        3: lambda: strike(taking_part(3), "worker_binary", signal.SIGSTOP),
    }
    if credentials:
        faults[1] = lambda: strike(taking_part(1), "stunnel", signal.SIGKILL)
        faults[4] = strike_driver
    run = tmp_path / "run"
    train(eight_silos, run, faults, client_timeout=6.0)
    assert len(hit) == len(faults)
    for scenario in hit[: len(hit) - bool(credentials)]:
        assert f"the silo of {scenario} at {running[scenario].address} is lost" in caplog.text
    assert_same(run, expected, versions(eight_silos, run))
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_worker_that_dies_with_a_state_that_no_file_holds(
    eight, eight_silos, tmp_path, caplog, monkeypatch
):
    """Between the aggregations of a round: the round is trained again from its start,
    in the other silos too.
    """
    several = dataclasses.replace(PLAN, aggregations=3, rounds=2)
    silo_machines.simulate(several, eight, tmp_path / "whole")
    aggregation_step, struck = silo_training.SiloTraining.train_aggregation_step, []

    def strike(made, number):
        if number == 4 and not struck:
            struck.append(next(c.handle.scenario for c in made.clients if c.version != c.written))
            os.kill(eight_silos[0][struck[0]].children("worker_binary")[0], signal.SIGKILL)
        return aggregation_step(made, number)

    monkeypatch.setattr(silo_training.SiloTraining, "train_aggregation_step", strike)
    train(eight_silos, tmp_path / "hit", {}, several)
    assert (
        f"client {struck[0]}: its worker was lost in the middle of a round; it is trained again "
        "from its start" in caplog.text
    )
    assert (tmp_path / "hit" / "metrics.csv").read_bytes() == (
        tmp_path / "whole" / "metrics.csv"
    ).read_bytes()
    # A silo that was not hit goes back to the round's start as well, and on from there.
    runs = [
        checkpoint.load_meta(tmp_path / name / "server" / "round_00002")["versions"]
        for name in ("hit", "whole")
    ]
    assert runs[0] == runs[1]


def test_a_silo_that_is_away_stops_the_run_and_comes_back_a_round_behind(
    eight_silos, expected, tmp_path, caplog
):
    """It lost its last version meanwhile, and the others are ahead of it:
    all go back to the round that all have.
    """
    scenario = taking_part(FAULT)
    silo, run = eight_silos[0][scenario], tmp_path / "run"
    with pytest.raises(
        errors.PfrecError,
        match=f"client {scenario}: training failed: the silo of {scenario} at .* cannot be reached",
    ):
        train(eight_silos, run, {FAULT: silo.end}, silo_timeout=0.5)
    lost = versions(eight_silos, run)(scenario)
    newest = max(path for path in lost.iterdir() if path.name.startswith("version_"))
    shutil.rmtree(newest)
    with pytest.raises(errors.PfrecError, match=f"the silo of {scenario} at .* cannot be reached"):
        train(eight_silos, run, {}, silo_timeout=0.5)
    silo.start_again()
    train(eight_silos, run, {})
    assert (
        f"round {FAULT} cannot be used (client {scenario}: version {FAULT} of its state is missing"
        in caplog.text
    )
    assert_same(run, expected, versions(eight_silos, run))


def test_a_silo_that_is_away_may_miss_rounds_and_takes_part_again(eight_silos, tmp_path, caplog):
    scenario = taking_part(FAULT)
    silo, run = eight_silos[0][scenario], tmp_path / "run"
    back = next(
        number
        for number in range(FAULT + 1, ROUNDS)
        if scenario in [SCENARIOS[i] for i in participants(number)]
    )
    train(
        eight_silos,
        run,
        {FAULT: silo.end, back: silo.start_again},
        silo_timeout=0.5,
        on_client_failure="skip",
    )
    lines = (run / "metrics.csv").read_text().splitlines()
    trained = [int(line.split(",")[0]) for line in lines if f",{scenario},train,all,loss," in line]
    assert FAULT + 1 not in trained
    assert back + 1 in trained
    assert f"client {scenario}: training failed: " in caplog.text
    assert (
        f"client {scenario}: evaluation failed: the silo of {scenario} at {silo.address} cannot "
        "be reached" in caplog.text
    )
    # A round in which a scenario could not be evaluated is not compared with those in which all
    # were.
    best = json.loads((run / "summary.json").read_text())["best_round"]
    assert any(line.startswith(f"{best},{scenario},valid,ctr,auc,0") for line in lines)
