import pathlib
import re

from pfrec.data.conversion import toml_schema
from pfrec.data.conversion.toml import typed

_EXAMPLE = pathlib.Path(__file__).resolve().parents[4] / "configs" / "example_schema.toml"


def test_the_example_is_a_schema():
    described = toml_schema.read(_EXAMPLE)
    assert {feature.encoding for feature in described.schema.categorical} == {
        "identity",
        "hash",
        "vocabulary",
        "local_vocabulary",
    }
    assert {feature.values for feature in described.schema.categorical} == {1, 3, 20}
    assert described.dialect.nulls == ("\\N",)
    assert described.schema.local
    assert described.schema.weight == "importance"
    assert [column.values for column in described.schema.numerical] == [1, 1, 4]


def test_the_example_has_every_key(monkeypatch):
    known = set()
    monkeypatch.setattr(typed, "known_keys", lambda table, keys, place: known.update(keys))
    toml_schema.read(_EXAMPLE)
    text = _EXAMPLE.read_text()
    assert {"aliases", "history", "where", "positive_from", "valid_days", "quoting"} <= known
    pattern = r"(?m)^(# |\[|\[\[|.*[{{,] ?)?{}\b( =|\])"
    assert [key for key in sorted(known) if not re.search(pattern.format(key), text)] == []
