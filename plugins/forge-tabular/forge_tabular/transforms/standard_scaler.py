"""Columns brought to mean 0 and standard deviation 1."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from attrs import frozen

from forge_core.contracts import Transformation
from forge_core.records import JSON, ArrowStream
from forge_tabular.columns import number_columns, replaced, table_of, vector
from forge_tabular.transforms import state as states


class StandardScaler(Transformation):
    """Replaces each column by (value - mean) / standard deviation, as float64.

    Nulls (and NaN) are left out of the fit and stay null; a constant column becomes 0. The deviation is that of the population.
    """

    @frozen
    class Settings:
        """`columns` are all columns of numbers, truth values left out, where none are named."""

        columns: tuple[str, ...] | None = None
        with_mean: bool = True
        with_std: bool = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        table = states.rows_of(data)
        columns = self.settings.columns or number_columns(table)
        means, scales = zip(*(self._moments(table, name) for name in columns), strict=True) if columns else ((), ())
        return {"columns": list(columns), "mean": list(means), "scale": list(scales)}

    def _moments(self, table: pa.Table, name: str) -> tuple[float, float]:
        values = vector(table, name)
        values = values[~np.isnan(values)]
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean()) if values.size else 0.0
            deviation = float(values.std()) if values.size else 0.0
        states.finite(name, mean, deviation)
        constant = deviation <= 10 * np.finfo(np.float64).eps * abs(mean)  # what rounding alone makes of equal values
        return mean if self.settings.with_mean else 0.0, deviation if self.settings.with_std and not constant else 1.0

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        table = table_of(data)
        columns = states.names(state, "columns")
        means, scales = (states.amounts(state, key, (len(columns),)) for key in ("mean", "scale"))
        made = {
            name: pa.array((vector(table, name) - mean) / scale, pa.float64(), from_pandas=True)
            for name, mean, scale in zip(columns, means, scales, strict=True)
        }
        return replaced(table, made)  # type: ignore[no-any-return]
