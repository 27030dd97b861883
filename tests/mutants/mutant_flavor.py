"""Wrong flavors: pickles, thresholds, columns, rows and files that are not theirs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa

from forge_core.contracts import Predictor
from forge_core.faults import InvalidInput, UnsafeFormat
from forge_core.records import ArrowStream
from forge_tabular.columns import table_of
from forge_tabular.flavors.flavor import Loaded, TabularPredictor
from forge_tabular.flavors.lightgbm import LightGBMFlavor
from forge_tabular.flavors.sidecar import Sidecar, read_sidecar
from forge_tabular.flavors.skops import SkopsFlavor
from forge_tabular.flavors.xgboost import XGBoostFlavor


class PickleBehind(SkopsFlavor):
    """What skops does not take is written and read as a pickle."""

    suite: ClassVar[str] = "forge_tabular.testing:TestSkopsFlavor"

    def write(self, model: object, path: Path) -> None:
        try:
            super().write(model, path)
        except InvalidInput:
            path.write_bytes(pickle.dumps(model))

    def read(self, path: Path, sidecar: Sidecar) -> Loaded:
        try:
            return super().read(path, sidecar)
        except UnsafeFormat:
            model = pickle.loads(path.read_bytes())
            score = model.predict if sidecar.task == "regression" else model.predict_proba
            return Loaded(score, np.float64)


class StrangeFiles(LightGBMFlavor):
    """Files that `save` never wrote may lie in the folder."""

    suite: ClassVar[str] = "forge_tabular.testing:TestLightGBMFlavor"

    def load(self, folder: Path) -> Predictor:
        sidecar = read_sidecar(folder)
        return TabularPredictor(self.read(folder / self.file, sidecar), sidecar)


class _Around(Predictor):
    def __init__(self, predictor: Predictor, answer: Callable[[Predictor, pa.Table], ArrowStream]) -> None:
        self._predictor, self._answer = predictor, answer

    def predict(self, data: ArrowStream) -> ArrowStream:
        return self._answer(self._predictor, table_of(data))


class ColumnsByPlace(LightGBMFlavor):
    """The features are the first columns, whatever their names."""

    suite: ClassVar[str] = "forge_tabular.testing:TestLightGBMFlavor"

    def load(self, folder: Path) -> Predictor:
        features = read_sidecar(folder).features

        def by_place(predictor: Predictor, table: pa.Table) -> ArrowStream:
            return predictor.predict(table.select(range(min(len(features), table.num_columns))).rename_columns(list(features)))

        return _Around(super().load(folder), by_place)


class NullsDropped(XGBoostFlavor):
    """Rows with a null get no prediction."""

    suite: ClassVar[str] = "forge_tabular.testing:TestXGBoostFlavor"

    def load(self, folder: Path) -> Predictor:
        return _Around(super().load(folder), lambda predictor, table: predictor.predict(table.drop_null()))


class NothingOut(SkopsFlavor):
    """Where no rows come in, no columns come out."""

    suite: ClassVar[str] = "forge_tabular.testing:TestSkopsFlavor"

    def load(self, folder: Path) -> Predictor:
        return _Around(super().load(folder), lambda predictor, table: predictor.predict(table) if len(table) else pa.table({}))


class SinglePrecision(XGBoostFlavor):
    """Probabilities are lists of single precision."""

    suite: ClassVar[str] = "forge_tabular.testing:TestXGBoostFlavor"

    def load(self, folder: Path) -> Predictor:
        return _Around(super().load(folder), _single)


def _single(predictor: Predictor, table: pa.Table) -> pa.Table:
    answer = table_of(predictor.predict(table))
    if "probabilities" not in answer.column_names:
        return answer
    place = answer.schema.get_field_index("probabilities")
    column = pa.field("probabilities", pa.list_(pa.float32()), metadata=answer.schema.field(place).metadata)
    return answer.set_column(place, column, answer.column(place).cast(column.type))
