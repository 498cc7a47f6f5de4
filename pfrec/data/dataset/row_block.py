"""Row blocks: the records of a shard.

A record holds some rows in columnar bytes, little-endian, section by section: categorical ids
(int32, rows x ids; a list has a place for each value that it may have, -1 where it ended before),
numbers (float32, rows x numbers; a vector has a place for each of its own), labels (uint8, rows x
tasks; 255 where a label is not observed), and, where the schema has such a column, groups (int64,
rows) and weights (float32, rows). The number of rows follows from the record's length. TFRecord
adds a CRC to every record.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pfrec.data import schema as schema_lib

ROWS_PER_BLOCK = 256
UNOBSERVED = 255


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of one scenario, encoded.

    Attributes:
      categorical: ids, int32 [rows, `schema.id_columns`].
      numerical: float32 [rows, `schema.number_columns`].
      labels: uint8 [rows, tasks]; 0, 1, or `UNOBSERVED`.
      group: int64 [rows], or None where the schema has no group column.
      weight: float32 [rows], or None where the schema has no weight column.
    """

    categorical: np.ndarray
    numerical: np.ndarray
    labels: np.ndarray
    group: "np.ndarray | None" = None
    weight: "np.ndarray | None" = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: "np.ndarray | slice") -> "Rows":
        """The rows that `index` (positions, a mask or a slice) chooses."""
        return Rows(
            self.categorical[index],
            self.numerical[index],
            self.labels[index],
            None if self.group is None else self.group[index],
            None if self.weight is None else self.weight[index],
        )


def joined(parts: "Sequence[Rows]") -> Rows:
    """Some rows after each other; at least one part."""

    def of(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    group = None if parts[0].group is None else of("group")
    weight = None if parts[0].weight is None else of("weight")
    return Rows(of("categorical"), of("numerical"), of("labels"), group, weight)


def encode(rows: Rows) -> bytes:
    """The record of `rows`; `decode` and `pipeline.decode_blocks` are its inverses."""
    sections = [
        np.ascontiguousarray(rows.categorical, "<i4"),
        np.ascontiguousarray(rows.numerical, "<f4"),
        np.ascontiguousarray(rows.labels, "u1"),
    ]
    if rows.group is not None:
        sections.append(np.ascontiguousarray(rows.group, "<i8"))
    if rows.weight is not None:
        sections.append(np.ascontiguousarray(rows.weight, "<f4"))
    return b"".join(section.tobytes() for section in sections)


def decode(record: bytes, schema: schema_lib.Schema) -> Rows:
    """The rows of a record, in NumPy: the plain reference of `pipeline.decode_blocks`.

    Raises:
      ValueError: where the record's length is no multiple of the schema's row size.
    """
    count, rest = divmod(len(record), schema.row_bytes)
    if rest:
        raise ValueError(
            f"a record of {len(record)} bytes does not hold whole rows of {schema.row_bytes} bytes"
        )
    offset = 0

    def section(dtype: str, columns: int) -> np.ndarray:
        nonlocal offset
        values = np.frombuffer(record, dtype, count * columns, offset)
        offset += values.nbytes
        return values.reshape(count, columns)

    return Rows(
        categorical=section("<i4", schema.id_columns),
        numerical=section("<f4", schema.number_columns),
        labels=section("u1", len(schema.tasks)),
        group=section("<i8", 1)[:, 0] if schema.group is not None else None,
        weight=section("<f4", 1)[:, 0] if schema.weight is not None else None,
    )
