"""What is read: columns, conditions, queries, and data that can be read again and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias

from attrs import field, frozen

JSON: TypeAlias = Any  # made of None, bool, int, float, str, lists and string-keyed mappings; checked where it enters
Operator: TypeAlias = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not_in", "is_null", "not_null"]
Mask: TypeAlias = Literal["null", "hash"]


class ArrowStream(Protocol):
    """Anything that speaks Arrow's C stream interface: pyarrow, polars, duckdb."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


@frozen
class Column:
    """`type` is Arrow's own text, as in `timestamp[us, tz=UTC]`."""

    name: str
    type: str
    nullable: bool = True


@frozen
class Condition:
    column: str
    operator: Operator
    value: JSON = None


@frozen
class Query:
    """What to read. All conditions of `where` are met; a column in `masked` may not stand in `where`.

    A comparison with null is not met, one with NaN follows IEEE 754. `sample` is a share of the rows that meet `where`, the same ones
    for the same `seed`; `order_by` is ascending, nulls last. `masked` maps a column to "null" or "hash" (a keyed hash); a connector
    applies it inside the scan.
    """

    dataset: str
    version: str = "latest"
    columns: tuple[str, ...] | None = None
    where: tuple[Condition, ...] = ()
    sample: float | None = None
    seed: int = 0
    order_by: tuple[str, ...] = ()
    masked: Mapping[str, Mask] = field(factory=dict)


@frozen
class DatasetVersion:
    dataset: str
    version: str
    digest: str
    rows: int | None = None


@frozen
class TrainingData:
    """Arrow that can be read again: every `__arrow_c_stream__` opens a new pass over the same version.

    `open` gives a pass; where that is a `pyarrow.RecordBatchReader`, an error in the middle of it keeps its type.
    """

    version: DatasetVersion
    query: Query
    columns: tuple[Column, ...]
    open: Callable[[], ArrowStream] = field(repr=False, eq=False)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.open().__arrow_c_stream__(requested_schema)


@frozen
class Transaction:
    """An application's id and sequence number; writing the same one again changes nothing."""

    application: str
    sequence: int


@frozen
class DatasetSpec:
    """A data set as forge.yaml lists it. `path` is relative to the connector's root, or an fsspec URL."""

    name: str
    path: str = ""
    connector: str = "lake"
    format: str = "parquet"
    version: str = "latest"
    partitions: tuple[str, ...] = ()
    target: str | None = None
