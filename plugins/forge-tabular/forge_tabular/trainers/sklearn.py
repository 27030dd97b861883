"""scikit-learn's estimators by name: `estimator: HistGradientBoostingClassifier`, its parameters beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import InvalidParameterError

from forge_core.faults import ConfigError, InvalidInput
from forge_core.records import JSON, ModelSpec, TrainingContext
from forge_tabular.columns import Matrix, matrix
from forge_tabular.estimators import ESTIMATORS, FORESTS, default, dtype_of, fits, takes_nulls
from forge_tabular.hyperparameters import canonical, choose
from forge_tabular.trainers.trainer import Fit, Problem, TabularTrainer

OURS = frozenset({"verbose", "warm_start", "estimator"})
"""Parameters that the trainer sets or that print; `estimator` names the class."""


class SklearnTrainer(TabularTrainer):
    """A random forest where no estimator is named. Seeded by the run, unless `random_state` is given."""

    flavor: ClassVar[str] = "skops"
    libraries: ClassVar[tuple[tuple[str, ...], ...]] = (("scikit-learn",), ("skops",))

    def check(self, spec: ModelSpec) -> None:
        self._estimator(spec, 0)

    def read(self, table: pa.Table, features: tuple[str, ...], spec: ModelSpec) -> Matrix:
        estimator = self._estimator(spec, 0)
        return matrix(table, features, dtype_of(estimator), nulls=takes_nulls(estimator))

    def fit(self, spec: ModelSpec, problem: Problem, context: TrainingContext) -> Fit:
        estimator = self._estimator(spec, context.seed)
        parameters = {"estimator": type(estimator).__name__, **_plain(estimator.get_params(deep=False))}
        try:
            if isinstance(estimator, FORESTS) and not isinstance(getattr(estimator, "class_weight", None), str):
                _grow(estimator, problem, context)
            else:
                estimator.fit(problem.features, problem.target)
        except InvalidParameterError as error:
            raise ConfigError(str(error).partition(" Got ")[0] + _got(error), "look at the model's hyperparameters") from error
        except ValueError as error:
            raise InvalidInput(
                f"{type(estimator).__name__} refuses: {str(error).splitlines()[0]}", "look at the data and the hyperparameters"
            ) from error
        if isinstance(estimator, FORESTS):
            estimator.set_params(n_jobs=None)  # the file must not depend on the machine
        return Fit(estimator, parameters)

    def _estimator(self, spec: ModelSpec, seed: int) -> BaseEstimator:
        given = dict(spec.hyperparameters)
        task = spec.task or "binary"
        able = [name for name, estimator in ESTIMATORS.items() if fits(estimator, task)]
        cls = ESTIMATORS[choose(given.pop("estimator", default(task)), able, f"the estimator of a {task} model")]
        known = cls().get_params(deep=False).keys() - OURS
        made = canonical(given, dict.fromkeys(known, ()), cls.__name__)
        if "random_state" in known:
            made.setdefault("random_state", seed)
        if issubclass(cls, FORESTS):
            made.setdefault("n_jobs", self.threads or len(os.sched_getaffinity(0)))
        estimator = cls(**made)
        if task != "regression" and not hasattr(estimator, "predict_proba"):
            raise ConfigError(f"{cls.__name__} gives no probabilities with these hyperparameters", "loss: log_loss gives them")
        return estimator


def _grow(forest: BaseEstimator, problem: Problem, context: TrainingContext) -> None:
    """Fit a forest a tenth at a time, so that it reports and can be cancelled; the trees are those of one fit with this seed."""
    total: Any = forest.get_params()["n_estimators"]
    if not isinstance(total, int) or total < 1:
        forest.fit(problem.features, problem.target)  # scikit-learn says what is wrong with it
        return
    forest.set_params(warm_start=True)
    for tenth in range(1, 11):
        trees = max(1, total * tenth // 10)
        if tenth == 1 or trees > len(forest.estimators_):
            forest.set_params(n_estimators=trees).fit(problem.features, problem.target)
            context.progress(trees / total, f"{trees} of {total} trees")
    forest.set_params(warm_start=False)


def _plain(parameters: Mapping[str, JSON]) -> dict[str, JSON]:
    """Without what cannot be written as JSON, and without defaults that are nothing."""
    return {
        name: value for name, value in parameters.items() if isinstance(value, bool | int | float | str | list | dict) and name not in OURS
    }


def _got(error: BaseException) -> str:
    _, got, value = str(error).partition(" Got ")
    return f"{got}{value}" if got else ""
