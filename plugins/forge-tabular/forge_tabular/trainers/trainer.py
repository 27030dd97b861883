"""What the trainers of this distribution share: rows in, a fitted model and what is known of it out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import ClassVar

import numpy as np
import pyarrow as pa
from attrs import evolve, field, frozen
from numpy.typing import NDArray

from forge_core.contracts import Predictor, Trainer
from forge_core.faults import InvalidInput
from forge_core.records import JSON, ArrowStream, Compute, ModelSpec, TaskKind, TrainedModel, TrainingContext, TrainingData
from forge_tabular import metrics
from forge_tabular.columns import Matrix, matrix, table_of
from forge_tabular.fitted import Fitted
from forge_tabular.target import read_target


@frozen
class Problem:
    """What a library is given: rows by features, and the target's values or codes."""

    names: tuple[str, ...]
    features: Matrix = field(repr=False, eq=False)
    target: NDArray[np.generic] = field(repr=False, eq=False)
    task: TaskKind
    classes: int


@frozen
class Fit:
    """What a library gives back; `parameters` are those it was really given."""

    model: object = field(repr=False)
    parameters: Mapping[str, JSON]
    metrics: Mapping[str, float] = field(factory=dict)


class TabularTrainer(Trainer):
    """Every column of the data but the target is a feature: which columns those are, the stages decide."""

    flavor: ClassVar[str]
    libraries: ClassVar[tuple[tuple[str, ...], ...]]
    """Distributions a model depends on; of each group, the first one that is installed."""

    def __init__(self, *, compute: Compute | None = None) -> None:
        self.threads = compute.threads if compute else None

    def train(self, spec: ModelSpec, data: TrainingData, context: TrainingContext) -> TrainedModel:
        table = table_of(data)
        target = read_target(table, spec.target, spec.task)
        metrics.requested(spec.evaluation, target.task)
        features = tuple(name for name in table.column_names if name != spec.target)
        if not features:
            raise InvalidInput(f"there is no column beside the target {spec.target!r}", "read more columns")
        known = evolve(spec, task=target.task)
        self.check(known)
        context.progress(0.0, f"{len(table)} rows, {len(features)} features")
        values = self.read(table, features, known)
        del table
        fit = self.fit(known, Problem(features, values, target.values, target.task, len(target.classes)), context)
        context.progress(1.0, "trained")
        return TrainedModel(
            model=Fitted(fit.model, features),
            flavor=self.flavor,
            task=target.task,
            classes=target.classes,
            metrics=fit.metrics,
            parameters=fit.parameters,
            dependencies=self._dependencies(),
        )

    def evaluate(self, spec: ModelSpec, predictor: Predictor, data: ArrowStream) -> Mapping[str, float]:
        return metrics.evaluate(spec, predictor, table_of(data))

    def higher_is_better(self, metric: str) -> bool:
        return metrics.higher_is_better(metric)

    @abstractmethod
    def check(self, spec: ModelSpec) -> None:
        """Raise `ConfigError` for hyperparameters that are wrong; `spec.task` is known. Called before the matrix is made."""

    @abstractmethod
    def read(self, table: pa.Table, features: tuple[str, ...], spec: ModelSpec) -> Matrix:
        """The features as the library wants them."""

    @abstractmethod
    def fit(self, spec: ModelSpec, problem: Problem, context: TrainingContext) -> Fit: ...

    def _dependencies(self) -> tuple[str, ...]:
        return tuple(_pin(group) for group in (*self.libraries, ("numpy",), ("pyarrow",)))


def _pin(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            return f"{name}=={version(name)}"
        except PackageNotFoundError:
            continue
    raise InvalidInput(f"{names[0]} is imported but not installed", f"pip install {names[-1]}")


def single(table: pa.Table, features: tuple[str, ...]) -> Matrix:
    """float32, nulls as NaN: what XGBoost and scikit-learn's trees keep."""
    return matrix(table, features, np.float32)


def double(table: pa.Table, features: tuple[str, ...]) -> Matrix:
    """float64, nulls as NaN: what LightGBM bins."""
    return matrix(table, features, np.float64)


class Rounds:
    """Tells the run how boosting goes: a hundred times how far it is, twenty times how good, both at the last round."""

    def __init__(self, context: TrainingContext, total: int) -> None:
        self._context, self._total = context, total
        self.last: Mapping[str, float] = {}

    def after(self, done: int, measure: Callable[[], Mapping[str, float]]) -> None:
        """`done` rounds from 1; `measure` evaluates the model on the rows it is trained on. Raises `Cancelled`."""
        if self._due(done, 20):
            self.last = measure()
            self._context.log_metrics(self.last, done)
        if self._due(done, 100):
            self._context.progress(done / self._total, f"{done} of {self._total} trees")

    def _due(self, done: int, times: int) -> bool:
        return done == self._total or done % max(1, self._total // times) == 0
