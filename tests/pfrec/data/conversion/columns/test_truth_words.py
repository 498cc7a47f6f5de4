"""A column of truth values as Parquet and as pandas writes it: one to a model, or told of."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from pfrec.data import schema as schema_lib
from pfrec.data.conversion.columns import truth_words
from tests.pfrec.data import rows_back
from tests.pfrec.data.converters import small_log

PANDAS = ("False", "True")


def _feature(*vocabulary, encoding="vocabulary"):
    return schema_lib.Categorical(
        "new", max(len(vocabulary), 4), encoding=encoding, vocabulary=vocabulary
    )


@pytest.mark.parametrize(
    ("vocabulary", "spelled"),
    [
        ((), ["true", "false", ""]),
        (("false", "true"), ["true", "false", ""]),
        (PANDAS, ["True", "False", ""]),
        (("TRUE", "other"), ["TRUE", "false", ""]),
        # What holds several spellings was made of text: none of them is that of a boolean.
        (("True", "true", "TRUE", "False"), ["true", "False", ""]),
    ],
)
def test_booleans_are_spelled_as_a_vocabulary_does(vocabulary, spelled):
    booleans = pa.array([True, False, None])
    assert truth_words.holds(booleans)
    assert truth_words.text(booleans, vocabulary).to_pylist() == spelled
    told = np.array([True, False])
    assert truth_words.holds(told)
    assert truth_words.text(told, vocabulary).to_pylist() == spelled[:2]
    assert not truth_words.holds(pa.array(PANDAS))
    assert not truth_words.holds(np.array(PANDAS, object))


@pytest.mark.parametrize(
    ("feature", "texts", "found", "told"),
    [
        (
            _feature("false", "true"),
            PANDAS,
            PANDAS,
            "'new' holds False, True, which the model does ",
        ),
        (_feature(*PANDAS), ("true", "False"), ("true",), "it knows False, True; spell them so"),
        (_feature(*PANDAS), PANDAS, (), ""),
        (_feature("True", "true", "False"), ("true", "True", "other"), (), ""),
        (_feature("red", "true"), ("red", "False"), (), ""),
        (_feature(encoding="hash"), ("TRUE", "a"), ("TRUE",), "holds TRUE, and is hashed as it is"),
        (_feature(encoding="hash"), ("true", "false"), (), ""),
    ],
)
def test_text_of_another_spelling_is_told_of(feature, texts, found, told):
    assert truth_words.strange(pa.array(texts), feature) == found
    if found:
        assert told in truth_words.note(feature, found)


def _converted(path, source_format, more, truths):
    """Ids and notes of the small log with a column more."""
    (path / "raw").mkdir(parents=True)
    (path / "log.csv").write_text(small_log.csv(small_log.rows()))
    table = arrow_csv.read_csv(path / "log.csv").append_column("new", truths)
    if source_format == "parquet":
        parquet.write_table(table, path / "raw" / "log.parquet")
    else:
        arrow_csv.write_csv(table, path / "raw" / "log.csv")
    data, notes = small_log.convert(path, more, source_format=source_format)
    ids = [
        row.categorical[0].tolist()
        for scenario in data.scenarios
        for name in data.shards(scenario, "train")
        for row in rows_back.rows_of(name, data.schema)
    ]
    return ids, notes


def test_ids_of_parquet_are_those_of_the_csv_that_pandas_writes(tmp_path):
    truths = [number % 3 == 0 for number in range(small_log.ROWS)]
    more = '[[categorical]]\nname = "new"\nvocabulary = ["False", "True"]\n'
    of_parquet, _ = _converted(tmp_path / "p", "parquet", more, pa.array(truths))
    texts = pa.array([str(truth) for truth in truths])
    of_csv, _ = _converted(tmp_path / "c", "csv", more, texts)
    assert of_parquet == of_csv
    assert {new for _, new in of_csv} == {0, 1}


def test_a_conversion_tells_of_truth_values(tmp_path):
    truths = [number % 3 == 0 for number in range(small_log.ROWS)]
    hashed = '[[categorical]]\nname = "new"\nencoding = "hash"\ncardinality = 9\n'
    _, notes = _converted(tmp_path / "p", "parquet", hashed, pa.array(truths))
    assert [note for note in notes if "'new' holds booleans, which are the texts true and" in note]
    lower = '[[categorical]]\nname = "new"\nvocabulary = ["false", "true"]\n'
    texts = pa.array([str(truth) for truth in truths])
    ids, notes = _converted(tmp_path / "c", "csv", lower, texts)
    assert {new for _, new in ids} == {2}  # as before: text is taken as it is
    assert [note for note in notes if "of truth values it holds false, true, spelled so" in note]
