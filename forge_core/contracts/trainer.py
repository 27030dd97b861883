"""What makes a model of rows."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from forge_core.contracts.driver import Driver
from forge_core.contracts.flavor import Predictor
from forge_core.operations import operation
from forge_core.records.data import ArrowStream, TrainingData
from forge_core.records.models import ModelSpec, TrainedModel, TrainingContext


class Trainer(Driver):
    """Trains and evaluates. The stages own splits, folds and out-of-fold predictions."""

    role: ClassVar[str] = "trainer"
    stable: ClassVar[bool] = True

    @abstractmethod
    @operation("model:train", resource="model:{spec.name}")
    def train(self, spec: ModelSpec, data: TrainingData, context: TrainingContext) -> TrainedModel:
        """Fit on all of `data`, whose columns are the features and `spec.target`.

        The same data, spec and `context.seed` give the same model. Calls `context.progress`, which raises `Cancelled`;
        resumes from `context.checkpoint` where there is one. Wrong hyperparameters are a `ConfigError` that names the nearest.
        """

    @abstractmethod
    @operation("model:evaluate", resource="model:{spec.name}")
    def evaluate(self, spec: ModelSpec, predictor: Predictor, data: ArrowStream) -> Mapping[str, float]:
        """The metrics of `spec.evaluation` (and those it requires) over `data`, which has the target.

        With `spec.evaluation.threshold_optimization` the answer has `threshold` too: the cut on the second class's probability that
        is best on this data; the stages ask for it on out-of-fold predictions only.
        """

    @operation("model:evaluate", resource="metric:{metric}")
    def higher_is_better(self, metric: str) -> bool:
        """Whether a requirement on this metric is a floor (true) or a ceiling (false, for errors and losses)."""
        return not any(word in metric.lower() for word in ("loss", "error", "mae", "mse", "rmse", "mape", "brier"))
