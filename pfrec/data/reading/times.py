"""Times as logs hold them, in seconds since 1970 (UTC)."""

import datetime
from typing import Any, Optional

import numpy as np

from pfrec.data.reading import column_text, words

# From which magnitude on a number counts in thousandths, millionths or billionths of a second: as
# seconds these are beyond the year 5000, as milliseconds those of 1973.
_UNITS = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
# 20231114 is a day; as seconds it would be one in 1970.
_FIRST_DAY, _LAST_DAY = 19000101, 20991231


def seconds(values: Any) -> np.ndarray:
    """A column of times: numbers (seconds, or milli-, micro- or nanoseconds by their size, or days
    as 20231114), ISO 8601 text, or timestamps and dates proper.

    Returns:
      float64 [rows]; NaN for what is no time. Times without a zone count as UTC.
    """
    import pyarrow as pa

    values = column_text.arrow(values)
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        if pa.types.is_date(values.type):
            values = values.cast(pa.timestamp("us"))
        whole = values.cast(pa.timestamp("us", getattr(values.type, "tz", None)), safe=False)
        return whole.cast(pa.int64()).to_numpy(zero_copy_only=False).astype(np.float64) / 1e6
    if not pa.types.is_string(values.type):
        return _of_numbers(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
    # Many rows, few distinct texts where times are coarse.
    encoded = values.dictionary_encode()
    found = np.append(_of_texts(encoded.dictionary), np.nan)
    return found[encoded.indices.fill_null(len(found) - 1).to_numpy(zero_copy_only=False)]


def of_value(value: Any) -> Optional[float]:
    """A single time: text, a number, or TOML's date or time; None where it is none."""
    if isinstance(value, datetime.datetime):
        value = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        return value.timestamp()
    if isinstance(value, datetime.date):
        value = value.isoformat()
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    found = float(seconds([value])[0])
    return found if np.isfinite(found) else None


def shown(time: float) -> str:
    """A time as messages and records show it."""
    try:
        moment = datetime.datetime.fromtimestamp(time, datetime.timezone.utc)
    except (OverflowError, ValueError, OSError):
        return f"{time:g}"
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _of_texts(texts: Any) -> np.ndarray:
    import pyarrow as pa

    try:
        return _of_numbers(texts.cast(pa.float64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        pass
    return np.array([_of_text(text) for text in texts.to_pylist()], np.float64)


def _of_text(text: str) -> float:
    number = words.number(text)
    if number is not None:
        return float(_of_numbers(np.array([number]))[0])
    text = text.strip()
    if text.endswith(("Z", "z")):
        text = f"{text[:-1]}+00:00"
    try:
        moment = datetime.datetime.fromisoformat(text)
    except ValueError:
        return float("nan")
    return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).timestamp()


def _of_numbers(values: np.ndarray) -> np.ndarray:
    found = values.astype(np.float64)
    days = (found >= _FIRST_DAY) & (found <= _LAST_DAY) & (found == np.floor(found))
    for place in np.flatnonzero(days):
        try:
            day = datetime.datetime.strptime(str(int(found[place])), "%Y%m%d")
        except ValueError:
            continue
        found[place] = day.replace(tzinfo=datetime.timezone.utc).timestamp()
    for least, unit in _UNITS:
        found = np.where(np.abs(found) >= least, found / unit, found)
    return found
