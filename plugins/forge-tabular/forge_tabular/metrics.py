"""What a model is worth: metrics by task, each with its direction.

A binary model's positive class is the second one. Averages over classes are unweighted ("macro"); `auc_roc` of a multiclass
model is the mean of one class against the rest, over the classes that occur.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from attrs import frozen
from sklearn import metrics as sk

from forge_core.contracts import Predictor
from forge_core.faults import ConfigError, InvalidInput
from forge_core.records import Evaluation, ModelSpec, TaskKind
from forge_tabular.columns import nearest
from forge_tabular.outcome import Outcome, read_outcome
from forge_tabular.threshold import best_f1

Score: TypeAlias = Callable[[Outcome], float]


@frozen
class Metric:
    """A score of an outcome; NaN where it is undefined."""

    score: Score
    higher: bool = True
    default: bool = True


def _labels(score: Callable[..., float], **options: object) -> Score:
    return lambda outcome: float(score(outcome.actual, outcome.predicted, **options))


def _binary(score: Callable[..., float]) -> Score:
    return lambda outcome: float(score(outcome.actual, outcome.predicted, pos_label=1, average="binary", zero_division=0.0))


def _macro(score: Callable[..., float]) -> Score:
    return lambda outcome: float(score(outcome.actual, outcome.predicted, average="macro", zero_division=0.0))


def _area(score: Callable[..., float]) -> Score:
    """Of the second class; undefined where only one class occurs."""
    return lambda outcome: _one_against_rest(score, outcome, (1,))


def _one_against_rest(score: Callable[..., float], outcome: Outcome, classes: tuple[int, ...]) -> float:
    values = []
    for code in classes:
        positive = outcome.actual == code
        if positive.any() and not positive.all():
            values.append(float(score(positive, outcome.probabilities[:, code])))
    return float(np.mean(values)) if values else float("nan")


def _log_loss(outcome: Outcome) -> float:
    return float(sk.log_loss(outcome.actual, outcome.probabilities, labels=np.arange(outcome.probabilities.shape[1])))


def _balanced(outcome: Outcome) -> float:
    """The mean recall of the classes that occur; scikit-learn's warns where a label is predicted that does not."""
    recalls = [np.mean(outcome.predicted[outcome.actual == code] == code) for code in np.unique(outcome.actual)]
    return float(np.mean(recalls))


def _brier(outcome: Outcome) -> float:
    return float(np.mean((outcome.probabilities[:, 1] - (outcome.actual == 1)) ** 2))


def _r2(outcome: Outcome) -> float:
    return float(sk.r2_score(outcome.actual, outcome.predicted)) if len(outcome.actual) > 1 else float("nan")


METRICS: Mapping[TaskKind, Mapping[str, Metric]] = {
    "binary": {
        "accuracy": Metric(_labels(sk.accuracy_score)),
        "balanced_accuracy": Metric(_balanced, default=False),
        "precision": Metric(_binary(sk.precision_score)),
        "recall": Metric(_binary(sk.recall_score)),
        "f1": Metric(_binary(sk.f1_score)),
        "auc_roc": Metric(_area(sk.roc_auc_score)),
        "average_precision": Metric(_area(sk.average_precision_score), default=False),
        "log_loss": Metric(_log_loss, higher=False),
        "brier": Metric(_brier, higher=False, default=False),
    },
    "multiclass": {
        "accuracy": Metric(_labels(sk.accuracy_score)),
        "balanced_accuracy": Metric(_balanced, default=False),
        "precision_macro": Metric(_macro(sk.precision_score)),
        "recall_macro": Metric(_macro(sk.recall_score)),
        "f1_macro": Metric(_macro(sk.f1_score)),
        "auc_roc": Metric(lambda outcome: _one_against_rest(sk.roc_auc_score, outcome, tuple(range(outcome.probabilities.shape[1])))),
        "log_loss": Metric(_log_loss, higher=False),
    },
    "regression": {
        "rmse": Metric(_labels(sk.root_mean_squared_error), higher=False),
        "mae": Metric(_labels(sk.mean_absolute_error), higher=False),
        "mse": Metric(_labels(sk.mean_squared_error), higher=False, default=False),
        "r2": Metric(_r2),
        "mape": Metric(_labels(sk.mean_absolute_percentage_error), higher=False, default=False),
        "median_absolute_error": Metric(_labels(sk.median_absolute_error), higher=False, default=False),
    },
}
_HIGHER = {name: metric.higher for table in METRICS.values() for name, metric in table.items()}


def higher_is_better(name: str) -> bool:
    if name not in _HIGHER:
        raise ConfigError(f"there is no metric {name!r}", nearest(name, _HIGHER))
    return _HIGHER[name]


def requested(evaluation: Evaluation, task: TaskKind) -> tuple[str, ...]:
    """The metrics an evaluation names or requires; empty where it names none. Wrong ones are a `ConfigError`."""
    known = METRICS[task]
    for name in (*evaluation.metrics, *evaluation.require):
        if name not in known:
            where = ", ".join(kind for kind, table in METRICS.items() if name in table)
            raise ConfigError(
                f"there is no metric {name!r} for a {task} model" + (f": it belongs to {where}" if where else ""), nearest(name, known)
            )
    if evaluation.threshold_optimization and task != "binary":
        raise ConfigError(f"a {task} model has no threshold to optimize", "take evaluation.threshold_optimization out")
    return tuple(dict.fromkeys((*evaluation.metrics, *evaluation.require)))


def evaluate(spec: ModelSpec, predictor: Predictor, data: pa.Table) -> dict[str, float]:
    """Metrics over rows that have the target, as `Trainer.evaluate` promises.

    Where `spec.evaluation.metrics` is empty these are the usual ones of the task. One that is undefined on this data (an
    `auc_roc` where one class occurs) is `InvalidInput` where it was named, and left out where it was not.
    """
    outcome = read_outcome(spec, predictor, data)
    named = requested(spec.evaluation, outcome.task)
    table = METRICS[outcome.task]
    usual = () if spec.evaluation.metrics else tuple(name for name, metric in table.items() if metric.default)
    made: dict[str, float] = {}
    for name in dict.fromkeys((*named, *usual)):
        value = table[name].score(outcome)
        if np.isfinite(value):
            made[name] = value
        elif name in named:
            raise InvalidInput(
                f"{name} is undefined on these {len(outcome.actual)} rows", "evaluate on more rows, or on rows of every class"
            )
    if spec.evaluation.threshold_optimization:
        made["threshold"] = best_f1(outcome.actual == 1, outcome.probabilities[:, 1])
    return made
