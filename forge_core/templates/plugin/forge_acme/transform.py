"""`transform: acme`: nulls of numeric columns become the mean of the training part."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen
from forge_core.contracts import Transformation
from forge_core.faults import InvalidInput
from forge_core.records import JSON, ArrowStream


class AcmeTransform(Transformation):
    """The columns that it fills are `double` afterwards, whether a null was in them or not."""

    @frozen
    class Settings:
        """`columns` to fill; all numeric ones where none is named."""

        columns: tuple[str, ...] = ()

    def __init__(self, settings: Settings) -> None:
        self._columns = settings.columns

    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        """`means` by column. A column without any finite number is left out, or refused where it is named."""
        table = pa.table(data)
        means: dict[str, float] = {}
        for name in self._columns or [field.name for field in table.schema if _is_number(field.type)]:
            mean = pc.mean(_finite(_column(table, name))).as_py()
            if mean is not None and math.isfinite(mean):
                means[name] = mean
            elif self._columns:
                raise InvalidInput(f"the column {name!r} has no number to take a mean of", "take it out of columns")
        return {"means": means}

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        table = pa.table(data)
        for name, mean in _means(state).items():
            filled = pc.fill_null(_column(table, name), pa.scalar(mean, pa.float64()))
            table = table.set_column(table.schema.get_field_index(name), pa.field(name, pa.float64()), filled)
        done: ArrowStream = table
        return done


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _column(table: pa.Table, name: str) -> pa.ChunkedArray:
    """As `double`. A name that is missing or stands there twice has no index."""
    index = table.schema.get_field_index(name)
    if index < 0:
        raise InvalidInput(f"the column {name!r} is missing", f"columns: {', '.join(table.column_names)}")
    kind = table.schema.field(index).type
    if not _is_number(kind):
        raise InvalidInput(f"the column {name!r} is {kind}, no number", "take it out of columns")
    return table.column(index).cast(pa.float64(), safe=False)


def _finite(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.if_else(pc.is_finite(column), column, pa.scalar(None, pa.float64()))


def _means(state: Mapping[str, JSON]) -> Mapping[str, float]:
    means = state.get("means")
    if not isinstance(means, Mapping) or not all(type(one) is float and math.isfinite(one) for one in means.values()):
        raise InvalidInput("the state is not one of this transform", "train the model again")
    return means
