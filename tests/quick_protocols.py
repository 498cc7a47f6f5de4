"""Tracing asks of thousands of values whether they follow one of TensorFlow's protocols, and Python
before 3.12 looks up a protocol's members anew each time: a tenth of what a test that traces takes.
"""

import functools
import sys
import typing


def install() -> None:
    """Has this process look them up once, as later Pythons do."""
    if sys.version_info < (3, 12):
        lookup = typing._get_protocol_attrs  # type: ignore[attr-defined]
        typing._get_protocol_attrs = functools.cache(lookup)  # type: ignore[attr-defined]
