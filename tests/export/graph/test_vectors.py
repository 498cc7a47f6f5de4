"""Vectors of numbers in a served model."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from export import interface
from export.graph import requests, serving_module
from pfrec import errors
from pfrec.data import schema as schema_lib
from tests.export import tiny

_SCHEMA = dataclasses.replace(
    tiny.SCHEMA,
    numerical=(
        schema_lib.Numerical("price", default=0.5),
        schema_lib.Numerical("image", default=-1.0, values=3, separator="|"),
        schema_lib.Numerical("age", default=2.0, normalise="standard", shift=1.0, scale=2.0),
    ),
)


def test_the_interface_says_how_long_they_are() -> None:
    served = interface.Interface(_SCHEMA)
    inputs = served.signatures()[interface.SERVE].inputs
    assert inputs["image"] == "float32 [None, 3]"
    assert inputs["price"] == "float32 [None]"
    assert "image" not in served.listed


def test_an_export_is_held_to_the_trained_model(tmp_path: pathlib.Path) -> None:
    """Parity with the trained model, by every signature, on hostile requests too."""
    tiny.write_version(tmp_path / "NL" / "1", tiny.model(_SCHEMA))


def test_encoding_and_wrong_lengths() -> None:
    module = serving_module.ServingModule(tiny.Network(_SCHEMA), interface.Interface(_SCHEMA))
    request = requests.from_rows(tiny.rows(schema=_SCHEMA), _SCHEMA)
    assert request["image"].shape == (12, 3)
    np.testing.assert_array_equal(
        requests.reference_ids(request, _SCHEMA)[1][:, :4],
        tiny.rows(schema=_SCHEMA).numerical[:, :4],
    )
    serve = module.functions[interface.SERVE]

    def answer(**changed: np.ndarray) -> "dict[str, tf.Tensor]":
        given = {name: tf.constant(value) for name, value in {**request, **changed}.items()}
        return dict(serve(**given))

    whole = answer()
    nothing = np.full((12, 3), np.nan, np.float32)
    default = np.full((12, 3), -1.0, np.float32)
    np.testing.assert_array_equal(answer(image=nothing)["click"], answer(image=default)["click"])
    assert not np.array_equal(answer(image=default)["click"], whole["click"])


def test_the_card_says_what_the_raw_column_is_called() -> None:
    from export.version import model_card

    named = dataclasses.replace(
        _SCHEMA, numerical=(dataclasses.replace(_SCHEMA.numerical[1], column="image (px)"),)
    )
    described = {
        "scenario": "NL",
        "model": "NL",
        "run": {"id": "abc", "round": 1},
        "made": {"folded": True, "embedding_dtype": "float32"},
    }
    card = model_card.text(described, interface.Interface(named), {})
    assert "| image | float32 | 3 numbers; default -1; raw column `image (px)` |" in card


def test_the_client_refuses_vectors_of_different_lengths() -> None:
    from export.client import client

    with pytest.raises(errors.PfrecError, match="'image': takes vectors of one length"):
        client._lists("image", [[1.0, 2.0], [3.0]], "float32")
