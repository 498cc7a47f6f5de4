"""Values of a user's own files: other forms of an id, unknown and raw ones, and bad rows."""

import pytest

from pfrec import errors
from tests.pfrec.data.converters import small_log


def test_quarantine_survives_a_refusal(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [[*row[:2], "cheap", *row[3:]] if row[0] == "b" else row for row in small_log.rows()]
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(rows))
    message = "scenario 'b' has no train and no valid and no test rows; 60 bad rows were left out"
    with pytest.raises(errors.PfrecError, match=message) as raised:
        small_log.convert(tmp_path, on_bad_row="quarantine")
    kept = tmp_path / "data-quarantine.jsonl"
    assert str(raised.value).endswith(f"bad rows are in {kept}")
    assert len(kept.read_text().splitlines()) == 60
    assert not (tmp_path / "data").exists()


def test_no_rows_is_not_said_of_bad_rows(tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [[*row[:2], "cheap", *row[3:]] for row in small_log.rows()]
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(rows))
    with pytest.raises(errors.PfrecError, match="no good row; 120 bad rows were left out"):
        small_log.convert(tmp_path, on_bad_row="skip")


@pytest.mark.parametrize(
    ("texts", "ids"),
    [
        (["17", "17.0", "17.00"], 1),
        (["0", "0.0"], 1),
        (["-3", "-3.0"], 1),
        (["007", "7"], 2),
        (["1.5", "1.50"], 2),
        (["v1.0", "v1"], 2),
    ],
)
def test_canonical_forms_of_ids(texts, ids, tmp_path):
    (tmp_path / "raw").mkdir()
    rows = [[row[0], texts[i % len(texts)], *row[2:]] for i, row in enumerate(small_log.rows())]
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(rows))
    data, _ = small_log.convert(tmp_path)
    assert len({row[0] for rows in small_log.stored(data).values() for row in rows}) == ids


def test_unknown_values_and_raw_numbers_are_warned_of(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(small_log.rows()))
    more = '[[categorical]]\nname = "search"\nvocabulary = ["q1", "q2"]\n'
    more += '[[numerical]]\nname = "ts"\n'
    data, notes = small_log.convert(tmp_path, more)
    assert len(data.warnings) == 2
    assert data.warnings[0].startswith("'ts' enters the model as raw numbers of large size")
    assert data.warnings[1].startswith("'search': 83% of its values are not in its vocabulary")
    assert notes == [f"WARNING: {line}" for line in data.warnings]


@pytest.mark.parametrize(
    ("unknown", "told"), [(59, ["'search': 98% of its values are not in"]), (0, [])]
)
def test_empty_values_are_no_sign_of_a_wrong_vocabulary(tmp_path, unknown, told):
    """Of 120 values half are empty, and of the others all but one, or none, unknown."""
    (tmp_path / "raw").mkdir()
    rows = small_log.rows()
    search = small_log.NAMES.index("search")
    for number, row in enumerate(rows):
        row[search] = "" if number % 2 else ("other" if number // 2 < unknown else "q1")
    (tmp_path / "raw" / "log.csv").write_text(small_log.csv(rows))
    data, _ = small_log.convert(
        tmp_path, '[[categorical]]\nname = "search"\nvocabulary = ["q1", "q2"]\n'
    )
    assert [line.partition(" its vocabulary")[0] for line in data.warnings] == told
