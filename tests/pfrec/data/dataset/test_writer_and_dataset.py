import errno
import io
import json
import os
import pathlib
import subprocess
import sys

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from pfrec import errors, files
from pfrec.data.dataset import dataset, row_block, writer
from pfrec.data.schema import Categorical, Numerical, Schema, Task

_SCHEMA = Schema(
    (Categorical("city", 100),),
    (Numerical("a"), Numerical("b")),
    (Task("ctr", "click"), Task("cvr", "buy", "ctr")),
    "search",
)


def _rows(count, seed=0):
    random = np.random.default_rng(seed)
    click = random.integers(0, 2, count)
    buy = np.where(click == 1, random.integers(0, 2, count), row_block.UNOBSERVED)
    return row_block.Rows(
        random.integers(0, 100, (count, 1)).astype(np.int32),
        random.normal(size=(count, 2)).astype(np.float32),
        np.stack([click, buy], axis=1).astype(np.uint8),
        random.integers(0, 2**60, count),
    )


def _write(path, scenarios=("NL", "ES"), count=600, schema=_SCHEMA, chunk=10_000):
    with writer.DatasetWriter(path, schema, source_format="test", split_seed=3) as dataset_writer:
        for i, scenario in enumerate(scenarios):
            for j, split in enumerate(("train", "valid", "test")):
                rows = _rows(count, 3 * i + j)
                for start in range(0, count, chunk):
                    dataset_writer.add(scenario, split, rows.take(slice(start, start + chunk)))
    return path


def _write_parts(path, parts, scenarios=None):
    with writer.DatasetWriter(
        path, _SCHEMA, source_format="test", split_seed=0, scenarios=scenarios
    ) as dataset_writer:
        for scenario, split, count in parts:
            dataset_writer.add(scenario, split, _rows(count))


def _read(data, scenario, split):
    records = [record.numpy() for record in tf.data.TFRecordDataset(data.shards(scenario, split))]
    return [row_block.decode(record, data.schema) for record in records]


def _leftovers(path):
    return sorted(p.name for p in path.iterdir())


def test_a_dataset_shows_itself_in_a_line(tmp_path):
    made = dataset.Dataset(tmp_path, ("nl",), None, {}, {"x": {"sha256": "0" * 64}}, "csv", 0)
    assert repr(made) == (
        f"Dataset(path={tmp_path!r}, scenarios=('nl',), source_format='csv', split_seed=0, "
        "scenario_values={})"
    )


def test_shards_are_those_of_the_scenario_and_split_alone(tmp_path):
    """Also where the name of one scenario begins with that of another."""
    path = tmp_path / "data"
    _write(path, scenarios=("a", "ab", "a-train"))
    data = dataset.Dataset.open(path)
    for scenario in data.scenarios:
        for split in ("train", "valid", "test"):
            names = [
                f"{split}-{n:05d}-of-{len(data.shards(scenario, split)):05d}.tfrecord"
                for n in range(len(data.shards(scenario, split)))
            ]
            assert names
            assert data.shards(scenario, split) == [str(path / scenario / name) for name in names]


def test_what_is_written_is_read(tmp_path):
    data = dataset.Dataset.open(_write(tmp_path / "data"))
    assert data.scenarios == ("ES", "NL")
    assert data.schema == _SCHEMA
    assert (data.source_format, data.split_seed) == ("test", 3)
    data.verify()
    expected = _rows(600, 1)  # NL valid
    blocks = _read(data, "NL", "valid")
    assert [len(block) for block in blocks] == [256, 256, 88]
    for name in ("categorical", "numerical", "labels", "group"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(block, name) for block in blocks]), getattr(expected, name)
        )
    assert data.rows("NL", "valid") == 600
    click, buy = expected.labels.T
    assert data.observed("NL", "valid", "ctr") == 600
    assert (
        data.positives("NL", "valid", "ctr")
        == data.observed("NL", "valid", "cvr")
        == int((click == 1).sum())
    )
    assert data.positives("NL", "valid", "cvr") == int((buy == 1).sum())
    assert data.counts["NL"]["valid"].rate("ctr") == (click == 1).mean()


@hypothesis.given(chunk=st.integers(1, 700))
@hypothesis.settings(max_examples=8, deadline=None)
def test_files_do_not_depend_on_the_chunks(tmp_path_factory, chunk):
    folder = tmp_path_factory.mktemp("chunks")
    whole = dataset.Dataset.open(_write(folder / "whole", scenarios=["NL"]))
    parts = dataset.Dataset.open(_write(folder / "parts", scenarios=["NL"], chunk=chunk))
    assert whole.files == parts.files


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_scenario_with_an_empty_split_is_refused(tmp_path, split):
    added = [("NL", other, 0 if other == split else 5) for other in ("train", "valid", "test")]
    with pytest.raises(errors.PfrecError, match=f"scenario 'NL' has no {split} rows"):
        _write_parts(tmp_path / "data", added)
    assert _leftovers(tmp_path) == []


def test_a_declared_scenario_without_rows_is_refused(tmp_path):
    added = [("NL", split, 5) for split in ("train", "valid", "test")]
    with pytest.raises(
        errors.PfrecError, match="scenario 'FR' has no train and no valid and no test rows"
    ):
        _write_parts(tmp_path / "data", added, scenarios=("NL", "FR"))
    assert _leftovers(tmp_path) == []


