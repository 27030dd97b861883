"""The flavor `centroids`: one JSON file of numbers and names, read strictly; nothing in it can be executed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np

from forge_core.contracts import Flavor, Predictor
from forge_core.faults import InvalidInput, UnsafeFormat
from forge_core.files import write_atomically
from forge_core.records import JSON, ArrowStream, TrainedModel
from forge_stranger.centroids import Centroids, CentroidsPredictor, Floats

FILE = "centroids.json"
KEYS = {"features", "classes", "means", "spread", "temperature"}
MAX_BYTES = 64_000_000


class CentroidsFlavor(Flavor):
    executes_code: ClassVar[bool] = False

    def save(self, trained: TrainedModel, folder: Path, sample: ArrowStream) -> None:
        model = trained.model
        if not isinstance(model, Centroids):
            raise InvalidInput("the flavor centroids saves what nearest_centroid trains", "choose the trainer's own flavor")
        said = {
            "features": model.features,
            "classes": model.classes,
            "means": model.means.tolist(),
            "spread": model.spread.tolist(),
            "temperature": model.temperature,
        }
        write_atomically(folder / FILE, json.dumps(said, allow_nan=False).encode())

    def load(self, folder: Path) -> Predictor:
        strange = sorted(path.name for path in folder.iterdir() if path.name != FILE)
        path = folder / FILE
        if strange or path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise UnsafeFormat(
                f"the model is not one file {FILE}" + (f" but has {strange[0]!r}" if strange else ""), "publish the model again"
            )
        try:
            return CentroidsPredictor(_model(json.loads(path.read_bytes())))
        except (ValueError, TypeError, KeyError, RecursionError):
            raise InvalidInput(f"{FILE} is damaged", "publish the model again") from None


def _model(said: JSON) -> Centroids:
    """Raises ValueError, TypeError or KeyError where the file is not as `save` writes it."""
    if not isinstance(said, dict) or said.keys() != KEYS:
        raise ValueError
    features, classes = tuple(said["features"]), tuple(said["classes"])
    means, spread = _numbers(said["means"], (len(classes), len(features))), _numbers(said["spread"], (len(features),))
    temperature = _numbers(said["temperature"], ())
    if not all(isinstance(name, str) for name in features) or not all(isinstance(one, str | int) for one in classes) or len(classes) < 2:
        raise ValueError
    if len({type(one) for one in classes}) > 1 or not (spread > 0).all() or temperature <= 0:
        raise ValueError
    return Centroids(features, classes, means, spread, float(temperature))


def _numbers(said: JSON, shape: tuple[int, ...]) -> Floats:
    made = np.asarray(said)
    if made.shape != shape or made.dtype.kind not in "if" or not np.isfinite(made).all():
        raise ValueError
    return made.astype(np.float64)
