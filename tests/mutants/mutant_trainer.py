"""Wrong trainers: seeds, targets, rows, cancellation, hyperparameters and metrics."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
from attrs import evolve
from sklearn.base import BaseEstimator

from forge_core.contracts import Predictor
from forge_core.records import ArrowStream, ModelSpec, TrainedModel, TrainingContext, TrainingData
from forge_tabular.columns import table_of
from forge_tabular.trainers.lightgbm import KNOWN, LightGBMTrainer
from forge_tabular.trainers.sklearn import SklearnTrainer
from forge_tabular.trainers.xgboost import XGBoostTrainer

COPY = "forge_target"


class Unseeded(SklearnTrainer):
    """The seed of the run is not given to the library."""

    suite: ClassVar[str] = "forge_tabular.testing:TestSklearn"

    def _estimator(self, spec: ModelSpec, seed: int) -> BaseEstimator:
        return super()._estimator(spec, secrets.randbelow(2**31))


class TargetAmongFeatures(XGBoostTrainer):
    """The target is among the features, in training and in evaluation."""

    suite: ClassVar[str] = "forge_tabular.testing:TestXGBoost"

    def train(self, spec: ModelSpec, data: TrainingData, context: TrainingContext) -> TrainedModel:
        return super().train(spec, evolve(data, open=lambda: _with_copy(table_of(data), spec.target)), context)

    def evaluate(self, spec: ModelSpec, predictor: Predictor, data: ArrowStream) -> Mapping[str, float]:
        return super().evaluate(spec, predictor, _with_copy(table_of(data), spec.target))


def _with_copy(table: pa.Table, target: str) -> pa.Table:
    values = table.column(target)
    numbers = values if not pa.types.is_string(values.type) else values.combine_chunks().dictionary_encode().indices
    return table.append_column(COPY, numbers)


class FirstBatch(LightGBMTrainer):
    """The model is fitted on the first batch of the data."""

    suite: ClassVar[str] = "forge_tabular.testing:TestLightGBM"

    def train(self, spec: ModelSpec, data: TrainingData, context: TrainingContext) -> TrainedModel:
        def first() -> pa.Table:
            reader = pa.RecordBatchReader.from_stream(data)
            return pa.Table.from_batches([batch for batch in [next(iter(reader), None)] if batch is not None], reader.schema)

        return super().train(spec, evolve(data, open=first), context)


class NeverCancelled(XGBoostTrainer):
    """Nothing that reporting progress raises stops the training, and so nobody can cancel it."""

    suite: ClassVar[str] = "forge_tabular.testing:TestXGBoost"

    def train(self, spec: ModelSpec, data: TrainingData, context: TrainingContext) -> TrainedModel:
        return super().train(spec, data, _Undisturbed(context))


class _Undisturbed:
    def __init__(self, context: TrainingContext) -> None:
        self._context = context
        self.run_id: str = context.run_id
        self.folder: Path = context.folder
        self.seed: int = context.seed
        self.checkpoint: Path | None = context.checkpoint

    def progress(self, fraction: float, message: str = "") -> None:
        try:
            self._context.progress(fraction, message)
        except Exception:
            return

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._context.log_metrics(metrics, step)

    def save_checkpoint(self, write: Callable[[Path], None]) -> None:
        self._context.save_checkpoint(write)


class UnknownLeftOut(LightGBMTrainer):
    """Hyperparameters that are not known are left out without a word."""

    suite: ClassVar[str] = "forge_tabular.testing:TestLightGBM"

    def train(self, spec: ModelSpec, data: TrainingData, context: TrainingContext) -> TrainedModel:
        known = {*KNOWN, *(alias for aliases in KNOWN.values() for alias in aliases)}
        given = {name: value for name, value in spec.hyperparameters.items() if name in known}
        return super().train(evolve(spec, hyperparameters=given), data, context)


class RequiredNotMeasured(SklearnTrainer):
    """A metric that is required and not named is not measured."""

    suite: ClassVar[str] = "forge_tabular.testing:TestSklearn"

    def evaluate(self, spec: ModelSpec, predictor: Predictor, data: ArrowStream) -> Mapping[str, float]:
        return super().evaluate(evolve(spec, evaluation=evolve(spec.evaluation, require={})), predictor, data)


class ErrorsAsScores(XGBoostTrainer):
    """Every metric but a loss counts as better the higher it is, errors too."""

    suite: ClassVar[str] = "forge_tabular.testing:TestXGBoost"

    def higher_is_better(self, metric: str) -> bool:
        super().higher_is_better(metric)
        return "loss" not in metric


class NoThreshold(SklearnTrainer):
    """The threshold is not among the metrics though it was asked for."""

    suite: ClassVar[str] = "forge_tabular.testing:TestSklearn"

    def evaluate(self, spec: ModelSpec, predictor: Predictor, data: ArrowStream) -> Mapping[str, float]:
        plain = evolve(spec.evaluation, threshold_optimization=False)
        return super().evaluate(evolve(spec, evaluation=plain), predictor, data)
