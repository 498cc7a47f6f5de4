"""Training over silos as their users type it:
one machine's loopback addresses stand for one machine each.
"""

import dataclasses
import json
import pathlib
import shutil
import signal
import socket

import numpy as np
import pytest

import pfrec
from pfrec import checkpoint, errors, files, run_directory
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import writer
from tests.conftest import random_rows
from tests.integration import commands, silo_machines
from tests.small_model import SHAPE
from tff_process import plan
from tff_process.algorithms import base
from tff_process.silos import directory as silo_directory
from tff_process.silos import own_computations

ARGUMENTS = ("--rounds=3", "--participation=0.67", *commands.SMALL)
PLAN = plan.Plan(
    "pf_msmtrec",
    rounds=3,
    batch_size=50,
    participation=0.67,
    model=SHAPE,
)


@pytest.fixture(scope="module")
def simulated(
    dataset: dataset_lib.Dataset, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A simulation's run over the same data, with the plan that the arguments describe."""
    output = tmp_path_factory.mktemp("runs") / "simulated"
    silo_machines.simulate(PLAN, dataset, output)
    return output


@pytest.fixture(scope="module")
def trained(
    dataset: dataset_lib.Dataset, tmp_path_factory: pytest.TempPathFactory
) -> "tuple[pathlib.Path, dict[str, pathlib.Path]]":
    """A run over three silos, through tunnels where stunnel is installed, and the silos'
    directories; all workers are ended.
    """
    parent = tmp_path_factory.mktemp("silos")
    directories = silo_machines.directories(dataset, parent)
    credentials = (
        silo_machines.made_certificates(parent, dataset.scenarios)
        if silo_machines.HAS_TUNNEL
        else None
    )
    output = parent / "run"
    with silo_machines.running(directories, credentials) as silos:
        tls = [f"--tls={credentials / 'driver'}"] if credentials else []
        out = commands.succeed(
            "pfrec-train",
            f"--workers={silo_machines.workers(silos)}",
            f"--output={output}",
            *tls,
            *ARGUMENTS,
        )
        assert "training pf_msmtrec on silos (es, fr, nl) for 3 rounds" in out
        assert not commands.holding(output)
        for silo in silos.values():
            (worker,) = silo.children("worker_binary")
            assert not silo_machines.HAS_NAMESPACES or commands.network(worker) != commands.network(
                "self"
            )
            # What only a process in a sandbox has, in any network.
            if silo_machines.HAS_SANDBOX:
                status = pathlib.Path(f"/proc/{worker}/status").read_text()
                assert "NoNewPrivs:\t1" in status
                assert b"PATH=" not in pathlib.Path(f"/proc/{worker}/environ").read_bytes()
        addresses = [silo.address for silo in silos.values()]
        for address in addresses:
            assert connects(address)
    # Workers are gone with their ports; nothing temporary is left beside the run or in it.
    assert not any(connects(address) for address in addresses)
    assert not list(parent.rglob(".tmp-*"))
    return output, directories


def connects(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_a_run_over_silos_equals_the_simulation_bit_for_bit(
    trained: "tuple[pathlib.Path, dict[str, pathlib.Path]]", simulated: pathlib.Path
) -> None:
    run, directories = trained
    assert (run / "metrics.csv").read_bytes() == (simulated / "metrics.csv").read_bytes()
    mine, theirs = (json.loads((path / "summary.json").read_text()) for path in (run, simulated))
    assert {**mine, "wall_seconds": 0} == {**theirs, "wall_seconds": 0}
    for number in (2, 3):
        server, meta = checkpoint.load(run / "server" / f"round_{number:05d}")
        expected, expected_meta = checkpoint.load(simulated / "server" / f"round_{number:05d}")
        # A driver sees no silo's private state, of which a simulation's round tells the digest.
        assert meta == {**expected_meta, "states": {}}
        assert set(server) == set(expected)
        for name, value in expected.items():
            np.testing.assert_array_equal(server[name], value, err_msg=name)
        assert number < 3 or all(meta["versions"].values())
        for scenario, version in meta["versions"].items():
            if not version:
                continue  # It did not take part yet.
            (private,) = directories[scenario].glob(f"runs/*/version_{version:05d}")
            values, _ = checkpoint.load(private)
            expected, _ = checkpoint.load(
                simulated / "clients" / scenario / f"version_{version:05d}"
            )
            assert set(values) == set(expected)
            for name, value in expected.items():
                np.testing.assert_array_equal(values[name], value, err_msg=f"{scenario} {name}")


def test_the_driver_holds_nothing_of_a_silo_but_what_the_manifest_names(
    trained: "tuple[pathlib.Path, dict[str, pathlib.Path]]",
) -> None:
    run, _ = trained
    assert not (run / "clients").exists()
    private = set(json.loads((run / "privacy_manifest.json").read_text())["never_leaves"])
    uploads = {
        item["what"] for item in json.loads((run / "privacy_manifest.json").read_text())["uploads"]
    }
    server, _ = checkpoint.load(run / "server" / "round_00003")
    assert "embedding/user" in private
    for name in server:
        # Some algorithms keep what clients sent beside what they make of it; how much clients share
        # is found by their metrics.
        sent = name.removeprefix("extra/trained/")
        own = ("round", f"extra/{base.SHARING}")
        assert name in own or sent.split("/", 1)[1] in uploads, name
    assert json.loads((run / "config.json").read_text())["data"] is None
    with pytest.raises(
        errors.PfrecError, match=r"on each silo's machine run pfrec-export, .* with --client_dir"
    ):
        run_directory.open_run(run)


def test_a_silo_exports_its_model_where_it_is(
    trained: "tuple[pathlib.Path, dict[str, pathlib.Path]]",
    simulated: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    _, directories = trained
    commands.succeed(
        "pfrec-export", f"--client_dir={directories['es']}", f"--output={tmp_path / 'serving'}"
    )
    report = json.loads((tmp_path / "serving" / "export_report.json").read_text())
    (model,) = report["models"]
    assert model["scenario"] == "es"
    assert all(check["ok"] for check in model["checks"])
    assert (
        model["run"]["round"] == json.loads((simulated / "summary.json").read_text())["best_round"]
    )


def test_a_run_goes_on_over_silos_as_in_a_simulation(
    trained: "tuple[pathlib.Path, dict[str, pathlib.Path]]",
    simulated: pathlib.Path,
    schema: schema_lib.Schema,
    tmp_path: pathlib.Path,
) -> None:
    """A week later: other rows, es and nl are gone, de is new, and fr has a gatekeeper now."""
    run, first = trained
    later = tmp_path / "later"
    with writer.DatasetWriter(later, schema, source_format="test", split_seed=0) as target:
        for number, (scenario, rows) in enumerate({"de": 150, "fr": 120}.items()):
            for offset, split in enumerate(("train", "valid", "test")):
                count = rows if split == "train" else 80
                target.add(scenario, split, random_rows(schema, count, 100 + 10 * number + offset))
    data = dataset_lib.Dataset.open(later)
    expected = tmp_path / "simulated"
    going_on = dataclasses.replace(PLAN, rounds=2, continues=True)
    going_on_from = dataclasses.replace(going_on, init_from=str(simulated))
    silo_machines.simulate(going_on_from, data, expected)
    directories = silo_machines.directories(data, tmp_path)
    # In fr the rows of the week take the place of the last one's; the rest stays.
    week = tmp_path / "silo_of_fr"
    shutil.copytree(first["fr"], week)
    shutil.rmtree(week / "data")
    (directories["fr"] / "data").rename(week / "data")
    directories["fr"] = week
    own = own_computations.OwnComputations(going_on.to_json(), silo_directory.facts(week), "plan")
    agreed = own.agreement(own.bounds(trainings=1, rows=50), pfrec.__version__)
    files.write_json(tmp_path / "fr.json", agreed.to_json())
    output, agreements = tmp_path / "run", {"fr": tmp_path / "fr.json"}
    with silo_machines.running(directories, None, agreements=agreements) as silos:
        commands.succeed(
            "pfrec-train",
            f"--workers={silo_machines.workers(silos)}",
            f"--init_from={run}",
            f"--output={output}",
            "--rounds=2",
            "--changed_scenarios=follow",
        )
    assert (output / "metrics.csv").read_bytes() == (expected / "metrics.csv").read_bytes()
    server, meta = checkpoint.load(output / "server" / "round_00002")
    other, _ = checkpoint.load(expected / "server" / "round_00002")
    for name, value in other.items():
        np.testing.assert_array_equal(server[name], value, err_msg=name)
    identity = run_directory.RunDirectory.read(output).identity
    for scenario, directory in directories.items():
        version = f"version_{meta['versions'][scenario]:05d}"
        values, _ = checkpoint.load(directory / "runs" / identity / version)
        private, _ = checkpoint.load(expected / "clients" / scenario / version)
        for name, value in private.items():
            np.testing.assert_array_equal(values[name], value, err_msg=f"{scenario} {name}")


def test_mistakes_end_in_one_line(dataset: dataset_lib.Dataset, tmp_path: pathlib.Path) -> None:
    directories = silo_machines.directories(dataset, tmp_path)
    worker = ("pfrec-worker", f"--client_dir={directories['nl']}", "--port=7000")
    assert "--host=0.0.0.0: is not a loopback address" in commands.fail(*worker, "--host=0.0.0.0")
    missing = "certificate" if silo_machines.HAS_TUNNEL else "is not installed; install it"
    assert missing in commands.fail(*worker, f"--tls={tmp_path}")
    assert "holds the scenarios es, fr, nl; a silo has one" in _fail_with_all_data(
        dataset, tmp_path
    )
    shard = next((directories["nl"] / "data" / "nl").glob("train-*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert "damaged" in commands.fail(*worker)
    output = tmp_path / "run"
    assert "--workers=nl=192.0.2.7:7000: is not a loopback address" in commands.fail(
        "pfrec-train", "--workers=nl=192.0.2.7:7000", f"--output={output}"
    )
    assert not output.exists()


def _fail_with_all_data(dataset: dataset_lib.Dataset, path: pathlib.Path) -> str:
    (path / "all").mkdir()
    (path / "all" / "data").symlink_to(dataset.path)
    return commands.fail("pfrec-worker", f"--client_dir={path / 'all'}", "--port=7000")


def test_a_killed_worker_command_takes_its_children_along(
    dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> None:
    """And a second one for the same directory is refused while the first is there."""
    (one, *_) = silo_machines.directories(dataset, tmp_path).items()
    with silo_machines.running(dict([one]), None) as silos:
        (silo,) = silos.values()
        assert "another pfrec-worker serves it" in commands.fail(
            "pfrec-worker", f"--client_dir={silo.directory}", "--port=7001"
        )
        (worker,) = silo.children("worker_binary")
        silo.process.send_signal(signal.SIGKILL)
        silo.process.communicate()
        assert silo_machines.ended(worker)
        assert not connects(silo.address)
        silo.start_again()
