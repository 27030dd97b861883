from __future__ import annotations

import datetime
import math
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_core.faults import ConfigError, InvalidInput
from forge_core.wiring import build
from forge_tabular.transforms.date_parts import DateParts

ALL = ["year", "month", "day", "hour", "minute", "weekday", "yearday", "week"]


def parts(values, kind=None, **config):
    made = build(DateParts, {"columns": ["t"], **config}, lambda *_: None)
    table = pa.table({"t": pa.array(values, kind)})
    return made.apply(table, made.fit(table)).to_pydict()


@given(st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1)))
def test_parts_are_those_of_the_calendar(moment):
    iso = moment.isocalendar()
    expected = (moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.weekday(), moment.timetuple().tm_yday, iso.week)
    assert parts([moment, None], pa.timestamp("us"), parts=ALL) == {
        f"t_{part}": [value, None] for part, value in zip(ALL, expected, strict=True)
    }


def test_times_are_read_in_the_zone_that_they_have():
    moment = datetime.datetime(2013, 1, 1, 3, 30, tzinfo=datetime.UTC)
    assert parts([moment], pa.timestamp("s", "America/New_York"), parts=["hour", "day"]) == {"t_hour": [22], "t_day": [31]}
    assert moment.astimezone(ZoneInfo("America/New_York")).hour == 22


@pytest.mark.parametrize(
    "values",
    [
        pa.array([datetime.date(2013, 2, 3)]),
        pa.array([datetime.date(2013, 2, 3)], pa.date64()),
        pa.array(["2013-02-03"]),
        pa.array(["2013-02-03T00:00:00"]),
        pa.array(["2013-02-03 00:00:00Z"], pa.large_string()),
    ],
)
def test_dates_and_iso_text_are_times_too(values):
    assert parts(values, parts=["year", "day", "hour"]) == {"t_year": [2013], "t_day": [3], "t_hour": [0]}


def test_cyclic_parts_come_round():
    found = parts(
        [datetime.datetime(2013, 1, 1), datetime.datetime(2013, 7, 1), datetime.datetime(2013, 12, 1)], parts=["year", "month"], cyclic=True
    )
    assert list(found) == ["t_year", "t_month_sin", "t_month_cos"]
    assert found["t_month_cos"] == pytest.approx([1.0, -1.0, math.cos(math.pi / 6)])
    assert found["t_month_sin"] == pytest.approx([0.0, 0.0, -0.5], abs=1e-12)


def test_the_column_itself_can_be_kept():
    assert list(parts([datetime.datetime(2013, 1, 1)], parts=["hour"], keep=True)) == ["t", "t_hour"]


@pytest.mark.parametrize("values", [["soon"], [1], [True], [datetime.time(1)], ["2013-13-45"]])
def test_what_is_no_time_is_refused(values):
    with pytest.raises(InvalidInput, match="'t'"):
        parts(values)


@pytest.mark.parametrize("config", [{"parts": ["century"]}, {"parts": []}, {"columns": []}, {"part": ["hour"]}])
def test_settings_are_strict(config):
    with pytest.raises(ConfigError):
        parts([None], **config)
