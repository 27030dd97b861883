"""The target column: which task it makes, its classes, and its values as numbers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import field, frozen
from numpy.typing import NDArray
from pyarrow import types

from forge_core.faults import ConfigError, InvalidInput
from forge_core.records import JSON, TaskKind
from forge_tabular.columns import column_of, numbers

FEW = 20
"""Whole numbers with at most this many distinct values are labels, where no task is named."""
MANY = 1_000


@frozen
class Target:
    """`values` are codes into `classes` (int64) for classifiers, and numbers (float64) for regressions."""

    task: TaskKind
    classes: tuple[JSON, ...]
    values: NDArray[np.generic] = field(repr=False, eq=False)


def read_target(table: pa.Table, name: str, task: TaskKind | None) -> Target:
    """The target of `table`, whose task is inferred where none is named.

    Text, truth values and whole numbers with at most twenty distinct values are labels; other numbers are a regression.
    """
    if not name:
        raise ConfigError("the model has no target", "name it: datasets: [{target: COLUMN}]")
    column = plain(column_of(table, name))
    if not len(column):
        raise InvalidInput("there are no rows to train on", "look at the data set and its conditions")
    if column.null_count:
        raise InvalidInput(
            f"the target {name!r} is null in {column.null_count} of {len(column)} rows", f"leave them out: {name} is not null"
        )
    labels = sorted(pc.unique(column).to_pylist()) if task != "regression" and is_label(column.type, task) else []
    found = task or ("regression" if not labels or (types.is_integer(column.type) and len(labels) > FEW) else _kind(labels))
    if found == "regression":
        return Target(found, (), _amounts(column, name))
    _check_labels(labels, name, found, column.type)
    codes = pc.index_in(column, value_set=pa.array(labels, column.type)).to_numpy()
    return Target(found, tuple(labels), codes.astype(np.int64))


def _kind(labels: list[JSON]) -> TaskKind:
    return "binary" if len(labels) <= 2 else "multiclass"


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A dictionary-encoded column as what its dictionary is made of."""
    return column.cast(column.type.value_type) if types.is_dictionary(column.type) else column


def is_label(kind: pa.DataType, task: TaskKind | None) -> bool:
    """Whether values of this type can be classes; floating ones only where a classifier is asked for."""
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return text or types.is_boolean(kind) or types.is_integer(kind) or (types.is_floating(kind) and task is not None)


def _amounts(column: pa.ChunkedArray, name: str) -> NDArray[np.generic]:
    if types.is_boolean(column.type) or not (
        types.is_integer(column.type) or types.is_floating(column.type) or types.is_decimal(column.type)
    ):
        raise InvalidInput(
            f"the target {name!r} is {column.type}, and a regression needs numbers",
            "set the model's task: binary or multiclass, or choose another target",
        )
    values = numbers(column, name).astype(np.float64, copy=False)
    if not np.isfinite(values).all():
        raise InvalidInput(f"the target {name!r} has values that are not finite", "leave those rows out")
    return values


def _check_labels(labels: list[JSON], name: str, task: TaskKind, kind: pa.DataType) -> None:
    if not labels:
        raise InvalidInput(
            f"the target {name!r} is {kind}, and a classifier needs text, truth values or whole numbers", "choose another target"
        )
    if len(labels) < 2:
        raise InvalidInput(f"the target {name!r} is {labels[0]!r} in every row", "train on data that has both outcomes")
    if task == "binary" and len(labels) > 2:
        raise InvalidInput(
            f"the target {name!r} has {len(labels)} labels, and a binary model takes two", "set the model's task: multiclass"
        )
    if len(labels) > MANY:
        raise InvalidInput(
            f"the target {name!r} has {len(labels)} labels, more than {MANY}", "set the model's task: regression, or choose another target"
        )
    if any(isinstance(label, float) and not np.isfinite(label) for label in labels):
        raise InvalidInput(f"the target {name!r} has values that are not finite", "leave those rows out")
