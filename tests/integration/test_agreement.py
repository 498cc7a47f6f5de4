"""Training over silos with gatekeepers: it ends where a simulation ends, nothing planted leaves,
and a driver that wants more than was agreed is refused in one line.
"""

import json
import os
import pathlib

import grpc
import numpy as np
import portpicker
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import pfrec
from benchmarks import wire_capture
from pfrec import checkpoint, errors, files
from tests.integration import commands, silo_machines, two_silos
from tff_process import plan
from tff_process.process import spread
from tff_process.runtime import options, remote
from tff_process.silos import directory as silo_directory
from tff_process.silos import labels, ledger, own_computations
from tff_process.silos import training as silo_training
from tff_process.training import loop

ROUNDS = 2
PLAN = plan.Plan("pf_msmtrec", rounds=ROUNDS, aggregations=2, batch_size=50, model=two_silos.MODEL)
PLANTED = np.float32(-7654.321)


@pytest.fixture(scope="module")
def data(schema, tmp_path_factory):
    """Two scenarios; one feature of some rows is a planted number."""
    return two_silos.data(schema, tmp_path_factory.mktemp("data") / "planted", PLANTED)


@pytest.fixture(scope="module")
def agreements(data, tmp_path_factory):
    """The silos' directories, and what each agreed to."""
    parent = tmp_path_factory.mktemp("silos")
    directories = silo_machines.directories(data, parent)
    return directories, _agreed(PLAN, directories, parent)


def _agreed(asked, directories, parent):
    """The silos' agreements to one training by a plan, by scenario."""
    made = {}
    for scenario, directory in directories.items():
        own = own_computations.OwnComputations(
            asked.to_json(), silo_directory.facts(directory), "plan"
        )
        made[scenario] = parent / f"{scenario}.json"
        agreed = own.agreement(own.bounds(trainings=1, rows=50), pfrec.__version__)
        files.write_json(made[scenario], agreed.to_json())
    return made


@pytest.fixture(scope="module")
def trained(agreements, tmp_path_factory):
    """A run through gatekeepers, its traffic with nl's silo, and what a hostile driver got."""
    directories, made = agreements
    run = tmp_path_factory.mktemp("run") / "run"
    before = os.umask(0)
    try:
        return _trained(directories, made, run)
    finally:
        os.umask(before)


def _trained(directories, made, run):
    with silo_machines.running(directories, None, agreements=made) as running:
        with two_silos.recorded(running) as (chosen, recorder):
            loop.train(PLAN, silo_training.survey(chosen, run), run, options=chosen)
        (worker,) = running["nl"].children("worker_binary")
        environment = pathlib.Path(f"/proc/{worker}/environ").read_bytes()
        assert b"TF_NUM_INTRAOP_THREADS=1\0" in environment
        refusals = [hostile(running["nl"].address) for hostile in (_graph, _private, _file)]
        workers = options.Options(workers={name: silo.address for name, silo in running.items()})
        another = plan.Plan("fedavg", rounds=5, batch_size=50, model=two_silos.MODEL)
        dataset = silo_training.survey(workers, run)
        with pytest.raises(errors.PfrecError) as other:
            loop.train(another, dataset, run.parent / "other", options=workers)
        refusals.append(str(other.value))
    return run, recorder.passed, refusals


def _graph(address):
    """Sends a graph of its own, that reads a file."""

    @tff.tensorflow.computation
    def steal():
        return tf.io.read_file("/etc/passwd")

    there = remote.Remote(address, 10.0)
    there.open()
    there.agreed = None  # As a driver does that knows of no gatekeeper.
    with pytest.raises(remote.WorkError) as stop:
        there.fetch(there.call(remote.Function.of("steal", steal)))
    there.close()
    return str(stop.value)


def _private(address):
    """Asks for the value of the silo's secret."""
    there = remote.Remote(address, 10.0)
    there.open()

    @tff.tensorflow.computation(np.str_)
    def read(path):
        return tf.zeros([2], tf.int64)

    secret = there.call(
        remote.Function.of("secret", read), there.send("secret_of_rows", tff.TensorType(np.str_))
    )
    with pytest.raises(remote.WorkError) as stop:
        there.fetch(secret)
    assert stop.value.refused
    there.close()
    return str(stop.value)


