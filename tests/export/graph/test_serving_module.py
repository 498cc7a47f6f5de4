"""Encoding in the graph, and which variables are saved."""

import pathlib
from typing import Any

import hypothesis
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from export import interface
from export.checks import saved_graph
from export.graph import requests, serving_module
from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion import encoding
from pfrec.data.reading import column_text, source
from tests.export import tiny


@pytest.fixture(scope="module")
def module() -> serving_module.ServingModule:
    return serving_module.ServingModule(tiny.Network(), tiny.SERVED)


@pytest.fixture(scope="module")
def encode():
    """The graph's encoding alone."""
    tables = {
        f.name: serving_module._vocabulary_table(f)
        for f in tiny.SCHEMA.categorical
        if f.encoding == "vocabulary"
    }

    def run(request):
        return serving_module.encode(
            {name: tf.constant(values) for name, values in request.items()}, tiny.SCHEMA, tables
        )

    return run


def _texts(*values: bytes) -> np.ndarray:
    return np.array(values, object)


def test_encoding_by_hand(encode: Any) -> None:
    encoded = encode(
        {
            "101": np.array([0, 4, 5, -1], np.int64),
            "city": _texts(b"Delft", b"", b"17", b"Delft"),
            "device": _texts(b"phone", "\u7535\u8111".encode(), b"Phone", b""),
            "visited": np.array(
                [[0, 5, 6, 1], [-1, -1, -1, -1], [-1, 2, -1, 3], [2, 2, -2, 0]], np.int64
            ),
            "tags": _texts(b" gift", b"\t", b"gold", b"new").reshape(4, 1),
            "words": _texts(*([b""] * 12)).reshape(4, 3),
            "price": np.array([1.0, np.nan, np.inf, -np.inf], np.float32),
            "age": np.array([np.nan, 3.0, 0.0, -2.0], np.float32),
        }
    )
    ids = encoded["categorical"].numpy()
    assert ids.dtype == np.int32
    assert ids[:, 0].tolist() == [0, 4, 5, 5]
    assert ids[:, 2].tolist() == [0, 2, 3, 3]
    # The first three count; 6 and -2 are unknown; -1 is no value, wherever it stands; blanks around
    # a word do not count.
    assert ids[:, 3:6].tolist() == [[0, 5, 6], [-1, -1, -1], [2, 3, -1], [2, 2, 6]]
    assert ids[:, 6:8].tolist() == [[2, -1], [-1, -1], [3, -1], [0, -1]]
    assert ids[:, 8:].tolist() == [[-1] * 4] * 4
    assert encoded["numerical"].numpy().tolist() == [
        [1.0, -1.0],
        [0.5, 3.0],
        [0.5, 0.0],
        [0.5, -2.0],
    ]


def test_hash_is_that_of_training_data(encode: Any) -> None:
    texts = ["Delft", "", "17", "\u65b0", "a b"]
    request = requests.random(tiny.SERVED, len(texts), seed=0)
    ids = encode({**request, "city": _texts(*(t.encode() for t in texts))})["categorical"].numpy()[
        :, 1
    ]
    assert ids.tolist() == column_text.hash_bucket(pa.array(texts), 11).tolist()
    assert ids.tolist() == tf.strings.to_hash_bucket_fast(texts, 11).numpy().tolist()
    assert len(set(ids.tolist())) > 1


@hypothesis.given(
    st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(width=32)), min_size=1, max_size=8
    )
)
@hypothesis.settings(max_examples=40, deadline=None)
def test_encoding_equals_the_reference(encode: Any, values: Any) -> None:
    request = requests.random(tiny.SERVED, len(values), seed=1)
    request["101"] = np.array([v for v, _ in values], np.int64)
    request["age"] = np.array([v for _, v in values], np.float32)
    request["visited"] = np.array([[v, -1, v % 7, 3] for v, _ in values], np.int64)
    encoded = encode(request)
    ids, numbers = requests.reference_ids(request, tiny.SCHEMA)
    np.testing.assert_array_equal(encoded["categorical"], ids)
    np.testing.assert_array_equal(encoded["numerical"], numbers)


