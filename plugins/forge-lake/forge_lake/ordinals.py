"""Column types whose values are whole multiples of a unit: whole numbers, decimals, dates and times.

A value from a condition becomes an exact number of units, so that a comparison never rounds and never overflows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias

import pyarrow as pa
from attrs import frozen

Exact: TypeAlias = Fraction | float
"""A number of units; a float only where it is infinite."""

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - Arrow's own epoch has no zone
_FINER = re.compile(r"[.,]\d{7,}")


@frozen
class Ordinal:
    """`low` and `high` are the least and the greatest number of units that the type holds; `wanted` says what a condition may give."""

    low: int
    high: int
    wanted: str
    of: Callable[[object], Exact]
    scalar: Callable[[int], pa.Scalar]

    def holds(self, units: Exact) -> bool:
        """Whether a value of the type can be exactly this."""
        return isinstance(units, Fraction) and units.denominator == 1 and self.low <= units <= self.high


def ordinal(kind: pa.DataType) -> Ordinal | None:
    """None for every other type. What `of` cannot take raises TypeError or ValueError."""
    if pa.types.is_integer(kind):
        signed = pa.types.is_signed_integer(kind)
        low = -(1 << kind.bit_width - 1) if signed else 0
        return Ordinal(low, (1 << kind.bit_width - (1 if signed else 0)) - 1, "a number", _number, lambda units: pa.scalar(units, kind))
    if pa.types.is_decimal(kind):
        most = 10**kind.precision - 1
        return Ordinal(
            -most,
            most,
            "a number",
            lambda value: _decimal(value, kind.scale),
            lambda units: pa.scalar(Decimal(f"{units}E{-kind.scale}"), kind),
        )
    if pa.types.is_timestamp(kind):
        return _moments(_PER_SECOND[kind.unit], kind, pa.int64(), zoned=kind.tz is not None)
    if pa.types.is_date32(kind):
        return _moments(Fraction(1, 86_400), kind, pa.int32())
    if pa.types.is_date64(kind):
        return _moments(1_000, kind, pa.int64())
    if pa.types.is_time(kind):
        per_second = _PER_SECOND[kind.unit]
        whole = pa.int32() if kind.bit_width == 32 else pa.int64()
        return Ordinal(
            0,
            86_400 * per_second - 1,
            "a time of day, as in '14:30:00'",
            lambda value: _time_of_day(value) * per_second,
            lambda units: pa.scalar(units, whole).cast(kind),
        )
    return None


def _moments(per_second: int | Fraction, kind: pa.DataType, whole: pa.DataType, *, zoned: bool = False) -> Ordinal:
    most = (1 << whole.bit_width - 1) - 1
    wanted = "a date or a time, as in '2013-10-01' or '2013-10-01T14:30:00'" + ("" if zoned else " and without a zone")
    return Ordinal(
        -most, most, wanted, lambda value: _since_epoch(value, zoned=zoned) * per_second, lambda units: pa.scalar(units, whole).cast(kind)
    )


def _number(value: object) -> Exact:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise TypeError
    if isinstance(value, int) or math.isfinite(value):
        return Fraction(value)
    if math.isnan(value):
        raise ValueError
    return float(value)


def _decimal(value: object, scale: int) -> Exact:
    if isinstance(value, float | str) and not isinstance(value, bool):
        value = Decimal(str(value))  # 0.1 means a tenth here, not the double nearest to it
    exact = _number(value)
    return exact * 10**scale if isinstance(exact, Fraction) else exact


def _since_epoch(value: object, *, zoned: bool) -> Fraction:
    """Seconds; a time without a zone is UTC where the column has one."""
    if isinstance(value, str):
        if _FINER.search(value):
            raise ValueError
        value = datetime.fromisoformat(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime) or (value.tzinfo is not None and not zoned):
        raise TypeError
    naive = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo is not None else value
    return Fraction((naive - _EPOCH) // timedelta(microseconds=1), 10**6)


def _time_of_day(value: object) -> Fraction:
    """Seconds since midnight."""
    if isinstance(value, str):
        if _FINER.search(value):
            raise ValueError
        value = time.fromisoformat(value)
    if not isinstance(value, time) or value.tzinfo is not None:
        raise TypeError
    return Fraction(((value.hour * 60 + value.minute) * 60 + value.second) * 10**6 + value.microsecond, 10**6)
