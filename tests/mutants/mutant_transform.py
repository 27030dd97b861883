"""Wrong transforms: those that learn on apply, lose rows or columns, or keep a state of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from forge_core.records import JSON, ArrowStream
from forge_tabular.columns import table_of
from forge_tabular.transforms.aggregate import Aggregate
from forge_tabular.transforms.date_parts import DateParts
from forge_tabular.transforms.one_hot import OneHot
from forge_tabular.transforms.pca import PCA
from forge_tabular.transforms.standard_scaler import StandardScaler
from forge_tabular.transforms.window import Window


class LearnsOnApply(StandardScaler):
    """Means and deviations are those of the rows that are transformed."""

    suite: ClassVar[str] = "forge_tabular.testing:TestStandardScaler"

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        table = table_of(data)
        return super().apply(table, self.fit(table) if len(table) else state)


class StateOfArrays(StandardScaler):
    """The state holds numpy arrays, which no JSON can keep."""

    suite: ClassVar[str] = "forge_tabular.testing:TestStandardScaler"

    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        state = super().fit(data)
        return {**state, "mean": np.array(state["mean"]), "scale": np.array(state["scale"])}


class SortedByCategory(OneHot):
    """Rows come back in the order of their categories, as a join leaves them."""

    suite: ClassVar[str] = "forge_tabular.testing:TestOneHot"

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        return super().apply(table_of(data).sort_by([(name, "ascending") for name in self.settings.columns]), state)


class OthersDropped(PCA):
    """Columns that are not transformed are not passed on."""

    suite: ClassVar[str] = "forge_tabular.testing:TestPca"

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        made = table_of(super().apply(data, state))
        kept: ArrowStream = made.select([name for name in made.column_names if name.startswith(self.settings.prefix)])
        return kept


class StateOfItsOwn(OneHot):
    """What this instance has learned goes before the state that it is given."""

    suite: ClassVar[str] = "forge_tabular.testing:TestOneHot"

    _learned: Mapping[str, JSON] | None = None

    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        self._learned = super().fit(data)
        return self._learned

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        return super().apply(data, self._learned if self._learned is not None else state)


class NullsDropped(DateParts):
    """Rows whose time is null are left out."""

    suite: ClassVar[str] = "forge_tabular.testing:TestDateParts"

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        table = table_of(data)
        for name in self.settings.columns:
            if name in table.column_names:
                table = table.filter(table.column(name).is_valid())
        return super().apply(table, state)


class CountsWhatItSaw(Aggregate):
    """A transform that is not by row keeps a state."""

    suite: ClassVar[str] = "forge_tabular.testing:TestAggregate"

    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        return {**super().fit(data), "rows": len(table_of(data))}


class RowsKept(Window):
    """Rows of earlier calls are taken for the past of those that follow."""

    suite: ClassVar[str] = "forge_tabular.testing:TestWindow"

    _seen: Any = None

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        table = table_of(data)
        before = self._seen
        self._seen = table
        if before is None or before.schema != table.schema:
            return super().apply(table, state)
        made: ArrowStream = table_of(super().apply(pa.concat_tables([before, table]), state)).slice(len(before))
        return made
