import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfrec.data.reading import times

_MOMENT = datetime.datetime(2023, 11, 14, 22, 26, 20, tzinfo=datetime.timezone.utc)
_SECONDS = 1_700_000_780.0
_DAY = 1_699_920_000.0


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("2023-11-14T22:26:20Z", _SECONDS),
        ("2023-11-14 22:26:20", _SECONDS),
        ("2023-11-14T22:26:20+00:00", _SECONDS),
        ("2023-11-14T23:26:20+01:00", _SECONDS),
        (" 2023-11-14T22:26:20.000 ", _SECONDS),
        ("1700000780", _SECONDS),
        ("1700000780.5", _SECONDS + 0.5),
        ("1700000780000", _SECONDS),
        (1700000780000000, _SECONDS),
        (1700000780000000000, _SECONDS),
        (1700000780, _SECONDS),
        ("2023-11-14", _DAY),
        (20231114, _DAY),
        ("20231114", _DAY),
        (datetime.date(2023, 11, 14), _DAY),
        (_MOMENT, _SECONDS),
        (_MOMENT.replace(tzinfo=None), _SECONDS),
        ("yesterday", None),
        ("", None),
        (True, None),
        (None, None),
    ],
)
def test_a_single_time(value, wanted):
    assert times.of_value(value) == wanted


@pytest.mark.parametrize(
    "values",
    [
        pa.array([_MOMENT.replace(tzinfo=None), None], pa.timestamp("ms")),
        pa.array([_MOMENT, None], pa.timestamp("ns", "Europe/Paris")),
        pa.array(["2023-11-14T22:26:20Z", None]),
        pa.array(["2023-11-14 22:26:20", "soon"]),
        pa.array([1700000780, None]),
        pa.array([1700000780.0, float("nan")]),
        pa.array(["1700000780", ""]),
    ],
)
def test_columns_of_any_type(values):
    found = times.seconds(values)
    assert found[0] == _SECONDS
    assert np.isnan(found[1])


@settings(max_examples=40, deadline=None)
@given(st.datetimes(datetime.datetime(1971, 1, 1), datetime.datetime(2100, 1, 1)))
def test_text_reads_as_python_does(moment):
    wanted = moment.replace(tzinfo=datetime.timezone.utc).timestamp()
    assert times.of_value(moment.isoformat()) == pytest.approx(wanted, abs=1e-5)
