"""Who may read what is written, whatever the umask."""

import os

import pytest

from pfrec import files


@pytest.fixture(params=[0o022, 0o000, 0o077])
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path):
    return path.stat().st_mode & 0o777


@pytest.mark.usefixtures("umask")
def test_what_is_written_is_its_owners_alone(tmp_path):
    files.write_json(tmp_path / "a.json", {})
    assert mode(tmp_path / "a.json") == 0o600
    with files.whole_directory(tmp_path / "d") as directory:
        (directory / "inner").mkdir()
        (directory / "inner" / "shard").write_bytes(b"row")
    assert [mode(tmp_path / name) for name in ("d", "d/inner", "d/inner/shard")] == [
        0o700,
        0o700,
        0o600,
    ]


@pytest.mark.usefixtures("umask")
def test_what_a_server_reads_is_public(tmp_path):
    files.write_json(tmp_path / "a.json", {}, public=True)
    assert mode(tmp_path / "a.json") == 0o644
