"""Small logs as teams wrote them, each of which once came out wrong."""

import os
import pathlib

import pytest

from pfrec.commands import convert
from pfrec.data.dataset import dataset

_HERE = pathlib.Path(__file__).resolve().parents[3]
_CASES = pathlib.Path(os.environ.get("PFREC_CASES", _HERE / ".." / "shared" / "cases")) / "data"
pytestmark = pytest.mark.skipif(not _CASES.is_dir(), reason=f"{_CASES} is absent")


def _converted(case, tmp_path, more="", **options):
    """The dataset of a case and the notes; `more` is added to its schema."""
    own = _CASES / case / "schema.toml"
    text = (own if own.exists() else _CASES / "schema.toml").read_text(encoding="utf-8")
    (tmp_path / "schema.toml").write_text(text + more, encoding="utf-8")
    source_format = "parquet" if (_CASES / case / "log.parquet").exists() else "csv"
    files = sorted(p for p in (_CASES / case).iterdir() if p.name != "schema.toml")
    raw = files[0] if len(files) == 1 else _CASES / case
    notes = convert.convert(
        source_format, raw, tmp_path / "data", schema_path=tmp_path / "schema.toml", **options
    )
    return dataset.Dataset.open(tmp_path / "data"), notes


def _total(data, what, task=None):
    parts = [counts for splits in data.counts.values() for counts in splits.values()]
    return sum(getattr(c, what) if task is None else getattr(c, what)[task] for c in parts)


@pytest.mark.parametrize("case", ["06_nulllabel", "p11_nulllabel"])
@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_an_empty_label_where_its_task_is_undefined_is_no_fault(case, policy, tmp_path):
    data, notes = _converted(case, tmp_path, on_bad_row=policy)
    assert not any("bad rows" in note for note in notes)
    rows, clicks = _total(data, "rows"), _total(data, "positives", "ctr")
    assert rows == 400
    assert 0.28 < clicks / rows < 0.38
    assert _total(data, "observed", "ctr") == rows
    assert _total(data, "observed", "cvr") == clicks


@pytest.mark.parametrize("case", ["03_boollabel", "03b_yesno", "p04_bool"])
def test_truth_values_are_labels(case, tmp_path):
    data, _ = _converted(case, tmp_path)
    rows, clicks = _total(data, "rows"), _total(data, "positives", "ctr")
    assert 0.28 < clicks / rows < 0.38
    assert _total(data, "observed", "cvr") == clicks


def test_minus_one_is_what_the_schema_says(tmp_path):
    data, _ = _converted("06b_minus1", tmp_path, "unobserved = [-1]\n")
    text = (_CASES / "06b_minus1" / "log.csv").read_text().splitlines()[1:]
    labels = [line.split(",")[4:6] for line in text]
    assert _total(data, "rows") == len(labels)
    assert _total(data, "observed", "cvr") == sum(c == "1" and b != "-1" for c, b in labels)
    assert _total(data, "positives", "cvr") == sum(c == "1" and b == "1" for c, b in labels)
