"""Masks that cancel in the sum over all who take part, and without one of them hide everything.

Formula, for clients in the order of their names, with a seed s[i, j] that i and j alone know and a
context c:

    m[i] = sum over j after i of PRG(s[i, j], c) - sum over j before i of PRG(s[j, i], c)

modulo 2^64, so that the sum of all m[i] is 0, and any of them without all the others' secrets is
uniform. s[i, j] is HKDF-SHA256 of the X25519 secret of i's key and j's; PRG is the key stream of
ChaCha20 under HKDF-SHA256 of s[i, j] and c. One context must serve for one vector: two under the
same masks tell their difference.

Keys follow from 16 bytes that a client keeps. Who takes part is fixed: where one is missing the sum
stays hidden. That is the form of Bonawitz et al. without its second masks and shares, which let a
server open the sum of those that remained, and have to be defended against one that lies about who
did.

References:
  Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning", CCS 2017.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf import hkdf

from pfrec import errors

KEY_BYTES = 32
_PURPOSE = b"pfrec sums 1: "


def public_key(secret: bytes) -> bytes:
    """What the others need of a client that has this secret; it does not tell the secret."""
    return _private_key(secret).public_key().public_bytes_raw()


class Masks:
    """The masks of one client.

    Args:
      secret: the client's own bytes.
      name: the client's.
      keys: the public keys of all that take part, by name, its own among them.

    Raises:
      PfrecError: where there are not two clients, two have one key, one is no key, or the client's
        own is not that of its secret.
    """

    def __init__(self, secret: bytes, name: str, keys: "Mapping[str, bytes]") -> None:
        if len(keys) < 2:
            raise errors.PfrecError("a sum of one client's values hides nothing; two are needed")
        if len(set(keys.values())) < len(keys):
            raise errors.PfrecError("two clients have the same key for sums")
        own = public_key(secret)
        if keys.get(name) != own:
            raise errors.PfrecError(
                f"the key for sums of {name} is not the one of its secret, {own.hex()}"
            )
        private = _private_key(secret)
        self._seeds: list[tuple[bool, bytes]] = []
        for other, key in sorted(keys.items()):
            if other == name:
                continue
            try:
                shared = private.exchange(x25519.X25519PublicKey.from_public_bytes(key))
            except ValueError as error:
                raise errors.PfrecError(f"the key for sums of {other}: {error}") from error
            pair = [(name, own), (other, key)]
            told = b"".join(
                _framed(part) for who, of in sorted(pair) for part in (who.encode(), of)
            )
            self._seeds.append((other > name, _derived(shared, b"pair" + told)))

    def mask(self, context: bytes, count: int) -> np.ndarray:
        """The client's mask of a vector.

        Args:
          context: what the vector is, equal at all clients; of one vector alone.
          count: its length.

        Returns:
          uint64 [count].
        """
        total = np.zeros(count, np.uint64)
        zeros = bytes(8 * count)
        for adds, seed in self._seeds:
            cipher = Cipher(algorithms.ChaCha20(_derived(seed, b"sum" + context), bytes(16)), None)
            stream = np.frombuffer(cipher.encryptor().update(zeros), "<u8")
            # In place, modulo 2^64.
            if adds:
                total += stream
            else:
                total -= stream
        return total

    def masked(self, context: bytes, vector: np.ndarray) -> np.ndarray:
        """An int64 vector [count] with its mask on, int64."""
        total: np.ndarray = vector.view(np.uint64) + self.mask(context, len(vector))
        return total.view(np.int64)


def context(*parts: bytes) -> bytes:
    """Names what a vector is by everything that it follows from, 32 bytes."""
    return hashlib.sha256(_PURPOSE + b"".join(map(_framed, parts))).digest()


def _private_key(secret: bytes) -> x25519.X25519PrivateKey:
    return x25519.X25519PrivateKey.from_private_bytes(_derived(secret, b"key"))


def _derived(key: bytes, purpose: bytes) -> bytes:
    made: bytes = hkdf.HKDF(hashes.SHA256(), KEY_BYTES, None, _PURPOSE + purpose).derive(key)
    return made


def _framed(part: bytes) -> bytes:
    """With its length, so that no two lists of parts look alike."""
    return len(part).to_bytes(8, "big") + part
