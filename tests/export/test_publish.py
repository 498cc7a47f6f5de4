"""Versions appear whole, and are never overwritten."""

import pathlib
import stat
from typing import Optional

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from tensorflow_serving.config import model_server_config_pb2

from export import publish
from pfrec import errors


def _publish(serving: pathlib.Path, *models: str, version: Optional[int] = None) -> "list[pathlib.Path]":
    with publish.Publication(serving) as publication:
        for model in models:
            (publication.stage(model, version) / "saved_model.pb").write_text(model)
        return publication.publish()


def _config(serving: pathlib.Path) -> model_server_config_pb2.ModelServerConfig:
    config = model_server_config_pb2.ModelServerConfig()
    return text_format.Parse((serving / "models.config").read_text(), config)


def _hidden(serving: pathlib.Path) -> "list[pathlib.Path]":
    return [path for path in serving.rglob("*") if path.name.startswith(".tmp-")]


def test_version_numbers(tmp_path: pathlib.Path) -> None:
    assert publish.next_version(tmp_path / "NL") == 1
    assert _publish(tmp_path, "NL") == [tmp_path / "NL" / "1"]
    assert _publish(tmp_path, "NL", version=9) == [tmp_path / "NL" / "9"]
    (tmp_path / "NL" / "12x").mkdir()
    (tmp_path / "NL" / "30").write_text("a file")
    assert _publish(tmp_path, "NL", "ES") == [tmp_path / "NL" / "10", tmp_path / "ES" / "1"]
    assert publish.versions(tmp_path / "NL") == [1, 9, 10]
    assert publish.models(tmp_path) == ["ES", "NL"]


def test_other_users_can_read(tmp_path: pathlib.Path) -> None:
    (directory,) = _publish(tmp_path, "NL")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o755
    assert stat.S_IMODE((directory / "saved_model.pb").stat().st_mode) == 0o644


def test_never_overwrites(tmp_path: pathlib.Path) -> None:
    (first,) = _publish(tmp_path, "NL")
    with pytest.raises(errors.PfrecError, match="never overwritten"):
        _publish(tmp_path, "NL", version=1)
    assert (first / "saved_model.pb").read_text() == "NL"
    assert _hidden(tmp_path) == []


def test_version_that_appears_meanwhile_is_kept(tmp_path: pathlib.Path) -> None:
    with publish.Publication(tmp_path) as publication:
        (publication.stage("NL") / "saved_model.pb").write_text("late")
        _publish(tmp_path, "NL")
        with pytest.raises(errors.PfrecError, match="never overwritten"):
            publication.publish()
    assert (tmp_path / "NL" / "1" / "saved_model.pb").read_text() == "NL"
    assert _hidden(tmp_path) == []


def test_failure_leaves_nothing(tmp_path: pathlib.Path) -> None:
    def fail() -> None:
        with publish.Publication(tmp_path / "a" / "serving") as publication:
            (publication.stage("NL") / "saved_model.pb").write_text("half")
            publication.stage("ES")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a/b", "", "..", ".hidden", "a b"])
def test_names_that_cannot_be_served(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(errors.PfrecError, match="model name"), publish.Publication(tmp_path) as publication:
        publication.stage(name)
    assert list(tmp_path.iterdir()) == []


def test_config_lists_models_and_keeps_what_was_set_by_hand(tmp_path: pathlib.Path) -> None:
    _publish(tmp_path, "NL", "ES")
    publish.write_config(tmp_path, "/models/")
    assert [(e.name, e.base_path, e.model_platform) for e in _config(tmp_path).model_config_list.config] == [
        ("ES", "/models/ES", "tensorflow"),
        ("NL", "/models/NL", "tensorflow"),
    ]
    rollback = _config(tmp_path)
    rollback.model_config_list.config[1].model_version_policy.specific.versions.append(1)
    other = rollback.model_config_list.config.add()
    other.name, other.base_path, other.model_platform = "search", "/elsewhere/search", "tensorflow"
    (tmp_path / "models.config").write_text(text_format.MessageToString(rollback))
    _publish(tmp_path, "FR", "NL")
    publish.write_config(tmp_path, "/new")
    entries = {e.name: e for e in _config(tmp_path).model_config_list.config}
    assert sorted(entries) == ["ES", "FR", "NL", "search"]
    assert list(entries["NL"].model_version_policy.specific.versions) == [1]
    assert [entries[name].base_path for name in ("NL", "search")] == ["/new/NL", "/elsewhere/search"]
    assert not any(e.version_labels for e in entries.values())


def test_damaged_config_is_not_replaced(tmp_path: pathlib.Path) -> None:
    (tmp_path / "models.config").write_text("model_config_list { nonsense")
    with pytest.raises(errors.PfrecError, match=r"models\.config: cannot be read"):
        publish.write_config(tmp_path, "/models")
    assert (tmp_path / "models.config").read_text() == "model_config_list { nonsense"
