"""Conditions of a query, with the meaning that they have in Python. A null meets no condition but `is_null`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from forge_core.faults import InvalidInput
from forge_core.records import JSON, Condition

_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda value, meant: value in meant,
    "not_in": lambda value, meant: value not in meant,
}


def kept(batch: pa.RecordBatch, conditions: Sequence[Condition]) -> pa.RecordBatch:
    """The rows that meet all conditions, which `check` has seen before."""
    for condition in conditions:
        batch = batch.filter(_mask(batch.column(condition.column), condition))
    return batch


def check(condition: Condition, column: pa.Field) -> None:
    """`InvalidInput` where the operator is none, or its value does not suit the column."""
    try:
        _meaning(condition, column.type)
    except (TypeError, ValueError, ArithmeticError):
        raise InvalidInput(
            f"{column.name} {condition.operator} {condition.value!r:.60} does not suit a column of type {column.type}",
            f"give a value of that type to one of {', '.join(_TESTS)}, is_null, not_null",
        ) from None


def _mask(column: pa.Array, condition: Condition) -> pa.Array:
    """Each distinct value is asked once; a null stays null, which chooses no row."""
    if condition.operator == "is_null":
        return pc.is_null(column)
    if condition.operator == "not_null":
        return pc.is_valid(column)
    meant, test = _meaning(condition, column.type), _TESTS[condition.operator]
    encoded = pc.dictionary_encode(column)
    return pa.array([test(value, meant) for value in encoded.dictionary.to_pylist()], pa.bool_()).take(encoded.indices)


def _meaning(condition: Condition, kind: pa.DataType) -> Any:
    if condition.operator in ("is_null", "not_null"):
        return None
    if condition.operator not in _TESTS:
        raise ValueError(condition.operator)
    if condition.operator not in ("in", "not_in"):
        return _value(condition.value, kind)
    if not isinstance(condition.value, list | tuple):
        raise TypeError("one value, not a list of them")
    return [_value(one, kind) for one in condition.value]


def _value(value: JSON, kind: pa.DataType) -> Any:
    """What a value of JSON means beside values of this type, as `to_pylist` gives them."""
    if pa.types.is_boolean(kind) and isinstance(value, bool):
        return value
    if (pa.types.is_string(kind) or pa.types.is_large_string(kind)) and isinstance(value, str):
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return value
        if pa.types.is_decimal(kind):
            return Decimal(str(value))
    if pa.types.is_date(kind) and isinstance(value, str):
        return date.fromisoformat(value)
    if pa.types.is_timestamp(kind) and kind.unit != "ns" and isinstance(value, str):
        return _moment(value, kind)
    raise TypeError("a value of another type")


def _moment(value: str, kind: pa.DataType) -> datetime:
    """Text without a zone is UTC where the column has one, and text with a zone suits no column without."""
    moment = datetime.fromisoformat(value)
    if kind.tz is None and moment.tzinfo is not None:
        raise ValueError("the column has no zone")
    return moment.replace(tzinfo=UTC) if kind.tz is not None and moment.tzinfo is None else moment
