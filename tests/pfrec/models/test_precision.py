"""Products in bfloat16: as NumPy computes them, in training alone, and near those in float32."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec import errors
from pfrec.models import precision
from pfrec.models.config import ModelConfig
from pfrec.models.mmoe import fast, mmoe
from tests.pfrec.models.mmoe import test_fast


@pytest.mark.parametrize("transposed", ["", "a", "b"])
def test_a_product_rounds_factors_and_result(transposed):
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(7, 5)).astype(np.float32), rng.normal(size=(5, 3)).astype(np.float32)
    flags = {f"transpose_{name}": name == transposed for name in "ab"}
    given = a.T.copy() if transposed == "a" else a, b.T.copy() if transposed == "b" else b
    with precision.products(precision.BFLOAT16):
        found = precision.matmul(*map(tf.constant, given), **flags)
    assert found.dtype == tf.float32
    exact = narrow(a).astype(np.float64) @ narrow(b).astype(np.float64)
    # Half a unit in the last of 8 bits, on either side of a tie.
    np.testing.assert_allclose(found, exact, rtol=2.0**-8)
    np.testing.assert_array_equal(narrow(found.numpy()), found)
    np.testing.assert_array_equal(
        precision.matmul(*map(tf.constant, given), **flags), tf.matmul(*given, **flags)
    )


def narrow(values):
    return tf.cast(tf.cast(values, tf.bfloat16), tf.float32).numpy()


@pytest.mark.parametrize("template", ["none", "additive"])
@pytest.mark.parametrize("side_by_side", [0, 1 << 20])
def test_a_step_is_near_that_in_float32(monkeypatch, template, side_by_side):
    monkeypatch.setattr(fast, "_SIDE_BY_SIDE", side_by_side)
    schema = test_fast.make_schema((5, 40), 3, 2)
    model = test_fast.make_model(schema, ModelConfig(expert_units=(16, 8), template=template))
    batch, start, found = test_fast.make_batch(schema, 300), model.get_weights(), {}
    for name in (precision.FLOAT32, precision.BFLOAT16):
        model.set_weights(start)
        with precision.products(name):
            found[name] = test_fast.step(model, batch, graph=False)
    loss, gradients, *_ = found[precision.FLOAT32]
    own_loss, own_gradients, *_ = found[precision.BFLOAT16]
    assert float(own_loss) != float(loss)
    np.testing.assert_allclose(own_loss, loss, rtol=1e-2)
    together, own_together = (
        np.concatenate([np.ravel(g) for g in given]) for given in (gradients, own_gradients)
    )
    # More than the rounding: some activations change sides of ReLU.
    assert np.linalg.norm(own_together - together) < 0.1 * np.linalg.norm(together)


def test_the_context_ends_with_an_error():
    with pytest.raises(ZeroDivisionError), precision.products(precision.BFLOAT16):
        raise ZeroDivisionError
    one_third = tf.constant([[1 / 3]])
    assert float(precision.matmul(one_third, tf.ones([1, 1]))) == float(one_third)


def test_inference_is_in_float32():
    """A client evaluates outside of any context of training."""
    schema = test_fast.make_schema((4,), 2, 1)
    model, batch = mmoe.build(schema, ModelConfig(), 1), test_fast.make_batch(schema, 20)
    np.testing.assert_allclose(
        model(batch, training=False)["t0"], model.plain(batch, training=False)["t0"], atol=1e-6
    )


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("flags\t\t: fpu sse avx512_bf16 avx2\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu sse avx2\n", False),
        ("model name\t: avx512_bf16\n", False),
    ],
)
def test_what_a_processor_has(tmp_path, monkeypatch, text, has):
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "cpuinfo")
    assert precision.available(precision.BFLOAT16) == has
    precision.check(precision.FLOAT32)
    if not has:
        with pytest.raises(
            errors.PfrecError,
            match=r"this processor has no bfloat16 products .* leave it at float32",
        ):
            precision.check(precision.BFLOAT16)


def test_a_system_that_does_not_tell_has_none(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "none")
    assert not precision.available(precision.BFLOAT16)
