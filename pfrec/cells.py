"""What is said of the metrics of a scenario and task, in the same words everywhere.

A metric may have no value for five reasons that ask for different remedies, and a NaN alone does
not tell them apart. This module does, and needs no TensorFlow.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Optional

NAN, ONE_CLASS, NO_ROWS, UNKNOWN, INFINITE = "NaN", "one class", "no rows", "unknown", "inf"
NOT_SERVED = "not served"

# The entry of a cell that is False where the scenario has no labels of the task to train on.
SERVED = "served"

# A metric's value by its name in `metrics.METRICS`; None or NaN where it has none.
Cell = Mapping[str, Optional[float]]


def served(cell: Mapping[str, object]) -> bool:
    """Whether the scenario serves the task; where a cell does not say, it does."""
    return cell.get(SERVED) is not False


def not_served(metrics: "Sequence[str]") -> "dict[str, Optional[float]]":
    """The cell of a task that a scenario does not serve."""
    return {**dict.fromkeys(metrics), "rows": 0, "positives": 0, SERVED: False}


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
    if not served(cell):
        return NOT_SERVED
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
