"""The model itself, and how it answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from attrs import field, frozen
from numpy.typing import NDArray

from forge_core.contracts import Predictor
from forge_core.faults import InvalidInput
from forge_core.records import JSON, ArrowStream

Floats = NDArray[np.float64]


@frozen
class Centroids:
    """`means` is classes by features; `spread` has a feature's standard deviation within the classes."""

    features: tuple[str, ...]
    classes: tuple[JSON, ...]
    means: Floats = field(repr=False, eq=False)
    spread: Floats = field(repr=False, eq=False)
    temperature: float = 1.0

    def probabilities(self, rows: Floats) -> Floats:
        """Rows by classes: those of normal distributions around the means, all classes equally likely beforehand."""
        distance = (((rows[:, None, :] - self.means) / self.spread) ** 2).sum(axis=2) / (2 * self.temperature)
        nearness: Floats = np.exp(distance.min(axis=1, keepdims=True) - distance)
        told: Floats = nearness / nearness.sum(axis=1, keepdims=True)
        return told


class CentroidsPredictor(Predictor):
    """Finds its features by name; other columns are ignored."""

    def __init__(self, model: Centroids) -> None:
        self._model, self._classes = model, pa.array(list(model.classes))

    def predict(self, data: ArrowStream) -> ArrowStream:
        told = self._model.probabilities(matrix(pa.table(data), self._model.features))
        found: ArrowStream = pa.table(
            {
                "prediction": self._classes.take(pa.array(told.argmax(axis=1))),
                "probabilities": pa.array(list(told), pa.list_(pa.float64())),
            }
        )
        return found


def matrix(table: pa.Table, features: Sequence[str]) -> Floats:
    """Rows by features; a column that is missing, not numeric or has nulls is `InvalidInput`."""
    made = np.empty((table.num_rows, len(features)))
    for position, name in enumerate(features):
        if name not in table.column_names:
            raise InvalidInput(f"the column {name!r} is missing", f"the model takes: {', '.join(features)}")
        kind = table[name].type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise InvalidInput(f"the column {name!r} is {kind}, and nearest_centroid takes numbers", "transform it, or leave it out")
        made[:, position] = table[name].to_numpy()
    if not np.isfinite(made).all():
        name = features[int(np.argmax(~np.isfinite(made).all(axis=0)))]
        raise InvalidInput(f"the column {name!r} has nulls or infinite values", "fill them, or leave those rows out")
    return made
