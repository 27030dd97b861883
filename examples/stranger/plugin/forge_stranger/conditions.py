"""Conditions of a query as one Arrow expression. A null meets no condition but `is_null`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from forge_core.faults import InvalidInput
from forge_core.records import JSON, Condition

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def expression(conditions: Sequence[Condition], schema: pa.Schema) -> pc.Expression:
    """All conditions together; at least one. `InvalidInput` names the column that a value does not suit."""
    return reduce(operator.and_, [_bound(condition, schema.field(condition.column)) for condition in conditions])


def _bound(condition: Condition, column: pa.Field) -> pc.Expression:
    try:
        made = _expression(condition, column)
        pa.schema([column]).empty_table().filter(made)  # Arrow says here what it cannot compare
    except (pa.ArrowException, TypeError):
        raise InvalidInput(
            f"{column.name} {condition.operator} {condition.value!r:.60} does not suit a column of type {column.type}",
            "give a value of that type",
        ) from None
    return made


def _expression(condition: Condition, column: pa.Field) -> pc.Expression:
    field = pc.field(column.name)
    if condition.operator == "is_null":
        return field.is_null()
    if condition.operator == "not_null":
        return field.is_valid()
    if condition.operator in ("in", "not_in"):
        found = field.isin(pa.array([_scalar(value, column.type).as_py() for value in condition.value], column.type))
        return field.is_valid() & (found if condition.operator == "in" else ~found)
    return COMPARISONS[condition.operator](field, _scalar(condition.value, column.type))


def _scalar(value: JSON, kind: pa.DataType) -> pa.Scalar:
    """Times are written as text; a number keeps its own type, so that `x < 2.5` is right for whole numbers too."""
    if value is None:
        raise TypeError("null is asked for by is_null")
    return pa.scalar(value).cast(kind) if pa.types.is_temporal(kind) else pa.scalar(value)
