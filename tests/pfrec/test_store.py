"""What is kept in the user's cache directory is what was put there, or nothing."""

import logging
import os
import pathlib

import pytest

from pfrec import store

PARTS = {"one": b"\x00\n1", "empty": b"", "two": b"22"}


def test_an_entry_comes_back_as_it_was(tmp_path):
    made = store.Store(tmp_path / "kept")
    assert made.load("key") is None
    made.save("key", PARTS)
    assert made.load("key") == PARTS
    assert store.Store(tmp_path / "kept").load("key") == PARTS
    assert made.load("other") is None
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "kept" / "key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", [0, 40, 70, -1])
def test_a_damaged_entry_is_none(tmp_path, place):
    made = store.Store(tmp_path)
    made.save("key", PARTS)
    content = bytearray((tmp_path / "key").read_bytes())
    content[place] ^= 1
    (tmp_path / "key").write_bytes(content)
    assert made.load("key") is None
    made.save("key", PARTS)
    assert made.load("key") == PARTS


@pytest.mark.parametrize("length", [0, 10, 65, 90])
def test_an_entry_that_is_cut_off_is_none(tmp_path, length):
    made = store.Store(tmp_path)
    made.save("key", PARTS)
    content = (tmp_path / "key").read_bytes()
    assert len(content) > length
    (tmp_path / "key").write_bytes(content[:length])
    assert made.load("key") is None


@pytest.mark.parametrize("which", ["kept/key", "kept"])
def test_what_others_may_write_is_not_used(tmp_path, which, caplog):
    made = store.Store(tmp_path / "kept")
    made.save("key", PARTS)
    (tmp_path / which).chmod(0o722)
    with caplog.at_level(logging.WARNING):
        assert made.load("key") is None
    assert "others may write it" in caplog.text


def test_the_least_recently_used_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "_MOST", 2)
    made = store.Store(tmp_path)
    for number, name in enumerate(("first", "second")):
        made.save(name, PARTS)
        os.utime(tmp_path / name, (number, number))
    assert made.load("first") == PARTS
    made.save("third", PARTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "third"]


def test_where_nothing_can_be_kept_nothing_is_and_it_is_said_once(tmp_path, caplog):
    (tmp_path / "file").touch()
    made = store.Store(tmp_path / "file" / "kept")
    with caplog.at_level(logging.INFO):
        made.save("key", PARTS)
        made.save("another", PARTS)
    assert made.load("key") is None
    assert caplog.text.count("nothing is kept") == 1


def test_the_user_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv(store.VARIABLE, str(tmp_path / "own"))
    store.of_user("things").save("key", PARTS)
    assert (tmp_path / "own" / "things" / "key").is_file()
    monkeypatch.setenv(store.VARIABLE, "")
    assert store.of_user("things") is None
    monkeypatch.delenv(store.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    store.of_user("things").save("key", PARTS)
    assert (tmp_path / "xdg" / "pfrec" / "things" / "key").is_file()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(pathlib.Path, "home", lambda: tmp_path / "home")
    store.of_user("things").save("key", PARTS)
    assert (tmp_path / "home" / ".cache" / "pfrec" / "things" / "key").is_file()
