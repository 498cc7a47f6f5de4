"""Sums over silos: a run ends where a simulation ends, and neither what passed nor what the driver
keeps holds an update of one silo.
"""

import itertools
import json

import numpy as np
import pytest

import pfrec
from benchmarks import wire_capture
from pfrec import checkpoint, errors, files
from tests.integration import commands, silo_machines, two_silos
from tff_process import plan
from tff_process.runtime import options, summing
from tff_process.silos import directory as silo_directory
from tff_process.silos import labels, ledger, own_computations
from tff_process.silos import training as silo_training
from tff_process.sums import fixed_point, masks
from tff_process.training import loop

PLAN = plan.Plan(
    "fedbn", rounds=2, aggregations=2, batch_size=50, model=two_silos.MODEL, secure_sums=True
)


@pytest.fixture(scope="module")
def data(schema, tmp_path_factory):
    """Two scenarios."""
    return two_silos.data(schema, tmp_path_factory.mktemp("data") / "two")


@pytest.fixture(scope="module")
def simulated(data, tmp_path_factory):
    """A simulation's run, and what each client would have sent without masks, in order."""
    run, plain = tmp_path_factory.mktemp("simulated") / "run", {0: [], 1: []}
    masked = summing.SimulatedMasks.masked

    def noted(self, client, values, number):
        plain[client].append({name: np.array(value) for name, value in values.items()})
        return masked(self, client, values, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summing.SimulatedMasks, "masked", noted)
        silo_machines.simulate(PLAN, data, run, agreed=True)
    return run, plain


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run over silos that is resumed after its first round, the traffic with nl's silo, the
    silos' directories and their keys.
    """
    parent = tmp_path_factory.mktemp("silos")
    directories = silo_machines.directories(data, parent)
    keys, agreements, run = {}, {}, parent / "run"
    owns = {}
    for name, directory in directories.items():
        facts = silo_directory.facts(directory)
        owns[name] = own_computations.OwnComputations(PLAN.to_json(), facts, "plan")
        secret = (directory / silo_directory.SECRET).read_bytes()
        keys[name] = masks.public_key(secret)
    told = {name: key.hex() for name, key in keys.items()}
    for name, own in owns.items():
        agreements[name] = parent / f"{name}.json"
        agreed = own.agreement(own.bounds(trainings=1, rows=50), pfrec.__version__, told)
        assert told["es"] in agreed.describe()
        files.write_json(agreements[name], agreed.to_json())

    with (
        silo_machines.running(directories, None, agreements=agreements) as running,
        two_silos.recorded(running) as (chosen, recorder),
    ):
        dataset = silo_training.survey(chosen, run)
        with pytest.raises(two_silos.StoppedError):
            loop.train(PLAN, dataset, run, options=chosen, progress=two_silos.stop)
        loop.train(PLAN, silo_training.survey(chosen, run), run, resume=True, options=chosen)
    return run, recorder.passed, directories, keys


def test_it_ends_where_a_simulation_ends(trained, simulated):
    run, _, directories, _ = trained
    other, _ = simulated
    for name, expected in checkpoint.load(other / "server" / "round_00002")[0].items():
        found = checkpoint.load(run / "server" / "round_00002")[0][name]
        np.testing.assert_array_equal(found, expected, err_msg=name)
    for name, directory in directories.items():
        (private,) = directory.glob("runs/*/version_00004")
        kept = checkpoint.load(other / "clients" / name / "version_00004")[0]
        for variable, value in checkpoint.load(private)[0].items():
            np.testing.assert_array_equal(value, kept[variable], err_msg=f"{name} {variable}")


def test_every_report_has_its_mask_on_and_is_in_the_ledger(trained, simulated):
    run, passed, directories, keys = trained
    _, plain = simulated
    sent = [
        arrays
        for call in wire_capture.decode(passed).calls
        if call.method == "Compute" and call.response is not None
        if len(arrays := [a for _, a in wire_capture.leaves(call.response.value)]) > 3
    ]
    manifest = json.loads((run / "privacy_manifest.json").read_text())
    entries, _ = ledger.read(directories["nl"] / ledger.FILE)
    assert ledger.differences(entries, manifest) == []
    reports = [entry for entry in entries if entry["what"] == labels.REPORT]
    assert len({entry["origin"] for entry in reports}) == len(reports) == len(sent) == 4
    secret = (directories["nl"] / silo_directory.SECRET).read_bytes()
    own = masks.Masks(secret, "nl", keys)
    for entry, arrays, expected in zip(reports, sent, plain[1]):
        flat = np.concatenate([value.ravel() for value in expected.values()])
        left = np.concatenate(
            [np.ravel(wire_capture.content(a)).astype(np.int64) for a in arrays[: len(expected)]]
        )
        assert not np.any(left == flat)
        mask = own.mask(bytes.fromhex(entry["origin"]), len(flat))
        np.testing.assert_array_equal((left.view(np.uint64) - mask).view(np.int64), flat)


def test_no_update_of_one_silo_is_anywhere_at_the_server(trained, simulated):
    run, passed, _, _ = trained
    _, plain = simulated
    # As it passed, and put together where a frame cuts a message.
    everything = b"".join(bytes(data) for data in passed.values())
    answers = [
        call.response for call in wire_capture.decode(passed).calls if call.method == "Compute"
    ]
    everything += b"".join(answer.SerializeToString() for answer in answers if answer is not None)
    kept = b"".join(path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file())
    assert len(everything) > 50_000
    sought = 0
    for client, number in itertools.product(plain, range(4)):
        values = plain[client][number]
        rows = fixed_point.decoded(values["weight/rows"])
        assert rows == 100.0
        for value in values.values():
            if value.size < 4 or not value.any() or len(np.unique(value)) < 4:
                continue
            precise = fixed_point.decoded(value)
            forms = [value, precise, precise / rows]
            forms += [form.astype(np.float32) for form in forms[1:]]
            for form in forms:
                sought += 1
                assert form.tobytes() not in everything
                assert form.tobytes() not in kept
    assert sought > 100
    # The search would find them: so it does what left, and what the server made of it.
    left = [
        array.content
        for answer in answers
        if answer is not None
        for _, array in wire_capture.leaves(answer.value)
        if array.dtype == 9 and array.content
    ]
    assert len(left) > 4
    assert all(content in everything for content in left)
    state = checkpoint.load(run / "server" / "round_00002")[0]
    common = [value for name, value in state.items() if name.startswith("common/")]
    assert all(value.tobytes() in kept for value in common)


def test_a_silo_without_an_agreement_has_no_masks(data, tmp_path):
    directories = silo_machines.directories(data, tmp_path)
    with silo_machines.running(directories, None) as running:
        chosen = options.Options(workers={name: silo.address for name, silo in running.items()})
        survey = silo_training.survey(chosen, tmp_path / "run")
        with pytest.raises(errors.PfrecError, match="has no agreement, and it is the gatekeeper"):
            loop.train(PLAN, survey, tmp_path / "run", options=chosen)


def test_pfrec_agreement_tells_a_silos_key_and_takes_those_of_all(data, tmp_path):
    directory = silo_machines.directories(data, tmp_path)["nl"]
    facts = silo_directory.facts(directory)
    key = masks.public_key((directory / silo_directory.SECRET).read_bytes()).hex()
    flags = [f"--client_dir={directory}", f"--output={tmp_path / 'a.json'}", *commands.SMALL]
    flags += ["--algorithm=fedavg", "--secure_sums"]
    told = commands.fail("pfrec-agreement", *flags)
    assert f"keys of all silos, this one's is nl={key}" in told
    other = masks.public_key(b"x" * 16).hex()
    out = commands.succeed("pfrec-agreement", *flags, f"--sums_keys=nl={key},es={other}")
    assert other in out
    assert json.loads((tmp_path / "a.json").read_text())["sums_keys"] == {"nl": key, "es": other}
    own = own_computations.OwnComputations(PLAN.to_json(), facts, "a.json")
    for keys, wrong in (
        ({"nl": other, "es": key}, "the key for sums of nl is not the one of its secret"),
        ({"nl": key, "es": "no key"}, "a.json: --secure_sums"),
        ({"es": other}, "hides nothing"),
    ):
        agreed = own.agreement(own.bounds(1, 0), pfrec.__version__, keys)
        with pytest.raises(errors.PfrecError, match=wrong):
            own.terms(agreed, (directory / silo_directory.SECRET).read_bytes())
