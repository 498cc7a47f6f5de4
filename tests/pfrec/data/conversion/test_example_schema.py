import pathlib

from pfrec.data.conversion import toml_schema

_EXAMPLE = pathlib.Path(__file__).resolve().parents[4] / "configs" / "example_schema.toml"


def test_the_example_is_a_schema():
    described = toml_schema.read(_EXAMPLE)
    assert {feature.encoding for feature in described.schema.categorical} == {
        "identity",
        "hash",
        "vocabulary",
        "local_vocabulary",
    }
    assert {feature.values for feature in described.schema.categorical} == {1, 3}
    assert described.dialect.nulls == ("\\N",)
    assert described.schema.local
    assert described.schema.weight == "importance"
    assert [column.values for column in described.schema.numerical] == [1, 1, 4]
