"""Checksums and records, beside published values and TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf

from pfrec.data.dataset import tf_record


def of(text):
    return np.frombuffer(text, np.uint8)[np.newaxis]


# RFC 3720, appendix B.4; the first is the check value of catalogues of CRCs.
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"", 0),
    ],
    ids=["digits", "zeros", "ones", "up", "down", "nothing"],
)
def test_published_values(text, expected):
    assert tf_record.crc32c(of(text)).tolist() == [expected]


@pytest.mark.parametrize("size", [1, 3, 127, 128, 129, 4095, 90_001])
def test_records_are_tensorflows_byte_for_byte(tmp_path, size):
    data = np.random.default_rng(size).integers(0, 256, (3, size)).astype(np.uint8)
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in data:
            writer.write(record.tobytes())
    assert tf_record.framed(data) == (tmp_path / "theirs").read_bytes()
