"""Times taken apart into numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import field, frozen, validators
from pyarrow import types

from forge_core.contracts import Transformation
from forge_core.faults import InvalidInput
from forge_core.records import JSON, ArrowStream
from forge_tabular.columns import added, column_of, table_of

Part = Literal["year", "month", "day", "hour", "minute", "weekday", "yearday", "week"]
_PARTS: Mapping[str, tuple[Callable[..., Any], int, int]] = {  # function, first value, how many there are (0: it does not come round)
    "year": (pc.year, 0, 0),
    "month": (pc.month, 1, 12),
    "day": (pc.day, 1, 31),
    "hour": (pc.hour, 0, 24),
    "minute": (pc.minute, 0, 60),
    "weekday": (pc.day_of_week, 0, 7),
    "yearday": (pc.day_of_year, 1, 366),
    "week": (pc.iso_week, 1, 53),
}


class DateParts(Transformation):
    """`time` becomes `time_month`, `time_hour`, ...: whole numbers, in the time zone that the column has; null stays null.

    `weekday` is 0 on Monday, `yearday` counts from 1, `week` is ISO 8601's. Columns are timestamps, dates, or text that is an
    ISO 8601 time. With `cyclic`, every part but the year is two columns `_sin` and `_cos`, so that December is near January.
    """

    @frozen
    class Settings:
        """`keep` leaves the columns themselves in, for the transforms that follow."""

        columns: tuple[str, ...] = field(validator=validators.min_len(1))
        parts: tuple[Part, ...] = field(default=("year", "month", "day", "weekday", "hour"), validator=validators.min_len(1))
        cyclic: bool = False
        keep: bool = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        self.apply(table_of(data).slice(0, 0), {})  # a column that is missing or no time is refused now
        return {}

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        table = table_of(data)
        made: dict[str, pa.ChunkedArray] = {}
        for name in self.settings.columns:
            times = _times(column_of(table, name), name)
            for part in self.settings.parts:
                made.update(self._part(times, f"{name}_{part}", part))
        return added(table if self.settings.keep else table.drop_columns(list(self.settings.columns)), made)  # type: ignore[no-any-return]

    def _part(self, times: pa.ChunkedArray, name: str, part: Part) -> dict[str, pa.ChunkedArray]:
        read, first, count = _PARTS[part]
        values = read(times)
        if not self.settings.cyclic or not count:
            return {name: values.cast(pa.int64())}
        angle = pc.multiply(pc.subtract(values, first).cast(pa.float64()), 2 * np.pi / count)
        return {f"{name}_sin": pc.sin(angle), f"{name}_cos": pc.cos(angle)}


def _times(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    kind = column.type
    if types.is_timestamp(kind):
        return column
    if types.is_date(kind) or types.is_null(kind):
        return column.cast(pa.timestamp("ms"))
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        for read in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
            try:
                return column.cast(read)
            except pa.ArrowInvalid:  # a text either has an offset or has none
                continue
        raise InvalidInput(f"column {name!r} has text that is no ISO 8601 time", "write times as 2013-01-31T05:15:00")
    raise InvalidInput(f"column {name!r} is {kind}, which is no time", "name a column of timestamps, dates or ISO 8601 text")
