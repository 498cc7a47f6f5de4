"""Truth values as the text of a feature. There `true` and `True` are two values, with two ids.

Booleans, as Parquet's, have no spelling. They are read as `true` and `false`, while pandas writes
`True` and `False` into CSV files: one column, and two values to a model. So booleans take the
spelling of a feature's vocabulary where it has one, and text of another spelling is told of.
"""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from pfrec.data import schema as schema_lib
from pfrec.data.reading import column_text

_WORDS = ("true", "false")
_SPELLINGS = ("True", "TRUE", "False", "FALSE", *_WORDS)


def holds(values: Any) -> bool:
    """Whether a column's own type is boolean, Arrow's or NumPy's."""
    import pyarrow as pa

    if isinstance(values, np.ndarray):
        return values.dtype == np.bool_
    return isinstance(values, pa.BooleanArray)


def text(booleans: Any, vocabulary: Sequence[str]) -> Any:
    """Booleans [rows] in the spelling of a vocabulary, an Arrow string array [rows]; `true` and
    `false` where it has none or several, empty text in place of nulls.
    """
    from pyarrow import compute

    true, false = (_spelling(word, vocabulary) for word in _WORDS)
    return compute.fill_null(compute.if_else(column_text.arrow(booleans), true, false), "")


def _spelling(word: str, vocabulary: Sequence[str]) -> str:
    found = [known for known in vocabulary if known in _SPELLINGS and known.lower() == word]
    return found[0] if len(found) == 1 else word


def known(feature: schema_lib.Categorical) -> "tuple[str, ...]":
    """The truth values in a feature's vocabulary."""
    return tuple(word for word in feature.vocabulary if word in _SPELLINGS)


def others(feature: schema_lib.Categorical) -> "tuple[str, ...]":
    """Spellings of truth values other than those in a feature's vocabulary, or where it hashes them
    than those of booleans; none where it knows no truth values.
    """
    expected = _WORDS if feature.encoding == "hash" else known(feature)
    meant = {word.lower() for word in expected}
    return tuple(s for s in _SPELLINGS if s.lower() in meant and s not in expected)


def strange(texts: Any, feature: schema_lib.Categorical) -> "tuple[str, ...]":
    """Those of `others` that texts hold, in order.

    Args:
      texts: Arrow string array [rows].
      feature: which one they are of.
    """
    import pyarrow as pa
    from pyarrow import compute

    found = compute.is_in(texts, value_set=pa.array(others(feature), pa.string()))
    return tuple(sorted(compute.unique(texts.filter(found)).to_pylist()))


def note(feature: schema_lib.Categorical, found: "Collection[str]") -> str:
    """What a user should know of `strange` values in a feature's column to score."""
    told = f"{feature.raw!r} holds {', '.join(sorted(found))}"
    if feature.encoding == "hash":
        return (
            f"{told}, and is hashed as it is spelled; booleans of Parquet are true and false, "
            "which have other ids: spell them as the training files did"
        )
    return (
        f"{told}, which the model does not know: of truth values it knows "
        f"{', '.join(known(feature))}; spell them so"
    )
