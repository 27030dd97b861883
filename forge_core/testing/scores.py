"""Metrics and thresholds by brute force: what a trainer's `evaluate` is compared with.

Labels and amounts are plain lists. A binary metric counts the second class; averages over classes are unweighted. Each is written
from its definition, in loops, so that it shares no mistake with a library.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from attrs import field, frozen

from forge_core.records.data import JSON
from forge_core.records.models import TaskKind


@frozen
class Told:
    """What came true beside what was said; `probabilities` are rows by `classes`."""

    actual: Sequence[JSON]
    predicted: Sequence[JSON]
    classes: Sequence[JSON] = ()
    probabilities: Sequence[Sequence[float]] = field(default=(), repr=False)


Score: TypeAlias = Callable[[Told], float]


def accuracy(told: Told) -> float:
    return _mean([float(one == other) for one, other in zip(told.actual, told.predicted, strict=True)])


def precision(told: Told, label: JSON = None) -> float:
    label = told.classes[1] if label is None else label
    said = [actual for actual, predicted in zip(told.actual, told.predicted, strict=True) if predicted == label]
    return _mean([float(actual == label) for actual in said]) if said else 0.0


def recall(told: Told, label: JSON = None) -> float:
    label = told.classes[1] if label is None else label
    there = [predicted for actual, predicted in zip(told.actual, told.predicted, strict=True) if actual == label]
    return _mean([float(predicted == label) for predicted in there]) if there else 0.0


def f1(told: Told, label: JSON = None) -> float:
    one, other = precision(told, label), recall(told, label)
    return 2 * one * other / (one + other) if one + other else 0.0


def balanced_accuracy(told: Told) -> float:
    return _mean([recall(told, label) for label in set(told.actual)])


def auc_roc(told: Told) -> float:
    """Of two classes that of the second one; else the mean of each class against the rest."""
    codes = [1] if len(told.classes) == 2 else [code for code, label in enumerate(told.classes) if label in told.actual]
    return _mean([_area(told, code) for code in codes])


def _area(told: Told, code: int) -> float:
    """The share of pairs of a row of the class and another whose probabilities are in the right order; equal ones count half."""
    scores = [(row[code], actual == told.classes[code]) for row, actual in zip(told.probabilities, told.actual, strict=True)]
    of, rest = [score for score, true in scores if true], [score for score, true in scores if not true]
    return _mean([1.0 if one > other else 0.5 if one == other else 0.0 for one in of for other in rest])


def average_precision(told: Told) -> float:
    """The mean over the rows of the second class of the precision among all rows that score at least as much."""
    rows = [(row[1], actual == told.classes[1]) for row, actual in zip(told.probabilities, told.actual, strict=True)]
    return _mean([_mean([float(other) for above, other in rows if above >= score]) for score, true in rows if true])


def log_loss(told: Told) -> float:
    given = (row[told.classes.index(actual)] for row, actual in zip(told.probabilities, told.actual, strict=True))
    return _mean([-math.log(max(chance, 2.2e-16)) for chance in given])


def brier(told: Told) -> float:
    return _mean([(row[1] - (actual == told.classes[1])) ** 2 for row, actual in zip(told.probabilities, told.actual, strict=True)])


def mse(told: Told) -> float:
    return _mean([error**2 for error in _errors(told)])


def rmse(told: Told) -> float:
    return math.sqrt(mse(told))


def mae(told: Told) -> float:
    return _mean([abs(error) for error in _errors(told)])


def median_absolute_error(told: Told) -> float:
    ranked = sorted(abs(error) for error in _errors(told))
    return (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2


def mape(told: Told) -> float:
    return _mean([abs(error / actual) for error, actual in zip(_errors(told), told.actual, strict=True)])


def r2(told: Told) -> float:
    middle = _mean(told.actual)
    return 1 - mse(told) / _mean([(one - middle) ** 2 for one in told.actual])


def _macro(score: Callable[[Told, JSON], float]) -> Score:
    return lambda told: _mean([score(told, label) for label in sorted({*told.actual, *told.predicted}, key=str)])


def _errors(told: Told) -> list[float]:
    return [predicted - actual for actual, predicted in zip(told.actual, told.predicted, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


SCORES: Mapping[TaskKind, Mapping[str, Score]] = {
    "binary": {
        "accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "precision": precision, "recall": recall, "f1": f1,
        "auc_roc": auc_roc, "roc_auc": auc_roc, "auc": auc_roc, "average_precision": average_precision, "log_loss": log_loss,
        "brier": brier,
    },
    "multiclass": {
        "accuracy": accuracy, "balanced_accuracy": balanced_accuracy, "precision_macro": _macro(precision), "recall_macro": _macro(recall),
        "f1_macro": _macro(f1), "auc_roc": auc_roc, "log_loss": log_loss,
    },
    "regression": {
        "rmse": rmse, "mae": mae, "mse": mse, "r2": r2, "mape": mape, "median_absolute_error": median_absolute_error,
    },
}  # fmt: skip
"""Names that mean one thing in the field; a trainer that knows one of them computes it so."""
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "rmse", "mae", "mse", "mape", "median_absolute_error"})


def skill(task: TaskKind, actual: Sequence[JSON], predicted: Sequence[JSON]) -> float:
    """The share of a constant answer's error that is gone: 1 is perfect, 0 no better than the mean or the most frequent label."""
    if task == "regression":
        return r2(Told(actual, predicted))
    most: float = max(Counter(actual).values()) / len(actual)
    return 1 - (1 - accuracy(Told(actual, predicted))) / (1 - most)


def cut(told: Told, threshold: float) -> Told:
    """The same rows with the second class wherever its probability is at least `threshold`."""
    return Told(told.actual, [told.classes[row[1] >= threshold] for row in told.probabilities], told.classes, told.probabilities)


def best(told: Told, score: Score) -> float:
    """The highest score that any threshold reaches on these rows."""
    return max(score(cut(told, threshold)) for threshold in {0.0, *(row[1] for row in told.probabilities)})
