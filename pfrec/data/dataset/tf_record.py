"""Files of TFRecords, written without TensorFlow, whose import takes longer than most conversions.

A record is its length (uint64, little-endian), a masked CRC-32C of these eight bytes, the data, and
a masked CRC-32C of the data
(https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details).
"""

import functools

import numpy as np

# Before the data of a record, and after them, in bytes.
BEFORE, AFTER = 12, 4
# Castagnoli's, bits reversed: RFC 3720, appendix B.4.
_POLYNOMIAL = np.uint32(0x82F63B78)
_ONES = np.uint32(0xFFFFFFFF)
# The remainders of stretches of about so many bytes are computed side by side, and then joined.
_STRETCH_BYTES = 128
_WORD_BYTES = 2


def framed(data: np.ndarray) -> bytes:
    """Records as they stand in a file, one after the other.

    Args:
      data: of records of one length, uint8 [records, bytes].
    """
    records, size = data.shape
    found = np.empty((records, BEFORE + size + AFTER), np.uint8)
    found[:, :8] = np.array([size], "<u8").view(np.uint8)
    found[:, 8:BEFORE] = _masked(found[:1, :8])
    found[:, BEFORE : BEFORE + size] = data
    found[:, BEFORE + size :] = _masked(data)
    return found.tobytes()


def _masked(data: np.ndarray) -> np.ndarray:
    """What stands for `crc32c` of each row in a file, uint8 [rows, 4]."""
    found = crc32c(data)
    rotated = (found >> np.uint32(15)) | (found << np.uint32(17))
    masked = rotated + np.uint32(0xA282EAD8)
    return masked.astype("<u4")[:, np.newaxis].view(np.uint8)


def crc32c(data: np.ndarray) -> np.ndarray:
    """CRC-32C (RFC 3720) of each row of bytes, uint32 [rows].

    A remainder is linear in the bytes, and zeros before them change nothing: each row is cut into
    stretches of one length with zeros before the first, whose remainders are computed all at once,
    two bytes a step, and joined by twos, each left one as if zeros followed it.

    Args:
      data: uint8 [rows, bytes].
    """
    rows, size = data.shape
    count = 1 << max(size // _STRETCH_BYTES, 1).bit_length() - 1
    length = -(-size // (count * _WORD_BYTES)) * _WORD_BYTES
    padded = np.zeros((rows, count * length), np.uint8)
    padded[:, count * length - size :] = data
    # [words of a stretch, stretches of all rows], so that a step reads what lies together.
    words = np.ascontiguousarray(padded.view("<u2").reshape(rows * count, -1).T)
    table, found = _after_words(), np.zeros(rows * count, np.uint32)
    for word in words:
        found = table[found.astype(np.uint16) ^ word] ^ (found >> np.uint32(16))
    found = found.reshape(rows, count)
    while found.shape[1] > 1:
        found = _followed(found[:, ::2], length) ^ found[:, 1::2]
        length *= 2
    # A CRC starts from ones, and is told with its bits turned.
    return found[:, 0] ^ _followed(np.array([_ONES]), size) ^ _ONES


def _followed(remainders: np.ndarray, zeros: int) -> np.ndarray:
    """Remainders after so many bytes of zeros, uint32 as given."""
    found = np.zeros_like(remainders)
    for place, table in enumerate(_tables(zeros)):
        found ^= table[(remainders >> np.uint32(8 * place)).astype(np.uint8)]
    return found


@functools.lru_cache(maxsize=256)
def _tables(zeros: int) -> np.ndarray:
    """By place and value of a byte of a remainder, what it adds to that after so many bytes of
    zeros, uint32 [4, 256].
    """
    if zeros == 0:
        bits = np.arange(256, dtype=np.uint32)
        return np.stack([bits << np.uint32(8 * place) for place in range(4)])
    half = _followed(_tables(zeros // 2), zeros // 2)
    return _stepped(half, 8) if zeros % 2 else half


@functools.lru_cache(maxsize=1)
def _after_words() -> np.ndarray:
    """By a word of two bytes, the remainder that it leaves, uint32 [65536]."""
    return _stepped(np.arange(1 << 16, dtype=np.uint32), 16)


def _stepped(remainders: np.ndarray, bits: int) -> np.ndarray:
    """Remainders after so many bits of zeros, by the definition."""
    for _ in range(bits):
        remainders = (remainders >> np.uint32(1)) ^ _POLYNOMIAL * (remainders & np.uint32(1))
    return remainders