def _file(address):
    """Names a file that is not one of a driver's."""
    with grpc.insecure_channel(address) as channel:
        assert grpc.channel_ready_future(channel).result(10) is None
    there = remote.Remote(address, 10.0)
    there.open()
    with pytest.raises(remote.WorkError) as stop:
        there.fetch(there.send("../../etc/passwd", tff.TensorType(np.str_)))
    there.close()
    return str(stop.value)


def test_a_run_through_gatekeepers_equals_the_simulation_bit_for_bit(
    trained, agreements, data, tmp_path
):
    run, _, _ = trained
    directories, _ = agreements
    simulated = tmp_path / "simulated"
    silo_machines.simulate(PLAN, data, simulated, agreed=True)
    assert (run / "metrics.csv").read_bytes() == (simulated / "metrics.csv").read_bytes()
    server, _ = checkpoint.load(run / "server" / f"round_{ROUNDS:05d}")
    expected, meta = checkpoint.load(simulated / "server" / f"round_{ROUNDS:05d}")
    assert set(server) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(server[name], value, err_msg=name)
    for scenario, version in meta["versions"].items():
        (private,) = directories[scenario].glob(f"runs/*/version_{version:05d}")
        values, _ = checkpoint.load(private)
        kept, _ = checkpoint.load(simulated / "clients" / scenario / f"version_{version:05d}")
        for name, value in kept.items():
            np.testing.assert_array_equal(values[name], value, err_msg=f"{scenario} {name}")


def test_planted_values_and_the_secret_never_cross(trained, agreements):
    _, passed, _ = trained
    directories, _ = agreements
    traffic = wire_capture.decode(passed)
    messages = [m for call in traffic.calls for m in (call.request, call.response) if m is not None]
    everything = b"".join(bytes(data) for data in passed.values())
    everything += b"".join(message.SerializeToString() for message in messages)
    assert len(everything) > 50_000
    assert PLANTED.tobytes() not in everything
    assert (directories["nl"] / silo_directory.SECRET).read_bytes() not in everything
    # Nor does a graph go there: computations are asked for by their names.
    asked = [call.request.value for call in traffic.calls if call.method == "CreateValue"]
    computations = [value.computation for value in asked if value.HasField("computation")]
    assert {c.WhichOneof("computation") for c in computations} == {"reference"}


def test_the_ledger_holds_what_left_and_agrees_with_the_manifest(trained, agreements):
    run, passed, _ = trained
    directories, _ = agreements
    entries, _ = ledger.read(directories["nl"] / ledger.FILE)
    left = [entry["what"] for entry in entries]
    assert left.count(labels.REPORT) == ROUNDS * PLAN.aggregations
    # On valid at all spreads together, on test at the end.
    assert left.count(labels.SPREADS_METRICS) == ROUNDS
    assert left.count(labels.METRICS) == 1
    shapes = {e["what"]: e["leaves"][0][1] for e in entries if "metrics" in e["what"]}
    assert shapes[labels.SPREADS_METRICS] == [1 + len(spread.FACTORS), *shapes[labels.METRICS][1:]]
    assert left.count(labels.COUNTS) == 1
    assert left.count(ledger.TRAINING) == 1
    manifest = json.loads((run / "privacy_manifest.json").read_text())
    assert ledger.differences(entries, manifest) == []
    assert {entry["to"] for entry in entries if entry["what"] != ledger.TRAINING} == {"127.0.0.1"}
    report = next(entry for entry in entries if entry["what"] == labels.REPORT)
    uploads = {item["what"]: item["bytes"] for item in manifest["uploads"]}
    assert {name: size for name, _, size in report["leaves"]} == {
        name: size for name, size in uploads.items() if "metrics" not in name
    }
    # Each answer that the wire carried is an entry, with the digest of its bytes.
    answers = [call for call in wire_capture.decode(passed).calls if call.method == "Compute"]
    sizes = [entry["message_bytes"] for entry in entries if entry["what"] != ledger.TRAINING]
    # The entries after those are of the connections that came later.
    assert [call.sizes[1] for call in answers] == sizes[: len(answers)]
    out = commands.succeed(
        "pfrec-ledger",
        f"--client_dir={directories['nl']}",
        f"--manifest={run / 'privacy_manifest.json'}",
    )
    assert "the chain is whole" in out
    assert "what left is what" in out
    assert "answers to 127.0.0.1" in out


