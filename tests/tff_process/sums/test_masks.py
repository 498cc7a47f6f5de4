"""Masks: they cancel, hide what they are put on, and are another's for every context."""

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import x25519
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pfrec import errors
from tff_process.sums import fixed_point, masks

CONTEXT = masks.context(b"a training", b"7")


def clients(count):
    secrets = {f"s{i:03d}": bytes([i, i // 256]) * 8 for i in range(count)}
    keys = {name: masks.public_key(secret) for name, secret in secrets.items()}
    return {name: masks.Masks(secret, name, keys) for name, secret in secrets.items()}


@given(
    st.integers(2, 7),
    st.integers(0, 40),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=30)
def test_the_sum_of_masked_vectors_is_the_sum_of_the_vectors(count, length, seed):
    draw = np.random.default_rng(seed)
    vectors = draw.integers(-(2**52), 2**52, [count, length])
    masked = [own.masked(CONTEXT, vector) for own, vector in zip(clients(count).values(), vectors)]
    np.testing.assert_array_equal(fixed_point.added(masked), vectors.sum(axis=0))


def test_numbers_add_up_to_their_stated_error():
    numbers = np.random.default_rng(0).normal(size=[20, 1000]) * 1e4
    masked = [
        own.masked(CONTEXT, fixed_point.encoded(x)) for own, x in zip(clients(20).values(), numbers)
    ]
    found = fixed_point.decoded(fixed_point.added(masked))
    # Beside the roundings what float64 leaves out of a sum of some 1e5.
    np.testing.assert_allclose(found, numbers.sum(axis=0), rtol=0, atol=20 * 2.0**-25 + 1e-9)


def test_a_masked_vector_is_uniform():
    """By bytes, for a vector of nothing; and one mask does not show beside another's."""
    three = clients(3)
    masked = [own.masked(CONTEXT, np.zeros(50_000, np.int64)) for own in three.values()]
    for vector in (*masked, masked[0] + masked[1], masked[0] - masked[1]):
        for place in range(8):
            found = np.bincount(vector.view(np.uint8)[place::8], minlength=256)
            assert stats.chisquare(found).pvalue > 1e-6
        assert len(np.unique(vector)) == len(vector)


def test_without_one_of_them_the_sum_stays_hidden():
    three = list(clients(3).values())
    left = fixed_point.added([own.masked(CONTEXT, np.zeros(50_000, np.int64)) for own in three[:2]])
    assert stats.chisquare(np.bincount(left.view(np.uint8), minlength=256)).pvalue > 1e-6


def test_another_context_has_other_masks():
    own = clients(2)["s000"]
    first = own.mask(CONTEXT, 1000)
    np.testing.assert_array_equal(first, own.mask(CONTEXT, 1000))
    for other in (masks.context(b"a training", b"8"), masks.context(b"a training7")):
        again = own.mask(other, 1000)
        assert not np.any(first == again)
        found = np.bincount((first - again).view(np.uint8), minlength=256)
        assert stats.chisquare(found).pvalue > 1e-6
    assert masks.context(b"ab", b"c") != masks.context(b"a", b"bc")


def test_keys_follow_from_secrets_and_are_x25519():
    """Pinned, since agreements hold keys: secrets made before must give the same ones."""
    key = masks.public_key(bytes(range(16)))
    assert key.hex() == "e2ff8ec339ae1aad19bcf74142188ec38b64d952409c79d40ff3505d732c9335"
    assert x25519.X25519PublicKey.from_public_bytes(key).public_bytes_raw() == key
    assert masks.public_key(bytes(16)) != key


def test_masks_are_pinned():
    assert clients(2)["s000"].mask(CONTEXT, 2).tolist() == [
        10994226468204121339,
        10434739735944592864,
    ]


def test_what_is_no_list_of_keys_is_refused():
    secret, other = bytes(16), masks.public_key(b"0" * 16)
    own = masks.public_key(secret)
    with pytest.raises(errors.PfrecError, match="hides nothing"):
        masks.Masks(secret, "nl", {"nl": own})
    with pytest.raises(errors.PfrecError, match="the key for sums of nl is not the one"):
        masks.Masks(secret, "nl", {"nl": other, "fr": own})
    with pytest.raises(errors.PfrecError, match="the key for sums of fr is not the one"):
        masks.Masks(secret, "fr", {"nl": own, "es": other})
    with pytest.raises(errors.PfrecError, match="the same key"):
        masks.Masks(secret, "nl", {"nl": own, "fr": own})
    for bad in (b"short", bytes(32)):
        with pytest.raises(errors.PfrecError, match="the key for sums of fr"):
            masks.Masks(secret, "nl", {"nl": own, "fr": bad})
