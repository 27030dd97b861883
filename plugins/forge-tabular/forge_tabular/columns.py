"""Columns of an Arrow table: found by name with a nearest one in the error, and turned into numpy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from forge_core.faults import ForgeError, InvalidInput
from forge_core.records import ArrowStream

Matrix: TypeAlias = NDArray[np.floating]
Vector: TypeAlias = NDArray[np.float64]
_PLAIN = frozenset(
    kind().id
    for kind in (pa.int8, pa.int16, pa.int32, pa.int64, pa.uint8, pa.uint16, pa.uint32, pa.uint64, pa.float16, pa.float32, pa.float64)
)


def table_of(data: ArrowStream) -> pa.Table:
    """All rows of a stream; a table stays what it is."""
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    return pa.table(data)


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy: the known name that was probably meant, or all of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1) or [one for one in names if name and one.startswith(name)]
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"did you mean {near[0]!r}?" if near else f"known here: {shown or 'none'}"


def column_of(table: pa.Table, name: str) -> pa.ChunkedArray:
    """A column by name; one that is missing, or there twice, is `InvalidInput`."""
    found = table.schema.get_field_index(name)
    if found < 0:
        there = name in table.column_names
        raise InvalidInput(
            f"column {name!r} is {'there more than once' if there else 'missing'}", nearest(name, set(table.column_names) - {name})
        )
    return table.column(found)


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type counts as a feature without any transform: numbers, truth values, or nothing but nulls."""
    return bool(
        types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind) or types.is_null(kind)
    )


def number_columns(table: pa.Table) -> tuple[str, ...]:
    """The columns of numbers, truth values left out: what a scaler or a PCA takes where nobody names columns."""
    return tuple(field.name for field in table.schema if is_number(field.type) and not types.is_boolean(field.type))


def numbers(column: pa.ChunkedArray, name: str) -> NDArray[np.generic]:
    """The column's values, NaN where it is null; not numeric is `InvalidInput` that proposes a transform."""
    kind = column.type
    if kind.id in _PLAIN:
        return column.to_numpy()  # type: ignore[no-any-return]
    if types.is_boolean(kind):
        return column.cast(pa.uint8()).to_numpy()  # type: ignore[no-any-return]
    if types.is_decimal(kind):
        return column.cast(pa.float64()).to_numpy()  # type: ignore[no-any-return]
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    raise InvalidInput(f"column {name!r} is not numeric but {kind}", _proposal(kind, name))


def _proposal(kind: pa.DataType, name: str) -> str:
    if types.is_temporal(kind):
        return f"add a transform {{type: date_parts, config: {{columns: [{name}]}}}}, or leave the column out"
    if types.is_nested(kind):
        return "leave the column out"
    return f"add a transform {{type: one_hot, config: {{columns: [{name}]}}}}, or leave the column out"


def vector(table: pa.Table, name: str) -> Vector:
    """One numeric column as float64, NaN where it is null."""
    return numbers(column_of(table, name), name).astype(np.float64, copy=False)


def matrix(table: pa.Table, features: Sequence[str], dtype: type[np.floating], *, nulls: bool = True) -> Matrix:
    """Rows by features in C order, filled in one copy; nulls are NaN, or `InvalidInput` where the model takes none."""
    made = np.empty((len(table), len(features)), dtype)
    for position, name in enumerate(features):
        made[:, position] = numbers(column_of(table, name), name)
    unfit = np.isinf(made) if nulls else ~np.isfinite(made)
    if unfit.any():
        _refuse(made, features, unfit)
    return made


def _refuse(made: Matrix, features: Sequence[str], unfit: NDArray[np.bool_]) -> None:
    position = int(np.argmax(unfit.any(axis=0)))
    values = made[unfit[:, position], position]
    if np.isnan(values).any():
        raise InvalidInput(
            f"column {features[position]!r} has nulls, which this model cannot take",
            "fill them, or choose a model that can: forests and boosted trees",
        )
    raise InvalidInput(
        f"column {features[position]!r} has infinite values, or too large ones for {made.dtype}", "leave them out, or make them null"
    )


def replaced(table: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    """The table with these columns in the place of those of the same name, and the others added at its end."""
    fields = {name: position for position, name in enumerate(table.column_names)}
    for name, values in columns.items():
        table = table.set_column(fields[name], name, values) if name in fields else table.append_column(name, values)
    return table


def added(table: pa.Table, columns: dict[str, pa.Array], error: type[ForgeError] = InvalidInput) -> pa.Table:
    """The table with new columns at its end; a name that is taken is an error."""
    taken = [name for name in columns if name in set(table.column_names)]
    if taken:
        raise error(f"column {taken[0]!r} is there already", "rename it, or choose another name for the transform's column")
    return pa.Table.from_arrays([*table.columns, *columns.values()], [*table.column_names, *columns])