def test_all_that_a_run_writes_is_its_owners_alone_whatever_the_umask(trained, agreements):
    """Driver and silos wrote it under a umask that takes nothing away."""
    run, _, _ = trained
    directories, made = agreements
    written = [*made.values(), run, *run.rglob("*")]
    for directory in directories.values():
        own = ("data", silo_directory.SECRET)  # Of the test's own making.
        written += [
            path for path in directory.rglob("*") if path.relative_to(directory).parts[0] not in own
        ]
    names = {path.name for path in written}
    assert names >= {"ledger.jsonl", "silo.json", "client.json", "gatekeeper.log", "worker.log"}
    assert names >= {"metrics.csv", "privacy_manifest.json", "version_00004", "keep.json"}
    open_to_others = [path for path in written if path.stat().st_mode & 0o077]
    assert not open_to_others


def test_what_was_not_agreed_is_refused_in_one_line_and_noted(trained, agreements):
    _, _, refusals = trained
    directories, _ = agreements
    graph, private, file, other = refusals
    assert graph.startswith("the silo refuses a computation of the driver's: only the silo's own")
    assert private == "the silo refuses secret: does not leave this silo"
    assert file.startswith("the silo refuses a text that is neither a name")
    assert "has agreed to another plan: " in other
    log = (directories["nl"] / "logs" / "gatekeeper.log").read_text()
    for said in (graph, private, file):
        assert said.removeprefix("the silo refuses ") in log


def test_an_agreement_that_does_not_fit_is_refused_at_the_start(agreements, tmp_path):
    directories, made = agreements
    value = json.loads(made["nl"].read_text())
    port = portpicker.pick_unused_port()
    worker = ("pfrec-worker", f"--client_dir={directories['nl']}", f"--port={port}")
    value["leaves"]["report"] = value["leaves"]["report"][1:]
    files.write_json(tmp_path / "less.json", value)
    told = commands.fail(*worker, f"--agreement={tmp_path / 'less.json'}")
    assert "what it says of what leaves is not what its plan makes leave" in told
    own = commands.fail(*worker, f"--agreement={made['es']}")
    assert "agreement of the silo of 'es', and this is 'nl''s" in own


def test_pfrec_agreement_refuses_to_share_what_the_schema_calls_private(agreements, tmp_path):
    directories, _ = agreements
    flags = [
        f"--client_dir={directories['nl']}",
        f"--output={tmp_path / 'a.json'}",
        *commands.SMALL,
    ]
    told = commands.fail("pfrec-agreement", *flags, "--sharing=embedding/user=shared")
    assert (
        "--sharing: embedding/user would leave, and the silo's schema says that it is private"
        in told
    )
    told = commands.fail("pfrec-agreement", *flags, "--sharing=embeding/user=private")
    assert told.startswith("sharing embeding/user=private: there is no such group")
    out = commands.succeed("pfrec-agreement", *flags, "--rounds=3", "--trainings=2")
    assert "at most 2 trainings of 3 rounds" in out
    assert json.loads((tmp_path / "a.json").read_text())["bounds"]["rows"] == 50


