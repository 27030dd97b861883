"""The table a predictor answers with: `prediction`, and `probabilities` for classifiers.

The field `probabilities` carries its classes as metadata (`classes`, a JSON list), in the order of its values: whoever gets the
table alone can still read it.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from forge_core.faults import InvalidInput
from forge_core.records import JSON
from forge_tabular.columns import Matrix

CLASSES = b"classes"


class Amounts:
    """Answers of a regression."""

    schema = pa.schema([pa.field("prediction", pa.float64())])

    def table(self, values: NDArray[np.floating]) -> pa.Table:
        return pa.Table.from_arrays([pa.array(values, pa.float64())], schema=self.schema)


class Labels:
    """Answers of a classifier: the most probable class, or for two classes the second one from `threshold` on (0.5 where None)."""

    def __init__(self, classes: tuple[JSON, ...], threshold: float | None) -> None:
        self._classes = pa.array(classes)
        self._cut = 0.5 if threshold is None else threshold
        told = {CLASSES: json.dumps(list(classes)).encode()}
        self.schema = pa.schema(
            [pa.field("prediction", self._classes.type), pa.field("probabilities", pa.list_(pa.float64()), metadata=told)]
        )

    def table(self, probabilities: NDArray[np.floating]) -> pa.Table:
        """`probabilities` is rows by classes."""
        values = np.ascontiguousarray(probabilities, np.float64)
        rows, width = values.shape
        codes = (values[:, 1] >= self._cut).view(np.int8) if width == 2 else values.argmax(axis=1)
        offsets = np.arange(0, rows * width + 1, width, dtype=np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))
        return pa.Table.from_arrays([self._classes.take(pa.array(codes)), lists], schema=self.schema)


def classes_of(answer: pa.Table) -> tuple[JSON, ...]:
    """The classes an answer tells; empty where it does not."""
    told = (answer.schema.field("probabilities").metadata or {}).get(CLASSES)
    return tuple(json.loads(told)) if told else ()


def probabilities_of(answer: pa.Table) -> Matrix:
    """Rows by classes."""
    lists = answer.column("probabilities").combine_chunks()
    widths = pc.unique(lists.value_lengths()).to_pylist()
    if len(widths) != 1 or not widths[0]:
        raise InvalidInput(
            "the rows have different numbers of probabilities", "models that are evaluated together must know the same classes"
        )
    return np.asarray(lists.flatten().to_numpy(zero_copy_only=False), np.float64).reshape(len(answer), -1)
