"""Columns of a chunk as text: single values, and lists."""

from collections.abc import Callable
from typing import Any

from pfrec import errors
from pfrec.data import schema as schema_lib
from pfrec.data.conversion.columns import truth_words
from pfrec.data.reading import column_text, source


def read(chunk: source.RawChunk, column: str) -> Any:
    """A chunk's column as text, see `column_text.of`.

    Raises:
      PfrecError: where its type has none.
    """
    return convert(chunk, column, column_text.of)


def of_feature(chunk: source.RawChunk, feature: schema_lib.Categorical) -> Any:
    """A feature's column as text, booleans as its vocabulary spells them, see `truth_words`.

    Raises:
      PfrecError: where the column's type has no text.
    """
    values = chunk.columns[feature.raw]
    if truth_words.holds(values):
        return truth_words.text(values, feature.vocabulary)
    return read(chunk, feature.raw)


def lists(chunk: source.RawChunk, feature: schema_lib.Categorical) -> column_text.Lists:
    """The values of a feature whose rows hold lists.

    Raises:
      PfrecError: where the column's type has no text.
    """
    return convert(
        chunk,
        feature.raw,
        lambda values: column_text.lists(
            values,
            feature.separator,
            feature.values,
            feature.keep == schema_lib.LAST,
            # Of a vocabulary that itself tells 17.0 from 17 the words are taken as they are.
            any(column_text.POINTED.fullmatch(word) for word in feature.vocabulary),
        ),
    )


def all_values(chunk: source.RawChunk, feature: schema_lib.Categorical) -> Any:
    """The values of a feature in all rows one after the other, an Arrow string array.

    Raises:
      PfrecError: where the column's type has no text.
    """
    if feature.values > 1:
        return lists(chunk, feature).values
    return read(chunk, feature.raw)


def convert(chunk: source.RawChunk, column: str, reading: Callable[[Any], Any]) -> Any:
    """What `reading` makes of a chunk's column.

    Raises:
      PfrecError: where its type has no text (a list where one value belongs, a structure).
    """
    import pyarrow as pa

    try:
        return reading(chunk.columns[column])
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        kind = getattr(chunk.columns[column], "type", "values")
        raise errors.PfrecError(
            f"{chunk.file}: column {column!r} holds {kind} where text or numbers belong; mend the "
            "file or the schema"
        ) from None
