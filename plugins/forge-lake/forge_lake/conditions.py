"""Conditions of a `Query` as expressions that Arrow pushes down into the scan.

A null meets no condition but `is_null`. Whole numbers, decimals, dates and times are compared exactly, whatever the
column's type can hold: `x < 2.5` over whole numbers is `x <= 2`.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence, Set
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from forge_core.faults import InvalidInput
from forge_core.records.data import Condition
from forge_lake.names import hint
from forge_lake.ordinals import Exact, Ordinal, ordinal

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_LARGE = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
_NEVER = pc.scalar(False)


class _Unfit(Exception):
    """What a condition gives does not suit its column; carries what would."""


def expression(conditions: Sequence[Condition], schema: pa.Schema, views: Set[str] = frozenset()) -> pc.Expression | None:
    """All conditions together; None where there are none. `InvalidInput` names the column whose condition does not fit.

    Columns in `views` are compared out of reach of the files' statistics.
    """
    return reduce(operator.and_, [_bound(condition, schema, views) for condition in conditions]) if conditions else None


def column_of(name: str, schema: pa.Schema) -> pa.Field:
    """`InvalidInput` naming the nearest column where there is none of that name."""
    if name not in schema.names:
        raise InvalidInput(f"there is no column {name!r}", hint(name, schema.names, f"the columns are {', '.join(schema.names)}"))
    return schema.field(name)


def _bound(condition: Condition, schema: pa.Schema, views: Set[str]) -> pc.Expression:
    column = column_of(condition.column, schema)
    field, kind = pc.field(column.name), column.type
    if pa.types.is_dictionary(kind):  # Arrow's pruning loses rows where a row group is all null
        kind = kind.value_type
        field = field.cast(kind)
    elif column.name in views:
        kind = _LARGE[kind]
        field = field.cast(kind)
    try:
        made = _expression(condition, field, kind)
        schema.empty_table().filter(made)  # Arrow says here what it cannot compare
    except _Unfit as error:
        given = "null" if condition.value is None else f"{condition.value!r:.60}"
        raise InvalidInput(
            f"{column.name} {condition.operator} {given} does not suit a column of type {column.type}", f"give {error}"
        ) from None
    except pa.ArrowException:
        raise InvalidInput(f"column {column.name!r} of type {column.type} cannot be compared", "use is_null or not_null") from None
    return made


def _expression(condition: Condition, field: pc.Expression, kind: pa.DataType) -> pc.Expression:
    value = condition.value
    match condition.operator:
        case "is_null":
            return field.is_null()
        case "not_null":
            return field.is_valid()
        case "in" | "not_in":
            if not isinstance(value, list | tuple | set | frozenset):
                raise _Unfit("a list of values, as in (1, 2)")
            among = _among(field, kind, list(value))
            return among if condition.operator == "in" else ~among & field.is_valid()
        case "==" | "!=" | "<" | "<=" | ">" | ">=":
            return _comparison(field, kind, condition.operator, value)
        case _:
            raise _Unfit("one of the operators == != < <= > >= in not_in is_null not_null")


def _comparison(field: pc.Expression, kind: pa.DataType, sign: str, value: object) -> pc.Expression:
    if sign == "==":
        members = _members(kind, [value])
        return field == members[0] if len(members) else _NEVER
    if sign == "!=":  # not `field != value`: Arrow's pruning by statistics forgets NaN there
        return ~_among(field, kind, [value]) & field.is_valid()
    if (units := ordinal(kind)) is not None:
        return _ordered(field, units, sign, _units(units, value))
    return _COMPARE[sign](field, pa.scalar(_plain(kind, value), _compared_as(kind)))


def _among(field: pc.Expression, kind: pa.DataType, values: Sequence[object]) -> pc.Expression:
    """True or false, never null."""
    members = _members(kind, values)
    return (field if members.type == kind else field.cast(members.type)).isin(members) if len(members) else _NEVER


def _members(kind: pa.DataType, values: Sequence[object]) -> pa.Array:
    """Those of the values that the column can hold exactly."""
    if (units := ordinal(kind)) is not None:
        exact = [_units(units, value) for value in values]
        return pa.array([units.scalar(int(one)) for one in exact if units.holds(one)], kind)
    plain = [_plain(kind, value) for value in values]
    if pa.types.is_floating(kind):
        plain += [-value for value in plain if value == 0]  # Arrow's sets tell -0.0 from 0.0
    return pa.array(plain, _compared_as(kind))


def _ordered(field: pc.Expression, units: Ordinal, sign: str, value: Exact) -> pc.Expression:
    if isinstance(value, float):  # an infinity
        return field.is_valid() if (value > 0) == (sign in {"<", "<="}) else _NEVER
    if sign in {"<", "<="}:
        most = math.ceil(value) - 1 if sign == "<" else math.floor(value)
        return _NEVER if most < units.low else field.is_valid() if most >= units.high else field <= units.scalar(most)
    least = math.floor(value) + 1 if sign == ">" else math.ceil(value)
    return _NEVER if least > units.high else field.is_valid() if least <= units.low else field >= units.scalar(least)


def _compared_as(kind: pa.DataType) -> pa.DataType:
    return pa.float64() if pa.types.is_floating(kind) else kind


def _units(units: Ordinal, value: object) -> Exact:
    try:
        return units.of(value)
    except (TypeError, ValueError, ArithmeticError):
        raise _Unfit(units.wanted) from None


def _double(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all doubles
        return math.inf if value > 0 else -math.inf


def _plain(kind: pa.DataType, value: object) -> Any:
    """The value as Python has it, where it is of the column's own sort."""
    if pa.types.is_floating(kind):
        if isinstance(value, int | float) and not isinstance(value, bool) and not (isinstance(value, float) and math.isnan(value)):
            return _double(value)
        raise _Unfit("a number")
    if pa.types.is_boolean(kind):
        fits, wanted = isinstance(value, bool), "true or false"
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        fits, wanted = isinstance(value, str), "a text, in quotes"
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        fits, wanted = isinstance(value, bytes), "bytes"
    else:
        fits, wanted = False, "no value, and the operator is_null or not_null"
    if not fits:
        raise _Unfit(wanted)
    return value
