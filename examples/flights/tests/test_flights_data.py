"""Nothing in a row was learnt after the full hour of its scheduled departure."""

from __future__ import annotations

import importlib.util
import shutil
import zipfile
from datetime import datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pytest

NOW = 381_093  # hours since 1970, UTC: the 22nd of June 2013, 17:00 in New York
KNOWN = ("scheduled_departure", "scheduled_minutes", "carrier", "flight", "origin", "dest", "distance")


@pytest.fixture(scope="module")
def prepare_data() -> ModuleType:
    spec = importlib.util.spec_from_file_location("flights_prepare_data", Path(__file__).parents[1] / "prepare_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def flights(prepare_data: ModuleType) -> pa.Table:
    return prepare_data.flights_table(prepare_data.package_data())


def test_what_happens_from_now_on_changes_no_row_up_to_now(prepare_data: ModuleType, flights: pa.Table, tmp_path: Path) -> None:
    other_future(prepare_data, tmp_path)
    changed = prepare_data.flights_table(tmp_path)
    now = pa.scalar(datetime(2013, 6, 22, 17, 59), pa.timestamp("us"))
    until_now = pc.less_equal(flights["scheduled_departure"], now)
    features = [name for name in flights.column_names if name != "late"]
    assert changed.select(features).filter(until_now).equals(flights.select(features).filter(until_now))
    later, later_changed = (table.filter(pc.invert(until_now)) for table in (flights, changed))
    assert [name for name in features if later_changed[name].equals(later[name])] == list(KNOWN)


def other_future(prepare_data: ModuleType, folder: Path) -> None:
    """The package's files as if no flight had left since NOW, none had ever arrived, and the weather had stopped."""
    source = prepare_data.package_data()
    shutil.copy(source / "airports.csv", folder)
    with zipfile.ZipFile(source / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        flights = prepare_data.read_csv(file)
    minute = np.asarray(flights["minute"]) + prepare_data.hours_utc(flights) * 60
    delay = np.asarray(flights["dep_delay"], dtype=np.float64)
    gone = minute + np.nan_to_num(delay, nan=np.inf) < NOW * 60
    flights = flights.set_column(5, "dep_delay", pa.array(delay, pa.int64(), mask=~gone, safe=False))
    flights = flights.set_column(8, "arr_delay", pa.nulls(flights.num_rows, pa.int64()))
    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive, archive.open("flights.csv", "w") as file:
        pa.csv.write_csv(flights, file)
    weather = prepare_data.read_csv(source / "weather.csv")
    pa.csv.write_csv(weather.filter(prepare_data.hours_utc(weather) < NOW), folder / "weather.csv")


def test_every_flight_of_the_package_is_a_row_without_nulls(flights: pa.Table) -> None:
    assert flights.num_rows == 336_776
    assert not any(flights[name].null_count for name in flights.column_names)
    assert pc.sum(flights["late"]).as_py() == 77_630 + 9_430  # late arrivals, and those that never arrived


def test_the_board_counts_what_was_scheduled_in_the_three_hours_before(prepare_data: ModuleType) -> None:
    # 10:00 left on time; 11:50 left at 12:20; 11:10 was cancelled; asked at 12:00 for the flight of 12:05, which left early
    table = pa.table(
        {"origin": ["EWR"] * 4, "carrier": ["UA", "UA", "B6", "UA"], "minute": [0, 50, 10, 5], "dep_delay": [0, 30, None, -20]}
    )
    board = prepare_data.earlier_departures(table, np.array([10, 11, 11, 12]))
    assert board["airport_waiting"].tolist() == [0, 0, 0, 0.6667]
    assert board["carrier_waiting"].tolist() == [0, 0, 0, 0.5]
    assert board["airport_delay"].tolist() == [0, 0, 0, 0]
    table = table.set_column(3, "dep_delay", pa.array([6, 9, None, -20]))
    board = prepare_data.earlier_departures(table, np.array([10, 11, 11, 12]))
    assert board["airport_waiting"].tolist() == [0, 0, 0, 0.3333]
    assert board["carrier_delay"].tolist() == [0, 6, 0, 7.5]


def test_preparing_again_leaves_the_files_alone(prepare_data: ModuleType, flights: pa.Table, tmp_path: Path) -> None:
    prepare_data.write(flights, tmp_path)
    first = {path: path.stat().st_ino for path in sorted(tmp_path.rglob("*.parquet"))}
    prepare_data.write(flights, tmp_path)
    assert {path: path.stat().st_ino for path in sorted(tmp_path.rglob("*.parquet"))} == first
    assert len(first) == 12
