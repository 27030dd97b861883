"""One row for each group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.compute as pc
from attrs import field, frozen, validators
from pyarrow import types

from forge_core.contracts import Transformation
from forge_core.faults import ConfigError, InvalidInput
from forge_core.records import JSON, ArrowStream
from forge_tabular.columns import column_of, is_number, table_of
from forge_tabular.target import plain

Function = Literal["sum", "mean", "std", "var", "min", "max", "count", "count_distinct"]
_ARROW: Mapping[str, tuple[str, Any]] = {
    "sum": ("sum", None),
    "mean": ("mean", None),
    "std": ("stddev", pc.VarianceOptions(ddof=1)),
    "var": ("variance", pc.VarianceOptions(ddof=1)),
    "min": ("min", None),
    "max": ("max", None),
    "count": ("count", None),
    "count_distinct": ("count_distinct", None),
}
_ARITHMETIC = frozenset({"sum", "mean", "std", "var"})


@frozen
class Aggregation:
    """`functions` over the values of `column` in a group."""

    column: str
    functions: tuple[Function, ...] = field(validator=validators.min_len(1))


class Aggregate(Transformation):
    """Columns `<column>_<function>` for each group of equal `group_by`, groups in the order in which they first appear.

    Nulls and NaN are left out; `std` and `var` are of a sample, and null for one value. Columns that are neither grouped by nor aggregated
    are dropped. The target is kept where it is constant in every group; where it is not, the data is refused.
    """

    by_row: ClassVar[bool] = False

    @frozen
    class Settings:
        """`target` is the column to predict; the stages set it."""

        group_by: tuple[str, ...] = field(validator=validators.min_len(1))
        aggregations: tuple[Aggregation, ...] = ()
        target: str | None = None

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        used = {*settings.group_by, *(one.column for one in settings.aggregations)}
        if settings.target in used:
            raise ConfigError(
                f"the target {settings.target!r} cannot be aggregated or grouped by", "a model would be given what it is to predict"
            )
        names = [
            *settings.group_by,
            *(f"{one.column}_{function}" for one in settings.aggregations for function in one.functions),
            settings.target,
        ]
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise ConfigError(f"the transform aggregate would make two columns {twice[0]!r}", "name each function of a column once")

    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        return {}

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        table = table_of(data)
        keys, target = self.settings.group_by, self.settings.target
        columns = {f"key_{number}": plain(column_of(table, name)) for number, name in enumerate(keys)}
        asked: list[tuple[str, str, Any]] = []
        made: dict[str, str] = {}  # the name in the result, by the one that Arrow gives
        for position, one in enumerate(self.settings.aggregations):
            for function in one.functions:
                columns[f"value_{position}_{function}"] = _values(column_of(table, one.column), one.column, function)
                asked.append((f"value_{position}_{function}", *_ARROW[function]))
                made[f"value_{position}_{function}_{_ARROW[function][0]}"] = f"{one.column}_{function}"
        if target is not None:
            columns["target"] = plain(column_of(table, target))
            asked += [
                ("target", "count_distinct", pc.CountOptions(mode="all")),
                ("target", "first", pc.ScalarAggregateOptions(skip_nulls=False)),
            ]
            made["target_first"] = target
        grouped = _grouped(pa.table(columns), len(keys), asked)
        if target is not None:
            _check_constant(grouped, keys, target)
        kept = grouped.select([*(f"key_{number}" for number in range(len(keys))), *made])
        return kept.rename_columns([*keys, *made.values()])  # type: ignore[no-any-return]


def _grouped(table: pa.Table, keys: int, asked: list[tuple[str, str, Any]]) -> pa.Table:
    by = table.group_by([f"key_{number}" for number in range(keys)], use_threads=False)  # one thread keeps the order of the groups
    try:
        return by.aggregate(asked)
    except pa.ArrowNotImplementedError as error:
        raise InvalidInput(
            f"a column cannot be aggregated so: {str(error).splitlines()[0]}", "count and count_distinct take every column"
        ) from error


def _values(column: pa.ChunkedArray, name: str, function: str) -> pa.ChunkedArray:
    column = plain(column)
    if types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    if function not in _ARITHMETIC:
        return column
    if not is_number(column.type):
        raise InvalidInput(
            f"column {name!r} is {column.type}, which has no {function}", "count, count_distinct, min and max take other columns"
        )
    if types.is_boolean(column.type) or types.is_null(column.type):
        return column.cast(pa.int64())
    return column.cast(pa.float64()) if types.is_decimal(column.type) and function != "sum" else column


def _check_constant(grouped: pa.Table, keys: tuple[str, ...], target: str) -> None:
    mixed = grouped.filter(pc.greater(grouped["target_count_distinct"], 1)).slice(0, 1)
    if len(mixed):
        where = ", ".join(f"{name} = {mixed[f'key_{number}'][0].as_py()!r}" for number, name in enumerate(keys))
        raise InvalidInput(
            f"the target {target!r} is not constant where {where}", "group by columns that decide it, or predict another column"
        )
