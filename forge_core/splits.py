"""Which rows are learnt from and which are held out: by ratio, in folds, or in time. Deterministic for a seed."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen

from forge_core.faults import ConfigError, InvalidInput
from forge_core.records.models import ModelSpec, Training


@frozen
class Fold:
    """Row indices (int64) of one fold."""

    train: pa.Array
    test: pa.Array


def split(table: pa.Table, how: Training) -> tuple[pa.Table, pa.Table]:
    """(training part, held-out part). The last rows with `order_by` or in a split in time, else rows drawn by chance."""
    rows = table.num_rows
    cut = min(max(1, round(rows * how.split_ratio)), rows - 1)
    if how.order_by is not None:
        if how.order_by not in table.column_names:
            raise ConfigError(f"order_by names {how.order_by!r}, which the data does not have", f"columns: {', '.join(table.column_names)}")
        if table[how.order_by].null_count:
            raise InvalidInput(f"{how.order_by!r} is null in {table[how.order_by].null_count} rows", "order by a column that every row has")
        order = pc.sort_indices(table, sort_keys=[(how.order_by, "ascending")])
    elif how.validation_strategy == "time_series_split":
        order = _range(0, rows)
    else:
        order = _shuffled(rows, how.seed)
    return table.take(order[:cut]), table.take(order[cut:])


def folds(table: pa.Table, spec: ModelSpec) -> Sequence[Fold]:
    """Folds of the training part, in the order of its rows. None for `holdout`, unless a threshold is wanted: then the last rows, once."""
    how, rows = spec.training, table.num_rows
    if how.validation_strategy == "holdout":
        if not spec.evaluation.threshold_optimization:
            return ()
        cut = min(max(1, round(rows * how.split_ratio)), rows - 1)
        return (Fold(_range(0, cut), _range(cut, rows)),)
    if rows <= how.n_splits:
        raise InvalidInput(f"{rows} rows cannot be split {how.n_splits} times", "lower n_splits")
    if how.validation_strategy == "time_series_split":
        size = rows // (how.n_splits + 1)
        starts = range(rows - how.n_splits * size, rows, size)
        return tuple(Fold(_range(0, start), _range(start, start + size)) for start in starts)
    number = (
        _stratified(table[spec.target], how) if how.validation_strategy == "stratified_k_fold" else _dealt(_shuffled(rows, how.seed), how)
    )
    return tuple(Fold(_where(pc.not_equal(number, one)), _where(pc.equal(number, one))) for one in range(how.n_splits))


def _range(start: int, stop: int) -> pa.Array:
    return pa.array(range(start, stop), pa.int64())


def _shuffled(rows: int, seed: int) -> pa.Array:
    return pc.sort_indices(pc.random(rows, initializer=seed))


def _dealt(order: pa.Array, how: Training) -> pa.Array:
    """Each row's fold number, dealt round in this order."""
    place = pc.sort_indices(order)  # the inverse permutation
    return pc.subtract(place, pc.multiply(pc.divide(place, how.n_splits), how.n_splits))


def _stratified(target: pa.ChunkedArray, how: Training) -> pa.Array:
    """Dealt round after shuffling within each class, so that every fold has each class's share."""
    table = pa.table({"target": target, "chance": pc.random(len(target), initializer=how.seed)})
    return _dealt(pc.sort_indices(table, sort_keys=[("target", "ascending"), ("chance", "ascending")]), how)


def _where(mask: pa.Array) -> pa.Array:
    return pc.indices_nonzero(mask)
