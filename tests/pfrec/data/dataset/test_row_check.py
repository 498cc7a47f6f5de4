"""Rows that no conversion writes are told though every checksum fits; so is a dataset.json."""

import json
import pathlib
import shutil
import struct

import numpy as np
import pytest

from pfrec import errors, files
from pfrec.data.dataset import dataset as dataset_lib
from pfrec.data.dataset import row_block, row_check
from tests.conftest import random_rows

FILE = "nl/train-00000-of-00001.tfrecord"


@pytest.fixture
def copy(dataset, tmp_path):
    """A dataset that a test may tamper with."""
    shutil.copytree(dataset.path, tmp_path / "data")
    return tmp_path / "data"


def record(data):
    """A TFRecord; its checksums are none."""
    return struct.pack("<Q", len(data)) + b"\0" * 4 + data + b"\0" * 4


def edited(path, change):
    value = json.loads((path / "dataset.json").read_text())
    change(value)
    (path / "dataset.json").write_text(json.dumps(value))


def replace_rows(path, content):
    """Other content of a shard, with its own checksum in dataset.json."""
    (path / FILE).write_bytes(content)

    def change(value):
        value["files"][FILE] = {"bytes": len(content), "sha256": files.sha256(path / FILE)}

    edited(path, change)
    return dataset_lib.Dataset.open(path)


def test_what_was_written_is_right(copy):
    dataset_lib.Dataset.open(copy).verify()


def spoilt(schema, change):
    rows = random_rows(schema, 300, 0)
    change(rows)
    return record(row_block.encode(rows))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows.labels.__setitem__((3, 0), 7), "ctr has the label 7"),
        (lambda rows: rows.labels.__setitem__((3, 1), 254), "cvr has the label 254"),
        (lambda rows: rows.categorical.__setitem__((5, 1), 10), "item has the id 10, of 9"),
        (lambda rows: rows.categorical.__setitem__((5, 0), -1), "user has the id -1, of 12"),
        (lambda rows: rows.numerical.__setitem__((5, 1), np.nan), "age holds a value that is not"),
    ],
)
def test_values_that_the_schema_does_not_have(copy, schema, change, told):
    with pytest.raises(errors.PfrecError, match=f"record 0: {told}.*pfrec-convert"):
        replace_rows(copy, spoilt(schema, change)).verify()


def test_records_that_are_short_empty_cut_or_missing(copy, schema):
    whole = record(row_block.encode(random_rows(schema, 300, 0)))
    for content, told in (
        (record(whole[12:-5]), "record 0: .* are no whole rows"),
        (record(b""), "record 0: 0 bytes"),
        (whole + whole[:-3], "record 1: the file ends in it"),
        (whole[:7], "record 0: the file ends in it"),
        (b"", r"says other counts of nl train than its rows have \(0 rows\)"),
        (record(row_block.encode(random_rows(schema, 20, 0))), r"\(20 rows\)"),
    ):
        with pytest.raises(errors.PfrecError, match=told):
            replace_rows(copy, content).verify()


def test_a_changed_byte_is_damage_whatever_it_makes_of_the_rows(copy):
    content = bytearray((copy / FILE).read_bytes())
    content[0] ^= 255  # the length of the first record
    (copy / FILE).write_bytes(content)
    with pytest.raises(errors.PfrecError, match="damaged"):
        dataset_lib.Dataset.open(copy).verify()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda v: v.update(scenarios=["/etc", "es", "fr"]), "scenario '/etc' cannot be"),
        (lambda v: v.update(scenarios=["..", "es"]), "cannot be a directory's name"),
        (lambda v: v.update(scenarios="nl"), "scenarios is 'nl', not a list"),
        (lambda v: v.update(scenarios=["nl", "nl"]), "holds an entry twice"),
        (lambda v: v.update(scenarios=[]), "names no scenario"),
        (lambda v: v.update(files=[]), "files: .* where an object belongs"),
        (lambda v: v["files"].update({"../x": {"bytes": 1, "sha256": ""}}), "is no file of a scen"),
        (lambda v: v["files"][FILE].update(bytes="many"), "bytes is 'many', not a whole number"),
        (lambda v: v["counts"].pop("nl"), "counts: has no nl"),
        (lambda v: v["counts"]["nl"]["train"].update(rows=-1), "rows is -1, not a whole number"),
        (lambda v: v["counts"]["nl"]["train"]["positives"].update(ctr=10**9), "ctr is 1000000000"),
        (lambda v: v["counts"]["nl"]["train"].update(observed=None), "None where an object"),
        (lambda v: v.update(split_seed=None), "split_seed is None"),
    ],
)
def test_a_dataset_file_that_says_something_else_is_refused_at_once(copy, change, told):
    edited(copy, change)
    with pytest.raises(errors.PfrecError, match=told):
        dataset_lib.Dataset.open(copy)


def test_counts_must_be_those_of_the_rows(copy):
    edited(copy, lambda v: v["counts"]["nl"]["train"]["positives"].update(ctr=1))
    with pytest.raises(errors.PfrecError, match="says other counts of nl train"):
        dataset_lib.Dataset.open(pathlib.Path(copy)).verify()


def test_a_label_that_is_observed_where_its_condition_is_not(schema, tmp_path):
    rows = random_rows(schema, 30, 1)
    row = int(np.flatnonzero(rows.labels[:, 0] == 0)[0])
    rows.labels[row, 1] = 0
    path = tmp_path / "x.tfrecord"
    path.write_bytes(record(row_block.encode(rows)))
    with pytest.raises(errors.PfrecError, match="cvr is observed where ctr, which it is given"):
        row_check.check(path, schema, row_check.Tally.empty(schema))
