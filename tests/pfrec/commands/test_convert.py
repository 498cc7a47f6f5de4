"""The whole command; what each format does is tested beside its module."""

import os
import pathlib
import random
import subprocess
import sys
import time

import pytest

from pfrec import errors
from pfrec.commands import convert

_ROOT = pathlib.Path(__file__).resolve().parents[3]
_SCHEMA = """[scenario]
column = "site"
[[numerical]]
name = "price"
normalise = "standard"
[[task]]
name = "click"
"""


def _command(*arguments):
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(
        [sys.executable, "-m", "pfrec.commands.convert", *arguments],
        cwd=_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _raw(folder, last="1"):
    draw = random.Random(0)
    rows = [f"{'xy'[i % 2]},{i}.5,{draw.randint(0, 1)}" for i in range(200)]
    (folder / "log.csv").write_text("\n".join(["site,price,click", *rows, f"x,1,{last}"]) + "\n")
    (folder / "s.toml").write_text(_SCHEMA)
    return [
        "--format=csv",
        f"--input={folder / 'log.csv'}",
        f"--schema={folder / 's.toml'}",
        f"--output={folder / 'data'}",
    ]


def test_converts_and_ends_with_a_table_and_the_path(tmp_path):
    done = _command(*_raw(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["scenario", "split", "rows", "click", "rate"]
    assert [line.split()[:2] for line in lines[1:-1]] == [
        [s, p] for s in "xy" for p in ("train", "valid", "test")
    ]
    assert sum(int(line.split()[2]) for line in lines[1:-1]) == 201
    assert lines[-1] == f"wrote {tmp_path / 'data'}"


def test_an_error_is_one_line_and_leaves_nothing(tmp_path):
    done = _command(*_raw(tmp_path, last="7"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        f"error: {tmp_path / 'log.csv'}: line 202, column 'click': the label is 7; labels "
        "are 0 or 1; positive, negative, positive_from or unobserved in its [[task]] says what "
        "other values mean\n"
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "s.toml"]


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--missing_numerical=drop", "missing_numerical"),
        ("--format=xml", "--format=xml: unknown format; known formats are ali"),
        ("--input=/nowhere/at/all", "/nowhere/at/all: no such file or folder; check --input"),
        ("--schema=/nowhere.toml", "/nowhere.toml: no such file; check --schema"),
        ("--input=/dev/null", "/dev/null: neither a regular file nor a folder; --input is a CSV"),
        ("--delimiter=ab", "delimiter = 'ab' must be one ASCII character"),
        ("--encoding=hex", "encoding = 'hex' is not known"),
        ("--encoding=utf-16", "log.csv: is not utf-16 (UTF-16 stream does not start with BOM)"),
        ("--scenario=x", "--scenario: is of --infer_schema ([scenario] and"),
        ("--format=parquet --encoding=gbk", "the parquet format does not know them"),
        ("--infer_schema --min_rows=3", "--min_rows: is of a conversion, which"),
    ],
)
def test_a_wrong_flag_is_one_line(tmp_path, flag, message):
    done = _command(*_raw(tmp_path), *flag.split())
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_a_missing_flag_is_one_quick_line(tmp_path):
    start = time.monotonic()
    done = _command("--format=csv")
    assert time.monotonic() - start < 2  # no heavy import: a generous bound for a busy machine
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "--input" in done.stderr


def test_help_imports_nothing_heavy():
    program = (
        "import sys, pfrec.commands.convert; print([m for m in ('tensorflow', 'pandas', "
        "'pyarrow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_an_output_that_is_not_empty_is_left_alone(tmp_path):
    _raw(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").write_text("mine")
    with pytest.raises(errors.PfrecError, match="exists and is not an empty directory"):
        convert.convert(
            "csv", tmp_path / "log.csv", tmp_path / "data", schema_path=tmp_path / "s.toml"
        )
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["mine"]


def test_the_split_seed_moves_rows_and_equal_seeds_give_equal_files(tmp_path):
    _raw(tmp_path)
    contents = []
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        convert.convert(
            "csv",
            tmp_path / "log.csv",
            tmp_path / name,
            schema_path=tmp_path / "s.toml",
            split_seed=seed,
        )
        contents.append((tmp_path / name / "x" / "train-00000-of-00001.tfrecord").read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_bad_rows_are_noted(tmp_path):
    _raw(tmp_path, last="7")
    options = {"schema_path": tmp_path / "s.toml", "on_bad_row": "quarantine"}
    notes = convert.convert("csv", tmp_path / "log.csv", tmp_path / "data", **options)
    assert notes == [
        "bad rows left out, label_not_binary: 1",
        f"bad rows are in {tmp_path / 'data' / 'quarantine.jsonl'}",
    ]


def test_a_schema_is_inferred_and_used(tmp_path):
    _raw(tmp_path)
    schema = tmp_path / "made.toml"
    done = _command(
        "--infer_schema", "--format=csv", f"--input={tmp_path / 'log.csv'}", f"--output={schema}"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"wrote {schema}: a first guess; read its comments and edit it, then pass it as --schema\n"
    )
    again = _command(
        "--infer_schema", "--format=csv", f"--input={tmp_path / 'log.csv'}", f"--output={schema}"
    )
    assert again.returncode == 1
    assert (
        again.stderr
        == f"error: {schema}: exists; choose another --output for the schema, or remove it\n"
    )
    convert.convert("csv", tmp_path / "log.csv", tmp_path / "data", schema_path=schema)


def test_resuming_where_nothing_was_begun_converts(tmp_path):
    _raw(tmp_path)
    convert.convert(
        "csv", tmp_path / "log.csv", tmp_path / "data", schema_path=tmp_path / "s.toml", resume=True
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "log.csv", "s.toml"]