def test_no_rows_at_all_are_refused(tmp_path):
    with pytest.raises(errors.PfrecError, match="no rows at all"):
        _write_parts(tmp_path / "data", [])
    assert _leftovers(tmp_path) == []


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a b", "été"])
def test_a_scenario_that_is_no_directory_name_is_refused(tmp_path, name):
    with pytest.raises(errors.PfrecError, match="cannot be a directory's name"):
        _write_parts(tmp_path / "data", [(name, "train", 5)])
    assert _leftovers(tmp_path) == []


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(errors.PfrecError, match="not an empty directory"):
        _write(tmp_path)
    assert _leftovers(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize("opened", ["collected", "shard"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch, opened):
    class Full(io.BytesIO):
        name = "full"

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    whole = pathlib.Path.open
    monkeypatch.setattr(
        pathlib.Path,
        "open",
        lambda self, mode="r", *more, **named: (
            Full()
            if mode == "wb" and self.name.endswith(opened)
            else whole(self, mode, *more, **named)
        ),
    )
    with pytest.raises(errors.PfrecError, match=r"No space left on device; free space") as raised:
        _write(tmp_path / "data", count=20_000)
    assert "\n" not in str(raised.value)
    assert _leftovers(tmp_path) == []


def test_a_limit_on_files_is_one_line_and_leaves_nothing(tmp_path):
    program = (
        "import resource, sys, pathlib, numpy as np\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "from pfrec import errors\n"
        "from tests.pfrec.data.dataset import test_writer_and_dataset as here\n"
        "try:\n"
        "    here._write(pathlib.Path(sys.argv[1]), count=20_000)\n"
        "except errors.PfrecError as error:\n"
        "    print('PFREC', error)\n"
    )
    root = pathlib.Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "data")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout.startswith("PFREC " + str(tmp_path / "data")), done.stdout + done.stderr
    assert done.stdout.count("\n") == 1
    assert "ulimit -f" in done.stdout
    assert _leftovers(tmp_path) == []


def test_a_flipped_byte_is_found_and_named(tmp_path):
    data = dataset.Dataset.open(_write(tmp_path / "data"))
    shard = pathlib.Path(data.shards("NL", "test")[0])
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(errors.PfrecError) as raised:
        dataset.Dataset.open(data.path).verify()
    assert str(raised.value).startswith(f"{shard}: damaged")
    assert "\n" not in str(raised.value)


def test_a_shorter_or_missing_shard_is_found_on_opening(tmp_path):
    data = dataset.Dataset.open(_write(tmp_path / "data"))
    shard = pathlib.Path(data.shards("NL", "test")[0])
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(errors.PfrecError, match=r"test-00000-of-00001.tfrecord: damaged"):
        dataset.Dataset.open(data.path)
    shard.unlink()
    with pytest.raises(errors.PfrecError, match=r"test-00000-of-00001.tfrecord: no such file"):
        dataset.Dataset.open(data.path)


def test_disagreeing_schemas_are_named_with_the_difference(tmp_path):
    path = _write(tmp_path / "data")
    place = path / "NL" / "schema.json"
    value = json.loads(place.read_text())
    value["categorical"][0]["cardinality"] = 101
    files.write_json(place, value)
    entry = path / "dataset.json"
    listed = json.loads(entry.read_text())
    listed["files"]["NL/schema.json"]["bytes"] = place.stat().st_size
    files.write_json(entry, listed)
    with pytest.raises(errors.PfrecError) as raised:
        dataset.Dataset.open(path)
    assert "'ES' and 'NL' differ: categorical['city'].cardinality is 100 against 101" in str(
        raised.value
    )


def test_another_version_and_a_foreign_file_are_refused(tmp_path):
    path = _write(tmp_path / "data")
    value = json.loads((path / "dataset.json").read_text())
    files.write_json(path / "dataset.json", {**value, "format_version": 99})
    with pytest.raises(errors.PfrecError, match="format version 99, this pfrec reads 1"):
        dataset.Dataset.open(path)
    del value["counts"]["NL"]["valid"]
    files.write_json(path / "dataset.json", value)
    with pytest.raises(errors.PfrecError, match="counts: NL: has no valid"):
        dataset.Dataset.open(path)
    with pytest.raises(errors.PfrecError, match="no such file; let pfrec-convert make it"):
        dataset.Dataset.open(tmp_path / "nowhere")


def test_an_unknown_scenario_is_refused(tmp_path):
    data = dataset.Dataset.open(_write(tmp_path / "data"))
    with pytest.raises(
        errors.PfrecError, match="no 'train' rows of scenario 'FR'; scenarios are ES, NL"
    ):
        data.shards("FR", "train")


def test_first_difference():
    assert dataset.first_difference({"a": [1, 2]}, {"a": [1, 2]}) is None
    assert dataset.first_difference({"a": [1, 2]}, {"a": [1, 2, 3]}) == "a has 2 entries against 3"
    assert dataset.first_difference({"a": None}, {"a": "x"}) == "a is None against 'x'"
    assert dataset.first_difference({}, {"\x1b[2J": 1}) == r"'\x1b[2J' is None against 1"
