"""`trainer: acme`: a classifier of numbers by the nearest class mean."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from forge_core.contracts import Predictor, Trainer
from forge_core.faults import ConfigError, InvalidInput
from forge_core.records import JSON, ArrowStream, ModelSpec, TaskKind, TrainedModel, TrainingContext, TrainingData

from forge_acme.centroids import Centroids, numbers

METRICS = ("accuracy", "balanced_accuracy")
_CLASSES = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)


class AcmeTrainer(Trainer):
    """One hyperparameter, `temperature`: above 1 for probabilities that are less sure of themselves."""

    def train(self, spec: ModelSpec, data: TrainingData, context: TrainingContext) -> TrainedModel:
        """A pass over the rows and two over the columns in memory: there is nothing that a checkpoint would save."""
        temperature = _temperature(spec.hyperparameters)
        _check(spec)
        context.progress(0.0, "reading")
        table = pa.table(data)
        labels = _labels(table, spec.target)
        features = tuple(name for name in table.column_names if name != spec.target)
        if not features:
            raise InvalidInput("there is no feature to learn from", "give columns beside the target")
        columns = numbers(table, features)
        classes = sorted(pc.unique(labels).to_pylist())
        if len(classes) < 2:
            raise InvalidInput(f"the target {spec.target!r} has one value only", "train on rows of two classes or more")
        task: TaskKind = "binary" if len(classes) == 2 else "multiclass"
        if spec.task not in (None, task):
            raise ConfigError(f"the target {spec.target!r} has {len(classes)} classes", f"task: {task}")
        means = []
        for number, label in enumerate(classes):
            context.progress(number / len(classes), f"class {label}")
            own = pc.equal(labels, pa.scalar(label, labels.type))
            means.append(tuple(pc.mean(column.filter(own)).as_py() for column in columns))
        spread = tuple(pc.stddev(column).as_py() or 1.0 for column in columns)
        context.progress(1.0, "trained")
        return TrainedModel(
            model=Centroids(features, tuple(classes), tuple(means), spread, temperature),
            flavor="acme",
            task=task,
            classes=tuple(classes),
            parameters={"temperature": temperature},
            dependencies=(f"pyarrow=={pa.__version__}",),
        )

    def evaluate(self, spec: ModelSpec, predictor: Predictor, data: ArrowStream) -> Mapping[str, float]:
        _check(spec)
        table = pa.table(data)
        actual = _labels(table, spec.target).to_pylist()
        if not actual:
            raise InvalidInput("there are no rows to evaluate on", "evaluate on one row at least")
        told = pa.table(predictor.predict(table.drop_columns([spec.target])))
        right = [one == other for one, other in zip(told["prediction"].to_pylist(), actual, strict=True)]
        by_class: dict[JSON, list[bool]] = {}
        for hit, label in zip(right, actual, strict=True):
            by_class.setdefault(label, []).append(hit)
        found = {"accuracy": _mean(right), "balanced_accuracy": _mean([_mean(hits) for hits in by_class.values()])}
        wanted = {*spec.evaluation.metrics, *spec.evaluation.require} or found.keys()
        answer = {name: value for name, value in found.items() if name in wanted}
        if spec.evaluation.threshold_optimization:
            answer["threshold"] = _threshold(told["probabilities"].to_pylist(), actual)
        return answer


def _labels(table: pa.Table, target: str) -> pa.Array:
    if table.schema.get_field_index(target) < 0:
        raise InvalidInput(f"the target {target!r} is missing", f"columns: {', '.join(table.column_names)}")
    labels = table[target].combine_chunks()
    if pa.types.is_dictionary(labels.type):
        labels = labels.dictionary_decode()
    if not any(fits(labels.type) for fits in _CLASSES):
        raise InvalidInput(f"the target {target!r} is {labels.type}", "classes are text, whole numbers or truth values")
    if labels.null_count:
        raise InvalidInput(f"the target {target!r} has nulls", "leave those rows out")
    return labels


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0


def _threshold(probabilities: Sequence[Sequence[float]], actual: Sequence[JSON]) -> float:
    """The cut on the second class's probability with the best F1 score, the highest such cut."""
    if any(len(row) != 2 for row in probabilities):
        raise ConfigError("a threshold is for two classes", "take evaluation.threshold_optimization out")
    positive = max(set(actual), default=None)
    ranked = sorted(zip((row[1] for row in probabilities), actual, strict=True), key=lambda one: -one[0])
    total, hits, best, cut = sum(one == positive for one in actual), 0, -1.0, 0.5
    for seen, (score, label) in enumerate(ranked, 1):
        hits += label == positive
        last = seen == len(ranked) or ranked[seen][0] != score  # equal scores fall on the same side of every cut
        if last and 2 * hits / (seen + total) > best:
            best, cut = 2 * hits / (seen + total), score
    return cut


def _check(spec: ModelSpec) -> None:
    if spec.task == "regression":
        raise ConfigError("acme is a classifier", "choose another type for a regression")
    for name in (*spec.evaluation.metrics, *spec.evaluation.require):
        if name not in METRICS:
            near = difflib.get_close_matches(name, METRICS, 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(METRICS)}"
            raise ConfigError(f"acme knows no metric {name!r}", remedy)


def _temperature(given: Mapping[str, JSON]) -> float:
    for name in given:
        if name != "temperature":
            near = difflib.get_close_matches(name, ["temperature"], 1)
            remedy = f"did you mean {near[0]!r}?" if near else "it has temperature"
            raise ConfigError(f"acme has no hyperparameter {name!r}", remedy)
    value = given.get("temperature", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"temperature is {value!r}", "a number above 0")
    return float(value)
