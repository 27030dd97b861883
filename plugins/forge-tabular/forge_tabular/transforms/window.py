"""What came before: lags and rolling figures within a group, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import define, field, frozen, validators
from numpy.typing import NDArray

from forge_core.contracts import Transformation
from forge_core.faults import ConfigError, InvalidInput
from forge_core.records import JSON, ArrowStream
from forge_tabular.columns import Vector, added, column_of, table_of, vector
from forge_tabular.target import plain

Indices: TypeAlias = NDArray[np.int64]


@frozen
class Feature:
    """One column to add: `function` over the `size` rows before (for `lag`: the value `size` rows before).

    It is called `<column>_<function>_<size>` where it has no name.
    """

    column: str
    function: Literal["lag", "rolling_mean", "rolling_sum", "rolling_min", "rolling_max", "rolling_count", "rolling_std"]
    size: int = field(default=1, validator=[validators.ge(1), validators.le(10_000)])
    name: str | None = None

    @property
    def title(self) -> str:
        return self.name or f"{self.column}_{self.function}_{self.size}"


class Window(Transformation):
    """Adds columns made of rows strictly before the current one: of its group, and with a smaller value of `order_by`.

    Rows of the same moment do not see one another, so nothing of what they tell leaks. Rows keep their order. Null where no row is
    that far back; nulls and NaN within a window are left out (`rolling_count` counts the others, 0 where there is none), and
    `rolling_std` is of a sample, null below two values. A target may be read: it is then known for the rows before.
    """

    by_row: ClassVar[bool] = False

    @frozen
    class Settings:
        """`partition_by` are the columns that make a group, `order_by` the one that puts it in order."""

        order_by: str
        windows: tuple[Feature, ...] = field(validator=validators.min_len(1))
        partition_by: tuple[str, ...] = ()

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        titles = [feature.title for feature in settings.windows]
        if len(set(titles)) < len(titles):
            raise ConfigError("two windows have one name", "give one of them a name")

    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        return {}

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        table = table_of(data)
        past = _Past.of(table, self.settings.partition_by, self.settings.order_by)
        made: dict[str, pa.Array] = {}
        for feature in self.settings.windows:
            if feature.function == "lag":
                made[feature.title] = plain(column_of(table, feature.column)).take(past.lag(feature.size))
            else:
                made[feature.title] = past.rolling(vector(table, feature.column), feature)
        return added(table, made, ConfigError)  # type: ignore[no-any-return]


@define
class _Past:
    """The rows in order: `order` is their place in the table, `start` where the group of each begins, `now` where its moment does."""

    order: Indices
    start: Indices
    now: Indices

    @classmethod
    def of(cls, table: pa.Table, partition_by: tuple[str, ...], order_by: str) -> _Past:
        moments = column_of(table, order_by)
        if moments.null_count:
            raise InvalidInput(
                f"column {order_by!r} is null in {moments.null_count} rows, which have no place in the order", "leave them out"
            )
        try:
            ranks = pc.rank(plain(moments).combine_chunks(), tiebreaker="dense").to_numpy().astype(np.int64)
        except pa.ArrowNotImplementedError as error:
            raise InvalidInput(f"column {order_by!r} is {moments.type}, which has no order", "order by a time or a number") from error
        groups = np.zeros(len(table), np.int64)
        for name in partition_by:
            groups = groups * (len(table) + 1) + _codes(column_of(table, name), name)
            groups = np.unique(groups, return_inverse=True)[1]  # small again, before the next column
        order = np.lexsort((ranks, groups))
        groups, ranks = groups[order], ranks[order]
        begins = np.append(True, groups[1:] != groups[:-1])[: len(order)]
        moves = begins | np.append(True, ranks[1:] != ranks[:-1])[: len(order)]
        return cls(order, _latest(begins), _latest(moves))

    def back(self, steps: int) -> tuple[Indices, NDArray[np.bool_]]:
        """For each row in order, the one `steps` before its moment (any where there is none), and whether there is one."""
        found = self.now - steps
        return np.maximum(found, 0), found >= self.start

    def lag(self, steps: int) -> pa.Array:
        """For each row of the table, the index of the row `steps` before, or null."""
        found, there = self.back(steps)
        source = np.empty(len(self.order), np.int64)
        source[self.order] = np.where(there, self.order[found], -1)
        return pa.array(source, mask=source < 0)

    def rolling(self, values: Vector, feature: Feature) -> pa.Array:
        ordered = values[self.order]
        made = np.empty(len(ordered))
        made[self.order] = self._figure(ordered, feature)
        return (
            pa.array(made, from_pandas=True).cast(pa.int64()) if feature.function == "rolling_count" else pa.array(made, from_pandas=True)
        )

    def _figure(self, values: Vector, feature: Feature) -> Vector:
        """By passes over whole columns, one for each step back: sums of what is there, never differences of running sums."""
        count, total = np.zeros(len(values)), np.zeros(len(values))
        low, high = np.full(len(values), np.inf), np.full(len(values), -np.inf)
        for value in self._steps(values, feature.size):
            known = ~np.isnan(value)
            count += known
            total += np.where(known, value, 0.0)
            low, high = np.fmin(low, value), np.fmax(high, value)
        if feature.function == "rolling_count":
            return count
        mean = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
        if feature.function == "rolling_std":
            return self._deviation(values, feature.size, mean, count)
        figure = {"rolling_mean": mean, "rolling_sum": total, "rolling_min": low, "rolling_max": high}[feature.function]
        return np.where(count > 0, figure, np.nan)

    def _deviation(self, values: Vector, size: int, mean: Vector, count: Vector) -> Vector:
        squares = np.zeros(len(values))
        for value in self._steps(values, size):
            squares += np.where(np.isnan(value), 0.0, (value - mean) ** 2)
        variance = np.divide(squares, count - 1, out=np.full(len(values), np.nan), where=count > 1)
        return np.asarray(np.sqrt(variance), np.float64)

    def _steps(self, values: Vector, size: int) -> Iterator[Vector]:
        """The values one step back, two steps back, ... of every row; NaN where there is none."""
        for steps in range(1, size + 1):
            found, there = self.back(steps)
            if not there.any():
                return
            yield np.where(there, values[found], np.nan)


def _latest(flags: NDArray[np.bool_]) -> Indices:
    """For each place, the last one up to it that is flagged."""
    return np.maximum.accumulate(np.where(flags, np.arange(len(flags)), 0)) if len(flags) else np.zeros(0, np.int64)


def _codes(column: pa.ChunkedArray, name: str) -> Indices:
    """Equal values as equal numbers; nulls are a value of their own."""
    try:
        encoded = plain(column).combine_chunks().dictionary_encode(null_encoding="encode")
    except pa.ArrowNotImplementedError as error:
        raise InvalidInput(
            f"column {name!r} is {column.type}, by which rows cannot be grouped", "group by text, numbers or times"
        ) from error
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)