def test_a_private_run_of_small_uploads_equals_the_simulation_and_is_in_the_ledger(data, tmp_path):
    """The silos choose their home models on their own valid rows, whatever a driver names."""
    agreed = plan.Plan(
        "fedavg",
        rounds=1,
        aggregations=2,
        batch_size=50,
        model=two_silos.MODEL,
        dp_epsilon=8.0,
        home_epochs=2.0,
        upload_bits=8,
    )
    directories = silo_machines.directories(data, tmp_path)
    made = _agreed(agreed, directories, tmp_path)
    run, simulated = tmp_path / "run", tmp_path / "simulated"
    with silo_machines.running(directories, None, agreements=made) as running:
        workers = options.Options(workers={name: silo.address for name, silo in running.items()})
        loop.train(agreed, silo_training.survey(workers, run), run, options=workers)
        assert "another is refused" not in running["nl"].end()
        running["nl"].start_again()
        assert running["nl"].process.stdout.readline() == (
            "note: a training that has begun may go on, and another is refused: the agreement's 1 "
            "have begun; its owner agrees to more by pfrec-agreement with --trainings=2 or more\n"
        )
    silo_machines.simulate(agreed, data, simulated, agreed=True)
    for name, expected in checkpoint.load(simulated / "server" / "round_00001")[0].items():
        found = checkpoint.load(run / "server" / "round_00001")[0][name]
        np.testing.assert_array_equal(found, expected, err_msg=name)
    manifest = json.loads((run / "privacy_manifest.json").read_text())
    for name, directory in directories.items():
        entries, _ = ledger.read(directory / ledger.FILE)
        assert ledger.differences(entries, manifest) == []
        reports = [entry for entry in entries if entry["what"] == labels.REPORT]
        assert [report["epsilon_spent"] <= 8.0 for report in reports] == [True, True]
        small = [leaf for leaf in reports[0]["leaves"] if leaf[0].endswith("/codes")]
        assert small
        for _, shape, size in small:
            assert size == np.prod(shape)
        (private,) = directory.glob("runs/*/version_00002")
        kept = checkpoint.load(simulated / "clients" / name / "version_00002")[0]
        for variable, value in checkpoint.load(private)[0].items():
            np.testing.assert_array_equal(value, kept[variable], err_msg=f"{name} {variable}")


def test_a_silo_whose_update_is_refused_pays_for_it_and_goes_on_from_before(dataset, tmp_path):
    """Under a budget, three silos: what the server refuses has left, so the silo's ledger counts
    it, and the next round is that of a simulation in which it is refused too.
    """
    agreed = plan.Plan(
        "fedavg",
        rounds=2,
        aggregations=1,
        batch_size=50,
        model=two_silos.MODEL,
        dp_epsilon=8.0,
        home_epochs=0.0,
    )
    directories = silo_machines.directories(dataset, tmp_path)
    made = _agreed(agreed, directories, tmp_path)
    run, simulated, bound = tmp_path / "run", tmp_path / "simulated", 0.95
    with silo_machines.running(directories, None, agreements=made) as running:
        workers = {name: silo.address for name, silo in running.items()}
        chosen = options.Options(workers=workers, max_update_norm=bound)
        loop.train(agreed, silo_training.survey(chosen, run), run, options=chosen)
    chosen = options.Options(max_update_norm=bound)
    silo_machines.simulate(agreed, dataset, simulated, agreed=True, options=chosen)
    for number in (1, 2):
        place = f"round_{number:05d}"
        told = json.loads((run / "diagnostics" / f"{place}.json").read_text())["refused"]
        assert list(told) == ["es"]
        assert (
            told == json.loads((simulated / "diagnostics" / f"{place}.json").read_text())["refused"]
        )
        server, meta = checkpoint.load(run / "server" / place)
        expected, simulated_meta = checkpoint.load(simulated / "server" / place)
        for name, value in expected.items():
            np.testing.assert_array_equal(server[name], value, err_msg=name)
        # The silo's own state is that of before the first round: nothing refused is built upon.
        assert meta["versions"] == simulated_meta["versions"]
        assert meta["versions"]["es"] == 0
    spent = json.loads((run / "summary.json").read_text())["differential_privacy"]
    assert spent["es"]["steps_spent"] == 8  # Four of each round.
    for name, directory in directories.items():
        entries, _ = ledger.read(directory / ledger.FILE)
        reports = [entry for entry in entries if entry["what"] == labels.REPORT]
        assert [report["work"][1] for report in reports] == [spent[name]["steps_spent"] // 2] * 2
        assert reports[-1]["epsilon_spent"] == spent[name]["epsilon_spent"]


def test_a_worker_without_an_agreement_serves_nothing_over_a_network(tmp_path):
    error = commands.fail(
        "pfrec-worker",
        f"--client_dir={tmp_path}",
        "--port=7000",
        "--host=0.0.0.0",
        f"--tls={tmp_path}",
    )
    assert "without an agreement whoever drives can run any computation" in error
