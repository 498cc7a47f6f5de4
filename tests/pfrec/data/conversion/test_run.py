"""Killing and resuming, and preprocessing inside the client."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from pfrec import errors, row_progress
from pfrec.commands import convert
from pfrec.data.conversion import checkpoints, work_directory
from pfrec.data.conversion import run as conversion
from pfrec.data.dataset import dataset, shards
from pfrec.data.reading import csv_stream
from tests.pfrec.data import raw_layouts, rows_back

_ROOT = pathlib.Path(__file__).resolve().parents[4]
_SCHEMA = """
group = "user"
[[categorical]]
name = "user"
cardinality = 97
encoding = "hash"
[[numerical]]
name = "price"
[[task]]
name = "click"
[split]
valid = 0.2
test = 0.2
"""
# Converts with a checkpoint after every chunk, and is killed from outside or stops by itself after
# some chunks.
_PROGRAM = """
import os, pathlib, signal, sys
from pfrec.commands import convert
from pfrec.data.conversion import gathering, run as conversion
from pfrec.data.reading import csv_stream
from pfrec.data.dataset import shards
conversion.SECONDS_BETWEEN_CHECKPOINTS = 0.0
csv_stream.BLOCK_BYTES = 1500
shards.BLOCKS_PER_SHARD = 2
left = [int(sys.argv[2])]
one_chunk = gathering.Gathering.add
def counted(*arguments):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    one_chunk(*arguments)
gathering.Gathering.add = counted
folder = pathlib.Path(sys.argv[1])
options = dict({options!r}, resume=True, on_bad_row="quarantine")
convert.convert({format!r}, folder / "raw", folder / "data", **options)
"""


def _raw(folder):
    """Two files with some bad rows."""
    (folder / "raw").mkdir(parents=True)
    (folder / "s.toml").write_text(_SCHEMA)
    for name in ("NL", "FR"):
        draw = np.random.default_rng(len(name))
        rows = [f"{draw.integers(50)},{draw.random():.6f},{draw.integers(2)}" for _ in range(3000)]
        rows[100], rows[2900] = "1,2", "1,x,0"
        (folder / "raw" / f"{name}.csv").write_text("\n".join(["user,price,click", *rows]) + "\n")


def _run(folder, source_format, chunks, **options):
    program = (
        _PROGRAM.replace("{format!r}", repr(source_format))
        .replace("{options!r}", repr(options))
        .replace("PosixPath", "pathlib.Path")
    )
    return subprocess.run(
        [sys.executable, "-c", program, str(folder), str(chunks)],
        cwd=_ROOT,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize(("source_format", "kills"), [("csv", (4, 20)), ("aliexpress_raw", (12,))])
def test_a_conversion_killed_again_and_again_ends_like_one_that_was_not(
    tmp_path, monkeypatch, source_format, kills
):
    options = {"schema_path": tmp_path / "s.toml"} if source_format == "csv" else {}
    if source_format == "csv":
        _raw(tmp_path)
    else:
        made = raw_layouts.aliexpress(pages=60)
        made.items["train"][30][48] = "7"
        made.users["test"][3][0] = "x"
        raw_layouts.write_aliexpress(tmp_path / "raw", "NL", made, "plain")
    sizes = []
    for chunks in kills:
        done = _run(tmp_path, source_format, chunks, **options)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (tmp_path / "data").exists()
        state = json.loads(
            (work_directory.place(tmp_path / "data") / work_directory.STATE_FILE).read_text()
        )
        sizes.append(sum(shard["rows"] for _, _, shard in state["writer"]["shards"]))
    assert sizes == sorted(set(sizes))  # each got further
    assert sizes[0] > 0
    monkeypatch.setattr(shards, "BLOCKS_PER_SHARD", 2)
    convert.convert(
        source_format,
        tmp_path / "raw",
        tmp_path / "data",
        on_bad_row="quarantine",
        resume=True,
        **options,
    )
    convert.convert(
        source_format, tmp_path / "raw", tmp_path / "once", on_bad_row="quarantine", **options
    )
    for file in (path for path in (tmp_path / "once").rglob("*") if path.is_file()):
        assert (
            tmp_path / "data" / file.relative_to(tmp_path / "once")
        ).read_bytes() == file.read_bytes(), file
    assert len(list((tmp_path / "data").rglob("*"))) == len(list((tmp_path / "once").rglob("*")))
    assert {path.name for path in tmp_path.iterdir()} <= {"raw", "s.toml", "data", "once"}
    dataset.Dataset.open(tmp_path / "data").verify()


def test_many_shards_hold_the_rows_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(shards.ShardWriter, "_shuffled", rows_back.as_they_come)
    _raw(tmp_path)
    options = {"schema_path": tmp_path / "s.toml", "on_bad_row": "skip"}
    convert.convert("csv", tmp_path / "raw", tmp_path / "one", **options)
    monkeypatch.setattr(shards, "BLOCKS_PER_SHARD", 3)
    convert.convert("csv", tmp_path / "raw", tmp_path / "many", **options)
    one, many = dataset.Dataset.open(tmp_path / "one"), dataset.Dataset.open(tmp_path / "many")
    names = [pathlib.Path(path).name for path in many.shards("NL", "train")]
    assert names == [
        "train-00000-of-00003.tfrecord",
        "train-00001-of-00003.tfrecord",
        "train-00002-of-00003.tfrecord",
    ]
    for split in ("train", "valid", "test"):
        expected, found = (rows_back.read_back(data, "NL", split) for data in (one, many))
        for key, values in expected.items():
            np.testing.assert_array_equal(found[key], values)


def _interrupted(folder, monkeypatch, after, **options):
    """Begins a conversion that stops as by Ctrl-C after some chunks."""
    monkeypatch.setattr(conversion, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(csv_stream, "BLOCK_BYTES", 1500)
    left = [after]

    def progress(_):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(row_progress.RowProgress, "add", lambda self, rows: progress(rows))
        with pytest.raises(KeyboardInterrupt):
            convert.convert(
                "csv",
                folder / "raw",
                folder / "data",
                on_bad_row="skip",
                **(options or {"schema_path": folder / "s.toml"}),
            )


def test_what_an_earlier_version_did_not_count_is_not_told_of_the_rest_alone(tmp_path, monkeypatch):
    _raw(tmp_path)
    before = tmp_path / "before"
    options = {"schema_path": tmp_path / "s.toml", "on_bad_row": "skip"}
    convert.convert("csv", tmp_path / "raw", before, **options)
    options = {"append": before, "on_repeated_rows": "keep"}
    _interrupted(tmp_path, monkeypatch, 30, **options)  # FR is through
    place = work_directory.place(tmp_path / "data") / work_directory.STATE_FILE
    state = json.loads(place.read_text())
    del state["sha256"]
    counted = {name: state.pop(name) for name in ("contents", "rows")}
    assert counted["rows"]["FR"] == counted["contents"]["FR"]["rows"] == 2998
    checkpoints.save(place, state)
    notes = convert.convert(
        "csv", tmp_path / "raw", tmp_path / "data", on_bad_row="skip", resume=True, **options
    )
    known = json.loads((before / "dataset.json").read_text())["inputs"]
    assert len(known) == 1
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["inputs"] == known
    assert not [note for note in notes if "no new rows" in note]
    # Rows that are there already are found without the sum.
    assert [note for note in notes if "5,996 of 5,996 new rows equal" in note]


def test_resuming_needs_the_same_flags_and_files(tmp_path, monkeypatch):
    _raw(tmp_path)
    _interrupted(tmp_path, monkeypatch, 5)
    options = {"schema_path": tmp_path / "s.toml", "resume": True}
    for change in ({"on_bad_row": "quarantine"}, {"on_bad_row": "skip", "split_seed": 1}):
        with pytest.raises(
            errors.PfrecError,
            match="begun with other flags or files; resume with the same, or leave --resume out",
        ):
            convert.convert("csv", tmp_path / "raw", tmp_path / "data", **{**options, **change})
    assert work_directory.place(tmp_path / "data").is_dir()  # a refused resume loses nothing
    os.utime(tmp_path / "raw" / "NL.csv", (1, 1))
    with pytest.raises(errors.PfrecError, match="begun with other flags or files"):
        convert.convert("csv", tmp_path / "raw", tmp_path / "data", on_bad_row="skip", **options)
    convert.convert(
        "csv",
        tmp_path / "raw",
        tmp_path / "data",
        on_bad_row="skip",
        schema_path=tmp_path / "s.toml",
    )  # begins anew
    assert not work_directory.place(tmp_path / "data").exists()


def test_an_edited_state_is_no_state(tmp_path, monkeypatch):
    _raw(tmp_path)
    _interrupted(tmp_path, monkeypatch, 5)
    place = work_directory.place(tmp_path / "data") / work_directory.STATE_FILE
    whole = place.read_text()
    place.write_text(json.dumps({**json.loads(whole), "position": [0, [10**9, 1, 1]]}))
    options = {"schema_path": tmp_path / "s.toml", "on_bad_row": "skip", "resume": True}
    with pytest.raises(errors.PfrecError, match=r"conversion\.json: damaged"):
        convert.convert("csv", tmp_path / "raw", tmp_path / "data", **options)
    place.write_text(whole)
    convert.convert("csv", tmp_path / "raw", tmp_path / "data", **options)


def test_what_a_kill_left_half_written_is_in_no_dataset(tmp_path, monkeypatch):
    _raw(tmp_path)
    _interrupted(tmp_path, monkeypatch, 5)
    place = work_directory.place(tmp_path / "data")
    begun = next(p for p in place.iterdir() if p.is_dir() and p.name != work_directory.SCRATCH)
    (begun / ".tmp-abc").write_text("{")
    (place / ".tmp-abc").write_text("{")
    options = {"schema_path": tmp_path / "s.toml", "on_bad_row": "skip", "resume": True}
    convert.convert("csv", tmp_path / "raw", tmp_path / "data", **options)
    assert not list(tmp_path.rglob(".tmp-*"))


def test_a_resumed_conversion_does_not_read_again_what_it_has(tmp_path, monkeypatch):
    _raw(tmp_path)
    _interrupted(tmp_path, monkeypatch, 30)
    rows = []
    with monkeypatch.context() as patch:
        patch.setattr(row_progress.RowProgress, "add", lambda self, count: rows.append(count))
        convert.convert(
            "csv",
            tmp_path / "raw",
            tmp_path / "data",
            schema_path=tmp_path / "s.toml",
            on_bad_row="skip",
            resume=True,
        )
    assert 0 < sum(rows) < 5000  # of 6,000


def test_two_conversions_into_one_place_do_not_mix(tmp_path):
    with work_directory.working(tmp_path / "data", resume=False):
        with pytest.raises(errors.PfrecError, match="another pfrec-convert is writing it"):
            with work_directory.working(tmp_path / "data", resume=True):
                pass


def test_a_process_killed_from_outside_can_be_resumed(tmp_path):
    _raw(tmp_path)
    program = _PROGRAM.replace("{format!r}", "'csv'").replace(
        "{options!r}", "{'schema_path': folder / 's.toml'}"
    )
    program = program.replace("    left[0] -= 1\n", "    import time; time.sleep(0.02)\n")
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), "1"], cwd=_ROOT, stderr=subprocess.DEVNULL
    ) as process:
        state = work_directory.place(tmp_path / "data") / work_directory.STATE_FILE
        deadline = time.monotonic() + 120
        while not state.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.kill()
    convert.convert(
        "csv",
        tmp_path / "raw",
        tmp_path / "data",
        schema_path=tmp_path / "s.toml",
        on_bad_row="quarantine",
        resume=True,
    )
    convert.convert(
        "csv",
        tmp_path / "raw",
        tmp_path / "once",
        schema_path=tmp_path / "s.toml",
        on_bad_row="quarantine",
    )
    one, other = dataset.Dataset.open(tmp_path / "data"), dataset.Dataset.open(tmp_path / "once")
    assert json.loads((tmp_path / "data" / "dataset.json").read_text())["bad_rows"]["rows"] == 4
    for scenario in one.scenarios:
        for split in ("train", "valid", "test"):
            expected, found = (rows_back.read_back(data, scenario, split) for data in (one, other))
            for key, values in expected.items():
                np.testing.assert_array_equal(found[key], values)


def test_the_files_do_not_depend_on_how_many_threads_encode(tmp_path, monkeypatch):
    _raw(tmp_path)
    monkeypatch.setattr(csv_stream, "BLOCK_BYTES", 2000)  # some tens of chunks
    options = {"schema_path": tmp_path / "s.toml", "on_bad_row": "skip"}
    mapped, found = conversion.ahead.mapped, []
    for workers in (1, 2, 5):
        monkeypatch.setattr(
            conversion.ahead,
            "mapped",
            lambda function, items, workers=workers: mapped(function, items, workers),
        )
        output = tmp_path / f"data{workers}"
        convert.convert("csv", tmp_path / "raw", output, **options)
        found.append({p.relative_to(output): p.read_bytes() for p in output.rglob("*.*")})
    assert found[0] == found[1] == found[2]
