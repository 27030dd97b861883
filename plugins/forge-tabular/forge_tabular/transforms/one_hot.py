"""A column of categories replaced by a column for each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from attrs import field, frozen, validators
from pyarrow import types

from forge_core.contracts import Transformation
from forge_core.faults import InvalidInput
from forge_core.records import JSON, ArrowStream
from forge_tabular.columns import added, column_of, table_of
from forge_tabular.target import plain
from forge_tabular.transforms import state as states


class OneHot(Transformation):
    """`carrier` becomes `carrier_AA`, `carrier_UA`, ...: 1 where the row has that category, else 0, as uint8.

    Categories are those of the training part: the `max_categories` most frequent ones (of equally frequent ones the first by
    name), in sorted order, so that the order of the columns does not depend on that of the rows. Text, whole numbers and
    truth values are categories.
    """

    @frozen
    class Settings:
        """`unknown`: a category that was not learned is all zeros, or has a column `<column>_other`.

        `nulls`: a null is all zeros, or has a column `<column>_null`.
        """

        columns: tuple[str, ...] = field(validator=validators.min_len(1))
        max_categories: int = field(default=100, validator=validators.ge(1))
        unknown: Literal["zeros", "other"] = "zeros"
        nulls: Literal["zeros", "column"] = "zeros"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        table = states.rows_of(data)
        learned = {name: self._categories(table, name) for name in self.settings.columns}
        made = Counter(column for name, categories in learned.items() for column in self._made(name, categories))
        if twice := [name for name, count in made.items() if count > 1]:
            raise InvalidInput(f"two categories would both be the column {twice[0]!r}", "rename a category or a column")
        return {"categories": learned}

    def _categories(self, table: pa.Table, name: str) -> list[JSON]:
        column = _categorical(column_of(table, name), name)
        counted = [(entry["values"].as_py(), entry["counts"].as_py()) for entry in pc.value_counts(column.drop_null())]
        frequent = sorted(counted, key=lambda pair: (-pair[1], pair[0]))[: self.settings.max_categories]
        return sorted(category for category, _ in frequent)

    def _made(self, name: str, categories: list[JSON]) -> list[str]:
        """The names of the columns that come from one."""
        plain_ones = [f"{name}_{str(category).lower() if isinstance(category, bool) else category}" for category in categories]
        other = [f"{name}_other"] if self.settings.unknown == "other" else []
        null = [f"{name}_null"] if self.settings.nulls == "column" else []
        return [*plain_ones, *other, *null]

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        table = table_of(data)
        learned = state.get("categories")
        made: dict[str, pa.Array] = {}
        for name in self.settings.columns:
            categories = learned.get(name) if isinstance(learned, Mapping) else None
            if not isinstance(categories, list):
                raise InvalidInput(f"the transform one_hot has not learned {name!r}", "train the model again")
            made.update(self._indicators(column_of(table, name), name, categories))
        return added(table.drop_columns(list(self.settings.columns)), made)  # type: ignore[no-any-return]

    def _indicators(self, column: pa.ChunkedArray, name: str, categories: list[JSON]) -> dict[str, pa.Array]:
        null = column.is_null().to_numpy()
        codes = _codes(_categorical(column, name), name, categories)
        names = self._made(name, categories)
        ones = np.zeros((len(names), len(column)), np.uint8)
        known = np.flatnonzero(codes >= 0)
        ones[codes[known], known] = 1
        if self.settings.unknown == "other":
            ones[len(categories)] = (codes < 0) & ~null
        if self.settings.nulls == "column":
            ones[-1] = null
        return {made: pa.array(row) for made, row in zip(names, ones, strict=True)}


def _categorical(column: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    column = plain(column)
    kind = column.type
    if (
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_string_view(kind)
        or types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_null(kind)
    ):
        return column
    remedy = "date_parts takes times apart" if types.is_temporal(kind) else "categories are text, whole numbers or truth values"
    raise InvalidInput(f"column {name!r} is {kind}, which has no categories", remedy)


def _codes(column: pa.ChunkedArray, name: str, categories: list[JSON]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """The place of each value among the categories, -1 where it has none."""
    if not categories or types.is_null(column.type):
        return np.full(len(column), -1, np.int32)
    known = pa.array(categories)
    try:
        found = pc.index_in(column.cast(known.type), value_set=known)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InvalidInput(
            f"column {name!r} is {column.type}, and its categories are {known.type}", "give it the type that it had in training"
        ) from error
    return np.asarray(found.fill_null(-1).to_numpy(), np.int32)
