"""What is no number is refused in a version's own variables, also where no request shows it."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from export.exporting import build, trained
from export.graph import saved_variables
from pfrec import errors
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import mmoe
from tests.export import tiny

# No request of a check asks for this id of a hundred thousand.
_ROWS, _UNSEEN = 100_000, 77_777
WIDE = dataclasses.replace(
    tiny.SCHEMA,
    categorical=(
        dataclasses.replace(tiny.SCHEMA.categorical[0], cardinality=_ROWS),
        *tiny.SCHEMA.categorical[1:],
    ),
)


def _with_row(table: tf.Variable, value: float) -> None:
    values = table.numpy()
    values[_UNSEEN, 1] = value
    table.assign(values)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_row_that_nobody_asks_for_is_looked_at(tmp_path: pathlib.Path, value: float) -> None:
    model = tiny.model(WIDE)
    _with_row(model.network.tables[0], value)
    with pytest.raises(errors.PfrecError) as refused:
        tiny.write_version(tmp_path / "1", model)
    assert str(refused.value) == (
        f"{tmp_path / '1'}: the export is refused; variables: NaN or infinite numbers in "
        "weights/table_101/.ATTRIBUTES/VARIABLE_VALUE; train again with a smaller "
        "--learning_rate, or with numerical columns normalised"
    )
    assert saved_variables.not_finite(tmp_path / "1") == [
        "weights/table_101/.ATTRIBUTES/VARIABLE_VALUE"
    ]


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_what_half_precision_cannot_hold_is_exported_whole(tmp_path: pathlib.Path) -> None:
    """65,504 is the largest float16: what is above became infinite when the table was rounded."""
    shape = ModelConfig(embedding_dim=4, experts=2, expert_units=(6,), tower_units=(4,))
    narrow = build.Options(embedding_dtype="float16")
    for value, name in ((6e4, "fits"), (7e4, "beyond")):
        network = mmoe.build(WIDE, shape, seed=3)
        _with_row(network.embeddings[0].table, value)
        rows = tiny.rows(schema=WIDE)
        model = trained.TrainedModel("NL", network, WIDE, rows, {"id": "abc", "round": 4})
        (tmp_path / name).mkdir()
        if name == "fits":
            assert build.build(model, "NL", tmp_path / name, narrow).report.ok
            continue
        told = r"in \S*embedding_0\S*; export with --embedding_dtype=float32, or train again"
        with pytest.raises(errors.PfrecError, match=told):
            build.build(model, "NL", tmp_path / name, narrow)
