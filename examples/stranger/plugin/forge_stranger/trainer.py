"""The trainer `nearest_centroid`: a row belongs to the class whose mean is nearest."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forge_core.contracts import Predictor, Trainer
from forge_core.faults import ConfigError, InvalidInput
from forge_core.records import JSON, ArrowStream, ModelSpec, TrainedModel, TrainingContext, TrainingData
from forge_stranger.centroids import Centroids, matrix

METRICS = ("accuracy", "balanced_accuracy")


class NearestCentroidTrainer(Trainer):
    """Distances are counted in each feature's standard deviation within the classes.

    One hyperparameter: `temperature`, above 1 for probabilities that are less sure of themselves, below 1 for surer ones.
    """

    def train(self, spec: ModelSpec, data: TrainingData, context: TrainingContext) -> TrainedModel:
        temperature = _temperature(spec.hyperparameters)
        self._check(spec)
        table = pa.table(data)
        context.progress(0.0, f"{table.num_rows} rows")
        features = tuple(name for name in table.column_names if name != spec.target)
        rows, labels = matrix(table, features), table[spec.target].combine_chunks()
        if pa.types.is_floating(labels.type):
            raise InvalidInput(f"the target {spec.target!r} is {labels.type}", "classes are text, whole numbers or truth values")
        classes = sorted(pc.unique(labels).to_pylist())
        if len(classes) < 2:
            raise InvalidInput(f"the target {spec.target!r} has one value only", "train on rows of two classes or more")
        codes = pc.index_in(labels, pa.array(classes, labels.type)).to_numpy()
        means = np.stack([rows[codes == code].mean(axis=0) for code in range(len(classes))])
        spread = np.sqrt(((rows - means[codes]) ** 2).mean(axis=0))
        model = Centroids(features, tuple(classes), means, np.where(spread > 0, spread, 1.0), temperature)
        context.progress(1.0, "trained")
        return TrainedModel(
            model=model,
            flavor="centroids",
            task="binary" if len(classes) == 2 else "multiclass",
            classes=model.classes,
            parameters={"temperature": temperature},
            dependencies=(f"numpy=={np.__version__}",),
        )

    def evaluate(self, spec: ModelSpec, predictor: Predictor, data: ArrowStream) -> Mapping[str, float]:
        self._check(spec)
        table = pa.table(data)
        told = pa.table(predictor.predict(table.drop_columns([spec.target])))
        actual = table[spec.target].to_numpy()
        right = told["prediction"].to_numpy() == actual
        recalls = [right[actual == label].mean() for label in np.unique(actual)]
        found = {"accuracy": float(right.mean()), "balanced_accuracy": float(np.mean(recalls))}
        wanted = {*spec.evaluation.metrics, *spec.evaluation.require} or found.keys()
        return {name: value for name, value in found.items() if name in wanted}

    def _check(self, spec: ModelSpec) -> None:
        if spec.task == "regression":
            raise ConfigError("nearest_centroid is a classifier", "choose another type for a regression")
        if spec.evaluation.threshold_optimization:
            raise ConfigError("nearest_centroid optimizes no threshold", "take evaluation.threshold_optimization out")
        for name in (*spec.evaluation.metrics, *spec.evaluation.require):
            if name not in METRICS:
                raise ConfigError(f"nearest_centroid knows no metric {name!r}", f"one of {', '.join(METRICS)}")


def _temperature(given: Mapping[str, JSON]) -> float:
    for name in given:
        if name != "temperature":
            near = difflib.get_close_matches(name, ["temperature"], 1)
            raise ConfigError(
                f"nearest_centroid has no hyperparameter {name!r}", f"did you mean {near[0]!r}?" if near else "it has temperature"
            )
    value = given.get("temperature", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"temperature is {value!r}", "a number above 0")
    return float(value)
