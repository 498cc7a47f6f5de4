"""models.config, and going back and forth between versions."""

import pathlib
import shutil
from typing import Optional

import pytest
from google.protobuf import text_format  # type: ignore[import-untyped]
from tensorflow_serving.config import model_server_config_pb2

from export.publishing import models_config, publish
from pfrec import errors


def _publish(serving: pathlib.Path, *models: str, version: Optional[int] = None) -> None:
    with publish.Publication(serving) as publication:
        for model in models:
            (publication.stage(model, version) / "saved_model.pb").write_text(model)
        publication.publish()


def _config(serving: pathlib.Path) -> model_server_config_pb2.ModelServerConfig:
    config = model_server_config_pb2.ModelServerConfig()
    return text_format.Parse((serving / "models.config").read_text(), config)


def test_a_canary_is_served_beside_the_stable_version_until_either_wins(
    tmp_path: pathlib.Path,
) -> None:
    for version in (1, 2, 3):
        _publish(tmp_path, "NL", "ES", version=version)
    models_config.write(tmp_path, "/models")
    assert models_config.served(tmp_path) == {"ES": 3, "NL": 3}
    models_config.add_canary(tmp_path, {"NL": 1}, 3)
    entry = {e.name: e for e in _config(tmp_path).model_config_list.config}["NL"]
    assert list(entry.model_version_policy.specific.versions) == [1, 3]
    assert dict(entry.version_labels) == {"stable": 1, "canary": 3}
    assert models_config.served(tmp_path) == {"ES": 3, "NL": 1}
    assert models_config.roll_back(tmp_path, names=["NL"]) == {"NL": 1}
    assert models_config.pinned(tmp_path) == {"NL": [1]}
    models_config.add_canary(tmp_path, {"NL": 1}, 3)
    assert models_config.roll_forward(tmp_path)["NL"] == 3
    entry = {e.name: e for e in _config(tmp_path).model_config_list.config}["NL"]
    assert not entry.version_labels
    assert not entry.HasField("model_version_policy")


def test_config_lists_models_and_keeps_what_was_set_by_hand(tmp_path: pathlib.Path) -> None:
    _publish(tmp_path, "NL", "ES")
    models_config.write(tmp_path, "/models/")
    assert [
        (e.name, e.base_path, e.model_platform) for e in _config(tmp_path).model_config_list.config
    ] == [
        ("ES", "/models/ES", "tensorflow"),
        ("NL", "/models/NL", "tensorflow"),
    ]
    rollback = _config(tmp_path)
    rollback.model_config_list.config[1].model_version_policy.specific.versions.append(1)
    other = rollback.model_config_list.config.add()
    other.name, other.base_path, other.model_platform = "search", "/elsewhere/search", "custom"
    (tmp_path / "models.config").write_text(text_format.MessageToString(rollback))
    _publish(tmp_path, "FR", "NL")
    models_config.write(tmp_path, "/new")
    entries = {e.name: e for e in _config(tmp_path).model_config_list.config}
    assert sorted(entries) == ["ES", "FR", "NL", "search"]
    assert list(entries["NL"].model_version_policy.specific.versions) == [1]
    assert entries["NL"].base_path == "/new/NL"
    assert entries["search"] == other
    assert not any(e.version_labels for e in entries.values())


def test_a_model_whose_versions_were_removed_is_served_no_more(tmp_path: pathlib.Path) -> None:
    """A server that finds no version of a model that it is to serve does not start."""
    _publish(tmp_path, "BE", "NL")
    assert models_config.write(tmp_path, str(tmp_path)) == models_config.Absent({}, {})
    shutil.rmtree(tmp_path / "BE" / "1")
    found = models_config.write(tmp_path, f"{tmp_path}/")
    assert found == models_config.Absent({"BE": f"{tmp_path}/BE"}, {})
    assert [e.name for e in _config(tmp_path).model_config_list.config] == ["NL"]
    assert models_config.write(tmp_path, str(tmp_path)) == models_config.Absent({}, {})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("gs://bucket/models", "gs://bucket/models"),
        ("/models", "/new"),
        ("/models", "HERE"),
        ("HERE", "/models"),
    ],
)
def test_what_may_be_served_from_elsewhere_is_left_and_told(
    tmp_path: pathlib.Path, before: str, after: str
) -> None:
    """A directory that was cleared here says nothing of a copy of it."""
    before, after = (str(tmp_path) if path == "HERE" else path for path in (before, after))
    _publish(tmp_path, "BE", "NL")
    models_config.write(tmp_path, before)
    shutil.rmtree(tmp_path / "BE")
    found = models_config.write(tmp_path, after)
    assert found == models_config.Absent({}, {"BE": f"{before}/BE"})
    paths = {e.name: e.base_path for e in _config(tmp_path).model_config_list.config}
    assert paths == {"BE": f"{before}/BE", "NL": f"{after}/NL"}


