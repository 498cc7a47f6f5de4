"""Values that code of a user's own returns."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import errors
from tff_process.client import forms

ASKED = {"a": tf.TensorSpec([2], tf.float32), "b": tf.TensorSpec([], tf.int64)}


def test_what_becomes_a_tensor_is_one_in_its_order():
    made = forms.tensors("`x`", {"b": np.int64(3), "a": np.float32([1, 2])}, ASKED, "-")
    assert list(made) == ["b", "a"]
    assert all(tf.is_tensor(value) for value in made.values())
    assert [value.numpy().tolist() for value in made.values()] == [3, [1.0, 2.0]]


def test_a_shape_that_is_not_known_yet_fits():
    asked = {"a": tf.TensorSpec([None, 2], tf.float32)}
    assert forms.tensors("`x`", {"a": tf.ones([3, 2])}, asked, "-")["a"].shape == [3, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "`x` is a NoneType; give values by name"),
        ({"a": tf.zeros(2)}, "`x` lacks 'b'; mend it"),
        (
            {"a": tf.zeros(2), "b": np.int64(3), "c": 1},
            "`x` has, beyond what was asked, 'c'; mend it",
        ),
        ({"a": tf.zeros(2), "b": 3}, "`x` has 'b' as int32 (); it is int64 ()"),
        ({"a": tf.zeros(3), "b": np.int64(3)}, "`x` has 'a' as float32 (3,); it is float32 (2,)"),
        ({"a": tf.zeros(2), "b": object()}, "'b' in `x` is a object; give a tensor"),
    ],
)
def test_what_does_not_fit_is_named(values, message):
    with pytest.raises(errors.PfrecError) as error:
        forms.tensors("`x`", values, ASKED, "mend it")
    assert str(error.value) == message
