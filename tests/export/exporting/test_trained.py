"""A silo's own directory is enough for its export."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest

from export.commands import export
from export.exporting import build, trained
from pfrec import checkpoint, client_directory, errors, files, groups
from pfrec.data import schema as schema_lib
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe

CONFIG = ModelConfig(
    embedding_dim=4, numeric_dim=3, experts=2, expert_units=(6, 5), tower_units=(4,)
)


@pytest.fixture
def silo(
    schema: schema_lib.Schema, dataset: dataset_lib.Dataset, tmp_path: pathlib.Path
) -> "tuple[pathlib.Path, mmoe.MMoE]":
    """A client directory, and the model that it holds in parts."""
    network = mmoe.build(schema, CONFIG, seed=3)
    generator = np.random.default_rng(0)
    for variable in network.variables:
        variable.assign(generator.uniform(0.2, 1.0, variable.shape).astype(np.float32))
    path = tmp_path / "silo"
    private = {
        t.name: t.variable.numpy() for t in groups.tag(network) if t.kind not in ("expert", "tower")
    }
    shared = {
        t.name: t.variable.numpy() for t in groups.tag(network) if t.kind in ("expert", "tower")
    }
    # It took no part in the last two rounds.
    checkpoint.save(path / "runs" / "abc" / "version_00005", private)
    checkpoint.save(path / "runs" / "abc" / "shared" / "round_00007", shared)
    record = client_directory.ClientRecord("nl", schema, CONFIG, 0, "abc", 7, 5, {})
    files.write_json(path / client_directory.CLIENT, record.to_json())
    (path / "data" / "nl").mkdir(parents=True)
    for shard in dataset.shards("nl", "train"):
        (path / "data" / "nl" / pathlib.Path(shard).name).write_bytes(
            pathlib.Path(shard).read_bytes()
        )
    return path, network


def test_parts_become_the_model(silo: "tuple[pathlib.Path, mmoe.MMoE]") -> None:
    source = trained.ClientDirectory(silo[0])
    assert source.scenarios == ("nl",)
    model = source.trained("nl", 32)
    for mine, theirs in zip(model.network.variables, silo[1].variables):
        np.testing.assert_array_equal(mine, theirs)
    assert len(model.rows) == 32
    assert dict(model.run) == {"id": "abc", "round": 7}


def test_a_received_model_has_what_was_sent_and_not_what_was_made_of_it(
    silo: "tuple[pathlib.Path, mmoe.MMoE]",
) -> None:
    """As an attacker of what left has it (`membership`)."""
    path, network = silo
    version = path / "runs" / "abc" / "version_00005"
    private, owner = checkpoint.load(version)
    name = next(t.name for t in groups.tag(network) if t.kind == "tower")
    shutil.rmtree(version)
    sent = {t.name: t.variable.numpy() for t in groups.tag(network)}[name]
    checkpoint.save(version, {**private, name: sent + 1.0}, owner)
    model = trained.ClientDirectory(path).trained("nl", 32)
    assert model.received is not None
    of = {
        kind: {t.name: t.variable.numpy() for t in groups.tag(made)}
        for kind, made in (("own", model.network), ("received", model.received()))
    }
    np.testing.assert_array_equal(of["own"][name], sent + 1.0)
    np.testing.assert_array_equal(of["received"].pop(name), sent)
    for other, value in of["received"].items():
        np.testing.assert_array_equal(value, of["own"][other])


def test_silo_exports_its_own_model(
    silo: "tuple[pathlib.Path, mmoe.MMoE]", tmp_path: pathlib.Path
) -> None:
    (tmp_path / "moved").mkdir()
    path = silo[0].rename(tmp_path / "moved" / "elsewhere")
    result = export.export(trained.ClientDirectory(path), tmp_path / "serving")
    (entry,) = result["models"]
    assert (entry["path"], entry["made"]["folded"], entry["made"]["tables"]) == (
        "nl/1",
        True,
        ["user", "item"],
    )
    assert [c["name"] for c in entry["checks"] if not c["ok"]] == []
    assert set(entry["latency_ms"]) == {"1", "32", "512"}
    card = (tmp_path / "serving/nl/1/assets.extra/model_card.md").read_text()
    assert "scenario `nl`" in card
    assert "| user | int64 | 0 to 11 |" in card
    assert "curl -d @sample_request.json http://HOST:8501/v1/models/nl:predict" in card


def test_rows_may_be_absent(silo: "tuple[pathlib.Path, mmoe.MMoE]") -> None:
    for shard in (silo[0] / "data" / "nl").iterdir():
        shard.unlink()
    assert len(trained.ClientDirectory(silo[0]).trained("nl", 16).rows) == 16


def test_missing_parts_are_named(
    silo: "tuple[pathlib.Path, mmoe.MMoE]", tmp_path: pathlib.Path
) -> None:
    with pytest.raises(
        errors.PfrecError, match=r"client\.json: no such file; name the directory of a silo"
    ):
        trained.ClientDirectory(tmp_path)
    checkpoint.save(silo[0] / "runs" / "abc" / "shared" / "round_00007", {})
    with pytest.raises(errors.PfrecError, match="neither version_00005 nor shared/round_00007"):
        trained.ClientDirectory(silo[0]).trained("nl", 4)
    value = files.read_json(silo[0] / client_directory.CLIENT, remedy="")
    files.write_json(silo[0] / client_directory.CLIENT, {**value, "format_version": 9})
    with pytest.raises(errors.PfrecError, match="format version 9, this pfrec reads 2"):
        trained.ClientDirectory(silo[0])
    del value["model"]
    files.write_json(silo[0] / client_directory.CLIENT, value)
    with pytest.raises(errors.PfrecError, match="train again"):
        trained.ClientDirectory(silo[0])


def test_half_precision_is_reported(
    silo: "tuple[pathlib.Path, mmoe.MMoE]", tmp_path: pathlib.Path, monkeypatch
) -> None:
    monkeypatch.setattr(
        build.folding.fold, "__kwdefaults__", {"embedding_dtype": "float32", "table_rows": 10}
    )
    model = trained.ClientDirectory(silo[0]).trained("nl", 32)
    (tmp_path / "1").mkdir()
    made = build.write(model, "nl", tmp_path / "1", build.Options(embedding_dtype="float16"))
    assert (made["embedding_dtype"], made["tables"]) == ("float16", ["item"])
    assert 0 <= made["rounding_moved"] < 1e-2
    with pytest.raises(errors.PfrecError, match="float16 needs --fold"):
        build.write(
            model, "nl", tmp_path / "1", build.Options(fold=False, embedding_dtype="float16")
        )


def test_a_model_whose_predictions_are_nan_is_not_exported(
    silo: "tuple[pathlib.Path, mmoe.MMoE]", tmp_path: pathlib.Path
) -> None:
    model = trained.ClientDirectory(silo[0]).trained("nl", 32)
    model.network.towers["ctr"].logit.bias.assign([np.nan])
    (tmp_path / "1").mkdir()
    with pytest.raises(errors.PfrecError, match=r"^nl: .* predictions of ctr are NaN; train again"):
        build.write(model, "nl", tmp_path / "1")


def test_a_silo_with_local_preprocessing_exports_by_its_own_schema(
    silo: "tuple[pathlib.Path, mmoe.MMoE]",
) -> None:
    value = files.read_json(silo[0] / client_directory.CLIENT, remedy="")
    agreed = schema_lib.Schema.from_json(value["schema"], place="")
    price, age = agreed.numerical
    agreed = dataclasses.replace(
        agreed, numerical=(dataclasses.replace(price, default=None, normalise="standard"), age)
    )
    own = dataclasses.replace(price, default=3.0, normalise="standard", shift=3.0, scale=2.0)
    files.write_json(silo[0] / client_directory.CLIENT, {**value, "schema": agreed.to_json()})
    with pytest.raises(errors.PfrecError, match=r"client_schema\.json: no such file"):
        trained.ClientDirectory(silo[0])
    files.write_json(
        silo[0] / "runs" / "abc" / "client_schema.json",
        dataclasses.replace(agreed, numerical=(own, age)).to_json(),
    )
    assert trained.ClientDirectory(silo[0]).trained("nl", 4).schema.numerical[0] == own
