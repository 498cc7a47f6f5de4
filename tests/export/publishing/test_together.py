"""A set of versions becomes visible at once, whenever a kill comes."""

import contextlib
import pathlib

import pytest

from export.publishing import models_config, publish, together
from pfrec import errors

NAMES = ("es", "fr", "nl")


class KilledError(BaseException):
    """What ends the process here, where nothing is cleaned up after a kill."""


@pytest.fixture
def serving(tmp_path: pathlib.Path) -> pathlib.Path:
    """Three models at version 1, as a server has them."""
    for name in NAMES:
        (tmp_path / name / "1").mkdir(parents=True)
    models_config.write(tmp_path, "/models")
    return tmp_path


def _all(*versions: int) -> "dict[str, list[int]]":
    return {name: list(versions) for name in NAMES}


def visible(serving: pathlib.Path) -> "dict[str, list[int]]":
    """The versions that a server which reads models.config serves."""
    found = {}
    for entry in models_config.read(serving).model_config_list.config:
        have = publish.versions(serving / entry.name)
        policy = entry.model_version_policy
        if policy.WhichOneof("policy_choice") == "specific":
            found[entry.name] = [v for v in policy.specific.versions if v in have]
        else:
            found[entry.name] = have[-max(1, policy.latest.num_versions) :]
    return found


def killed(serving: pathlib.Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publication of version 2 that ends after some of its renames, without a clean-up."""
    with monkeypatch.context() as patched:
        patched.setattr(together, "recover", lambda serving: None)
        with contextlib.suppress(KilledError), together.together(serving, NAMES, 2):
            for name in NAMES[:after]:
                (serving / name / "2").mkdir()
            raise KilledError


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_kill_between_renames_leaves_all_models_at_the_version_before(
    serving: pathlib.Path, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (serving / "models.config").read_text()
    killed(serving, after, monkeypatch)
    assert visible(serving) == _all(1)
    assert "version 2 of es, fr, nl was interrupted" in together.interrupted(serving)
    together.recover(serving)
    # All in place: the end of it; one missing: as if it had never begun.
    assert visible(serving) == _all(2 if after == 3 else 1)
    expected = _all(1, 2) if after == 3 else _all(1)
    assert {name: publish.versions(serving / name) for name in NAMES} == expected
    assert (serving / "models.config").read_text() == before
    assert together.interrupted(serving) == ""


def test_all_new_versions_appear_by_one_replacement_of_a_file(serving: pathlib.Path) -> None:
    seen = []
    with together.together(serving, NAMES, 2):
        for name in NAMES:
            (serving / name / "2").mkdir()
            seen.append(visible(serving))
    assert seen == [_all(1)] * 3
    assert visible(serving) == _all(2)


def test_pins_and_policies_are_as_they_were_afterwards(serving: pathlib.Path) -> None:
    config = models_config.read(serving).model_config_list.config
    text = (serving / "models.config").read_text()
    assert len(config) == 3
    policy = 'name: "es"\n    model_version_policy { latest { num_versions: 2 } }'
    (serving / "models.config").write_text(text.replace('name: "es"', policy))
    edited = (serving / "models.config").read_text()
    with together.together(serving, NAMES, 2):
        for name in NAMES:
            (serving / name / "2").mkdir()
        assert visible(serving) == _all(1)
    assert (serving / "models.config").read_text() == edited
    assert visible(serving)["es"] == [1, 2]


def test_what_a_person_wrote_since_the_kill_stays(
    serving: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed(serving, 1, monkeypatch)
    (serving / "models.config").write_text("model_config_list {}\n")
    together.recover(serving)
    assert (serving / "models.config").read_text() == "model_config_list {}\n"
    assert publish.versions(serving / "es") == [1]


def test_a_first_publication_that_is_killed_is_served_by_nobody(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
    killed(tmp_path, 2, monkeypatch)
    together.recover(tmp_path)
    assert not publish.models(tmp_path)
    assert not (tmp_path / "models.config").exists()


def test_a_journal_that_names_other_places_is_refused(serving: pathlib.Path) -> None:
    (serving / together.JOURNAL).write_text(
        '{"config": "", "held": "", "models": ["../x"], "version": 2}'
    )
    with pytest.raises(errors.PfrecError, match=r"'\.\./x' is no model's name"):
        together.recover(serving)


def test_labels_that_would_be_stale_are_refused_before_a_server_refuses_to_start(
    serving: pathlib.Path,
) -> None:
    for name in NAMES:
        (serving / name / "2").mkdir()
    text = (serving / "models.config").read_text()
    labelled = 'name: "nl"\n    version_labels { key: "stable" value: 2 }'
    (serving / "models.config").write_text(text.replace('name: "nl"', labelled))
    before = (serving / "models.config").read_text()
    with pytest.raises(errors.PfrecError, match=r"labels stable \(2\) of nl name versions"):
        models_config.roll_back(serving)
    assert (serving / "models.config").read_text() == before
    models_config.roll_forward(serving)  # it serves what the label names
