"""Columns replaced by their principal components."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from attrs import field, frozen, validators
from numpy.typing import NDArray

from forge_core.contracts import Transformation
from forge_core.faults import ConfigError
from forge_core.records import JSON, ArrowStream
from forge_tabular.columns import added, matrix, number_columns, table_of
from forge_tabular.transforms import state as states


class PCA(Transformation):
    """Adds `<prefix>0`, `<prefix>1`, ... in order of falling variance, and takes the columns that they come from away.

    Nulls count as the column's mean. A component's sign is such that its largest weight is positive. Scale columns of different
    units before (`standard_scaler`).
    """

    @frozen
    class Settings:
        """`columns` are all columns of numbers where none are named; `whiten` gives each component variance 1."""

        columns: tuple[str, ...] | None = None
        n_components: int = field(default=2, validator=validators.ge(1))
        prefix: str = "pca_"
        whiten: bool = False
        keep: bool = False

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def fit(self, data: ArrowStream) -> Mapping[str, JSON]:
        table = states.rows_of(data)
        columns = self.settings.columns or number_columns(table)
        count = self.settings.n_components
        if count > min(len(columns), len(table)):
            raise ConfigError(
                f"n_components is {count}, and there are {len(columns)} columns and {len(table)} rows", "ask for fewer components"
            )
        values = matrix(table, columns, np.float64)
        mean = np.array([_mean(values[:, position]) for position in range(len(columns))])
        values = np.where(np.isnan(values), mean, values) - mean
        with np.errstate(over="ignore", invalid="ignore"):
            covariance = values.T @ values / max(1, len(table) - 1)
        for name, middle, variance in zip(columns, mean, covariance.diagonal(), strict=True):
            states.finite(name, middle, variance)
        variances, vectors = np.linalg.eigh(covariance)  # ascending
        weights = vectors[:, ::-1].T[:count]
        largest = weights[np.arange(count), np.abs(weights).argmax(axis=1)]
        kept = np.maximum(variances[::-1][:count], 0.0)
        total = float(np.maximum(variances, 0.0).sum())
        return {
            "columns": list(columns),
            "mean": mean.tolist(),
            "components": (weights * np.sign(largest)[:, np.newaxis]).tolist(),
            "variance": kept.tolist(),
            "explained": (kept / total if total else kept).tolist(),
        }

    def apply(self, data: ArrowStream, state: Mapping[str, JSON]) -> ArrowStream:
        table = table_of(data)
        columns, count = states.names(state, "columns"), self.settings.n_components
        mean = states.amounts(state, "mean", (len(columns),))
        weights = states.amounts(state, "components", (count, len(columns)))
        variance = states.amounts(state, "variance", (count,))
        values = matrix(table, columns, np.float64)
        made = (np.where(np.isnan(values), mean, values) - mean) @ weights.T
        if self.settings.whiten:
            made /= np.sqrt(np.where(variance > np.finfo(np.float64).tiny, variance, 1.0))
        rest = table if self.settings.keep else table.drop_columns(list(columns))
        return added(rest, {f"{self.settings.prefix}{number}": pa.array(made[:, number]) for number in range(count)})  # type: ignore[no-any-return]


def _mean(values: NDArray[np.floating]) -> float:
    known = values[~np.isnan(values)]
    with np.errstate(over="ignore"):
        return float(known.mean()) if known.size else 0.0
