"""A silo measures its own model on its own rows, and nothing else."""

import shutil

import numpy as np
import pytest

from pfrec import checkpoint, client_directory, client_model, errors, files, groups, run_data
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tff_process.commands import diagnose

CONFIG = ModelConfig(embedding_dim=4, numeric_dim=3, experts=2, expert_units=(6,), tower_units=(4,))
SECRET = b"0123456789abcdef"


@pytest.fixture
def silo(schema, dataset, tmp_path):
    """A client directory of a finished training, and the model that it holds in parts."""
    network = mmoe.build(schema, CONFIG, seed=3)
    parts = {kind: {} for kind in (True, False)}
    for item in groups.tag(network):
        parts[item.kind in ("expert", "tower")][item.name] = item.variable.numpy()
    path = tmp_path / "silo"
    checkpoint.save(path / "runs" / "abc" / "version_00005", parts[False])
    checkpoint.save(path / "runs" / "abc" / "shared" / "round_00007", parts[True])
    shutil.copytree(dataset.path, path / "data")
    (path / "secret").write_bytes(SECRET)
    digest = run_data.keyed(dataset.digests["nl"], SECRET)
    record = client_directory.ClientRecord("nl", schema, CONFIG, 0, "abc", 7, 5, {}, digest)
    files.write_json(path / client_directory.CLIENT, record.to_json())
    return path, network


def test_its_parts_become_the_model(silo):
    path, network = silo
    client = client_model.ClientModel(path)
    for mine, theirs in zip(client.load().variables, network.variables):
        np.testing.assert_array_equal(mine, theirs)
    assert client.own_data() is not None


def test_it_says_what_its_features_are_worth_on_its_own_rows(silo):
    path, _ = silo
    written = diagnose.inspect_client(path, diagnose.Importance(repeats=1))
    assert [file.name for file in written] == ["calibration.json", "importance.json"]
    found = files.read_json(path / "diagnostics" / "importance.json", remedy="")
    assert set(found["scenarios"]) == {"nl"}
    assert set(found["scenarios"]["nl"]["ctr"]) == {"user", "item", "price", "age"}
    assert found["round"] == 7


def test_rows_that_it_was_not_trained_on_are_refused(silo):
    path, _ = silo
    (path / "secret").write_bytes(SECRET[::-1])
    with pytest.raises(errors.PfrecError, match="others than it was trained on"):
        diagnose.inspect_client(path)
