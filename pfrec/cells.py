"""What is said of the metrics of a scenario and task, in the same words everywhere.

A metric may have no value for four reasons that ask for different remedies, and a NaN alone does
not tell them apart. This module does, and needs no TensorFlow.
"""

import math
from collections.abc import Mapping
from typing import Optional

NAN, ONE_CLASS, NO_ROWS, UNKNOWN, INFINITE = "NaN", "one class", "no rows", "unknown", "inf"

# A metric's value by its name in `metrics.METRICS`; None or NaN where it has none.
Cell = Mapping[str, Optional[float]]


def has_value(value: Optional[float]) -> bool:
    """Whether a metric is a number."""
    return value is not None and math.isfinite(value)


def predicts_nan(cell: Cell) -> bool:
    """Whether the model's predictions are not numbers: there are rows, and neither a loss of them
    nor a ranking.
    """
    rows = cell.get("rows")
    lost = not (has_value(cell.get("logloss")) or has_value(cell.get("auc")))
    return rows is not None and math.isfinite(rows) and rows > 0 and lost


def text(cell: Cell, metric: str, form: str = ".4f") -> str:
    """A metric as a number, or why it is none."""
    value = cell[metric]
    if value is not None and math.isfinite(value):
        return format(value, form)
    if not has_value(cell["rows"]):
        return UNKNOWN
    if not cell["rows"]:
        return NO_ROWS
    if predicts_nan(cell):
        return NAN
    return ONE_CLASS if metric in ("auc", "gauc") else INFINITE


def plain(cell: Cell) -> "dict[str, Optional[float]]":
    """A cell for a JSON file, which knows no NaN; counts are whole numbers."""
    known = {name: value if has_value(value) else None for name, value in cell.items()}
    counts = {
        name: int(value)
        for name, value in known.items()
        if name in ("rows", "positives") and value is not None
    }
    return {**known, **counts}
