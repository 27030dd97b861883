"""The model: a row belongs to the class whose mean is nearest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from attrs import frozen
from forge_core.contracts import Predictor
from forge_core.faults import InvalidInput
from forge_core.records import JSON, ArrowStream


@frozen
class Centroids:
    """`means` has a tuple for each class with a number for each feature; `spread` is a feature's standard deviation."""

    features: tuple[str, ...]
    classes: tuple[JSON, ...]
    means: tuple[tuple[float, ...], ...]
    spread: tuple[float, ...]
    temperature: float = 1.0


class CentroidsPredictor(Predictor):
    """Finds its features by name; other columns are ignored."""

    def __init__(self, model: Centroids) -> None:
        self._model = model

    def predict(self, data: ArrowStream) -> ArrowStream:
        """Probabilities are those of normal distributions around the means, all classes equally likely beforehand."""
        model, columns = self._model, numbers(pa.table(data), self._model.features)
        distances = [_distance(columns, mean, model) for mean in model.means]
        nearest = distances[0]
        for one in distances[1:]:
            nearest = pc.min_element_wise(nearest, one)
        weights = [pc.exp(pc.subtract(nearest, one)) for one in distances]
        total = weights[0]
        for one in weights[1:]:
            total = pc.add(total, one)
        shares = [pc.divide(one, total).to_pylist() for one in weights]
        rows = list(zip(*shares, strict=True))
        classes = pa.array(list(model.classes))
        chosen = pa.array([row.index(max(row)) for row in rows], pa.int64())
        told: ArrowStream = pa.table(
            {"prediction": classes.take(chosen), "probabilities": pa.array(rows, pa.list_(pa.float64()))}
        )
        return told


def numbers(table: pa.Table, features: Sequence[str]) -> list[Any]:
    """The features as arrays of doubles; a column that is missing, no number or has nulls is `InvalidInput`."""
    found = []
    for name in features:
        index = table.schema.get_field_index(name)
        if index < 0:
            raise InvalidInput(f"the column {name!r} is missing", f"the model takes: {', '.join(features)}")
        kind = table.schema.field(index).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise InvalidInput(f"the column {name!r} is {kind}, no number", "transform it, or leave it out")
        column = table.column(index).cast(pa.float64(), safe=False).combine_chunks()
        if column.null_count or not pc.all(pc.is_finite(column), min_count=0).as_py():
            raise InvalidInput(f"the column {name!r} has nulls or infinite values", "fill them, or leave rows out")
        found.append(column)
    return found


def _distance(columns: Sequence[Any], mean: Sequence[float], model: Centroids) -> Any:
    """Half the squared distance, counted in standard deviations."""
    total = None
    for column, middle, spread in zip(columns, mean, model.spread, strict=True):
        away = pc.divide(pc.subtract(column, middle), spread)
        term = pc.multiply(pc.multiply(away, away), 0.5 / model.temperature)
        total = term if total is None else pc.add(total, term)
    return total
