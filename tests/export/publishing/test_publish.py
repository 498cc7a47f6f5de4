"""Versions appear whole, and are never overwritten."""

import os
import pathlib
import stat
from typing import Optional

import pytest

from export.publishing import publish
from pfrec import errors, files


def _publish(
    serving: pathlib.Path, *models: str, version: Optional[int] = None
) -> "list[pathlib.Path]":
    with publish.Publication(serving) as publication:
        for model in models:
            (publication.stage(model, version) / "saved_model.pb").write_text(model)
        return publication.publish()


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
    before = os.umask(0o077)
    try:
        with files.Lock(tmp_path / "serving", public=True):
            (directory,) = _publish(tmp_path / "serving", "NL")
    finally:
        os.umask(before)
    for place in (directory, directory.parent, tmp_path / "serving"):
        assert stat.S_IMODE(place.stat().st_mode) == 0o755
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
    with (
        pytest.raises(errors.PfrecError, match="model name"),
        publish.Publication(tmp_path) as publication,
    ):
        publication.stage(name)
    assert list(tmp_path.iterdir()) == []


def test_one_number_for_all_models_of_a_run(tmp_path: pathlib.Path) -> None:
    _publish(tmp_path, "NL", version=4)
    _publish(tmp_path, "ES")
    assert publish.next_version(tmp_path / "NL", tmp_path / "ES", tmp_path / "FR") == 5


def test_old_versions_are_retired_but_for_pinned_ones(tmp_path: pathlib.Path) -> None:
    for version in (1, 2, 3, 10):
        _publish(tmp_path, "NL", version=version)
    assert publish.retire(tmp_path / "NL", 2, pinned=[1]) == [2]
    assert publish.versions(tmp_path / "NL") == [1, 3, 10]
    assert publish.retire(tmp_path / "NL", 5) == []
    assert _hidden(tmp_path) == []


def test_what_a_killed_publication_left_is_removed_by_the_next(tmp_path: pathlib.Path) -> None:
    """The lock of the serving directory says that no living one is at it."""
    _publish(tmp_path, "NL")
    (tmp_path / "NL" / ".tmp-old").mkdir()
    publish.remove_leftovers(tmp_path)
    assert _hidden(tmp_path) == []
    assert publish.versions(tmp_path / "NL") == [1]