@hypothesis.given(
    st.lists(
        st.lists(st.sampled_from(["", " ", "new", " gift ", "\u65b0", "sale\t"]), max_size=5),
        min_size=1,
        max_size=6,
    )
)
@hypothesis.settings(max_examples=30, deadline=None)
def test_lists_are_encoded_as_they_are_converted(encode: Any, lists: Any) -> None:
    feature = tiny.SCHEMA.categorical[4]
    schema = schema_lib.Schema((feature,), (), (schema_lib.Task("t", "t"),))
    chunk = source.RawChunk(
        pathlib.Path("raw"),
        np.arange(len(lists)),
        {"tags": pa.array(lists), "t": np.zeros(len(lists))},
    )
    width = max(1, *map(len, lists))
    request = requests.random(tiny.SERVED, len(lists), seed=0)
    filled = [word.encode() for row in lists for word in [*row, *[""] * (width - len(row))]]
    request["tags"] = _texts(*filled).reshape(len(lists), width)
    converted = encoding.encode(chunk, schema)[0].categorical
    np.testing.assert_array_equal(encode(request)["categorical"][:, 6:8], converted)
    np.testing.assert_array_equal(
        requests.reference_ids(request, tiny.SCHEMA)[0][:, 6:8], converted
    )


def test_rows_survive_as_a_request() -> None:
    rows = tiny.rows()
    ids, numbers = requests.reference_ids(requests.from_rows(rows, tiny.SCHEMA), tiny.SCHEMA)
    kept = [0, 2, *range(3, 8)]
    np.testing.assert_array_equal(ids[:, kept], rows.categorical[:, kept])
    np.testing.assert_array_equal(ids[:, 8:] < 0, rows.categorical[:, 8:] < 0)
    np.testing.assert_array_equal(numbers, rows.numerical)
    assert (ids[:, 1] < 11).all()


def test_only_variables_that_serving_reads(
    module: serving_module.ServingModule, tmp_path: pathlib.Path
) -> None:
    # Six tables; mean and variance, scale and shift of one normalisation; kernel and bias of two
    # logits. Not the unread layer's.
    assert len(module.weights) == 6 + 4 + 4
    assert len(tiny.Network().variables) == 6 + 4 + 4 + 2
    saved = serving_module.save(module, tiny.SERVED, tmp_path)
    assert sorted(saved.values()) == sorted(list(v.shape) for v in module.weights.values())


def test_planted_variable_is_refused(tmp_path: pathlib.Path) -> None:
    module = serving_module.ServingModule(tiny.Network(), tiny.SERVED)
    module.planted = tf.Variable(tf.zeros([7]), name="tower_of_another")
    with pytest.raises(errors.PfrecError, match="does not read: planted"):
        serving_module.save(module, tiny.SERVED, tmp_path)


def test_variable_of_another_model_is_refused() -> None:
    other = tf.Variable(1.0, name="other")

    class Leaky(tiny.Network):
        def call(self, inputs, training=None):
            hidden = _HIDDEN[0]
            return {name: logit * hidden for name, logit in super().call(inputs, training).items()}

    _HIDDEN.append(other)
    with pytest.raises(errors.PfrecError, match="outside the trained model: other"):
        serving_module.ServingModule(Leaky(), tiny.SERVED)


_HIDDEN: list = []


@pytest.mark.parametrize("name", ["user id", "_id", "\u7528\u6237"])
def test_names_that_cannot_be_served(name: str) -> None:
    schema = schema_lib.Schema((schema_lib.Categorical(name, 2),), (), (schema_lib.Task("t", "t"),))
    with pytest.raises(errors.PfrecError, match="rename the column"):
        interface.Interface(schema)


@pytest.mark.parametrize("numerical", [False, True])
def test_one_kind_of_feature_alone(numerical: bool, tmp_path: pathlib.Path) -> None:
    schema = schema_lib.Schema(
        () if numerical else (schema_lib.Categorical("a/b.c-d", 3),),
        (schema_lib.Numerical("109_14"),) if numerical else (),
        (schema_lib.Task("the task", "label"),),
    )

    class Sum(tf.keras.Model):
        def call(self, inputs, training=None):
            total = tf.reduce_sum(tf.cast(inputs["categorical"], tf.float32), 1) + tf.reduce_sum(
                inputs["numerical"], 1
            )
            return {"the task": total}

    served = interface.Interface(schema)
    module = serving_module.ServingModule(Sum(), served)
    assert serving_module.save(module, served, tmp_path) == {}
    graph = saved_graph.read(tmp_path, served)
    assert graph.signatures == served.signatures()
    serve = graph.signatures[interface.SERVE]
    assert serve.inputs == (
        {"109_14": "float32 [None]"} if numerical else {"a/b.c-d": "int64 [None]"}
    )
    assert serve.outputs == {"the task": "float32 [None]"}
    request = (
        {"109_14": tf.constant([1.0])} if numerical else {"a/b.c-d": tf.constant([1], tf.int64)}
    )
    answer = module.functions[interface.SERVE](**{key: request[key] for key in request})
    assert answer["the task"].numpy() == pytest.approx(1 / (1 + np.exp(-1.0)))
