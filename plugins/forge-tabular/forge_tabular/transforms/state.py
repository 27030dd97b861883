"""The state of a fitted transform: JSON that came back from a model's folder, read as what `fit` wrote."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from forge_core.faults import InvalidInput
from forge_core.records import JSON, ArrowStream
from forge_tabular.columns import Vector, table_of


def rows_of(data: ArrowStream) -> pa.Table:
    """The rows to fit on, of which there must be some."""
    table = table_of(data)
    if not len(table):
        raise InvalidInput("there are no rows to fit a transform on", "look at the data set's conditions and the split")
    return table


def names(state: Mapping[str, JSON], key: str) -> tuple[str, ...]:
    found = state.get(key)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise _wrong(key)
    return tuple(found)


def amounts(state: Mapping[str, JSON], key: str, shape: tuple[int, ...]) -> Vector:
    """Finite numbers in `shape`."""
    try:
        found = np.array(state.get(key), np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _wrong(key) from error
    if found.shape != shape or not np.isfinite(found).all():
        raise _wrong(key)
    return found


def finite(name: str, *values: float) -> None:
    """What was learned of a column can be written as JSON and divided by, or the column is `InvalidInput`."""
    if not np.isfinite(values).all():
        raise InvalidInput(f"column {name!r} has infinite values, or too large ones", "leave them out, or make them null")


def _wrong(key: str) -> InvalidInput:
    return InvalidInput(f"a transform's state has no {key!r} as its fit writes it", "publish the model again")