@pytest.mark.parametrize("base", ["/models", "HERE"])
def test_what_is_of_the_directory_and_what_of_elsewhere(tmp_path: pathlib.Path, base: str) -> None:
    base = str(tmp_path) if base == "HERE" else base
    _publish(tmp_path, "BE", "NL")
    assert models_config.elsewhere(tmp_path) == {}  # There is no file yet.
    models_config.write(tmp_path, base)
    config = _config(tmp_path)
    for name, place in (("search", "gs://bucket/search"), ("alias", f"{base}/NL/")):
        config.model_config_list.config.add(name=name, base_path=place)
    (tmp_path / "models.config").write_text(text_format.MessageToString(config))
    assert models_config.elsewhere(tmp_path) == {"search": "gs://bucket/search"}
    shutil.rmtree(tmp_path / "BE" / "1")
    with pytest.raises(errors.PfrecError, match=r"models\.config: lists BE, of which there is no"):
        models_config.elsewhere(tmp_path)
    # No listed model lies here any more, so none says what path the server sees.
    (tmp_path / "NL").rename(tmp_path / "AT")
    if base == "/models":
        assert sorted(models_config.elsewhere(tmp_path)) == ["BE", "NL", "alias", "search"]
    else:
        with pytest.raises(errors.PfrecError, match="lists BE, NL, alias, of which"):
            models_config.elsewhere(tmp_path)


def test_one_model_without_an_older_version_leaves_all_as_they_are(tmp_path: pathlib.Path) -> None:
    for version in (1, 2):
        _publish(tmp_path, "NL", version=version)
    _publish(tmp_path, "AT", version=2)
    models_config.write(tmp_path, "/models")
    with pytest.raises(errors.PfrecError, match=r"AT: has no version before 2.* with --scenario"):
        models_config.roll_back(tmp_path)
    assert models_config.pinned(tmp_path) == {}
    assert models_config.roll_back(tmp_path, names=["NL"]) == {"NL": 1}


def test_damaged_config_is_not_replaced(tmp_path: pathlib.Path) -> None:
    (tmp_path / "models.config").write_text("model_config_list { nonsense")
    with pytest.raises(errors.PfrecError, match=r"models\.config: cannot be read"):
        models_config.write(tmp_path, "/models")
    assert (tmp_path / "models.config").read_text() == "model_config_list { nonsense"


def test_rollback_and_forward(tmp_path: pathlib.Path) -> None:
    for version in (1, 2, 5):
        _publish(tmp_path, "NL", "ES", version=version)
    models_config.write(tmp_path, "/models")
    assert models_config.pinned(tmp_path) == {}
    assert models_config.roll_back(tmp_path) == {"NL": 2, "ES": 2}
    assert models_config.pinned(tmp_path) == {"NL": [2], "ES": [2]}
    assert models_config.roll_back(tmp_path) == {"NL": 1, "ES": 1}
    before = (tmp_path / "models.config").read_bytes()
    with pytest.raises(errors.PfrecError, match="no version before 1"):
        models_config.roll_back(tmp_path)
    with pytest.raises(errors.PfrecError, match="has no version 3; it has 1, 2, 5"):
        models_config.roll_back(tmp_path, 3)
    assert (tmp_path / "models.config").read_bytes() == before
    assert models_config.roll_back(tmp_path, 5) == {"NL": 5, "ES": 5}
    # A version that is published while one is pinned does not change what is served.
    _publish(tmp_path, "NL", "ES", version=6)
    models_config.write(tmp_path, "/models")
    assert models_config.pinned(tmp_path) == {"NL": [5], "ES": [5]}
    assert models_config.roll_forward(tmp_path) == {"NL": 6, "ES": 6}
    assert models_config.pinned(tmp_path) == {}
    assert [e.base_path for e in _config(tmp_path).model_config_list.config] == [
        "/models/ES",
        "/models/NL",
    ]


def test_nothing_to_roll_back(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.PfrecError, match="lists no model"):
        models_config.roll_back(tmp_path)
