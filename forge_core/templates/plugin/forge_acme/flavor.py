"""`flavor: acme`: one JSON file of names and numbers, in which nothing is executed."""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Sequence
from pathlib import Path

from forge_core.contracts import Flavor, Predictor
from forge_core.faults import InvalidInput, UnsafeFormat
from forge_core.files import write_atomically
from forge_core.records import JSON, ArrowStream, TrainedModel

from forge_acme.centroids import Centroids, CentroidsPredictor

FILE = "centroids.json"
_KEYS = {"features", "classes", "means", "spread", "temperature"}
_MAX_BYTES = 64_000_000


class AcmeFlavor(Flavor):
    """Saves what the trainer acme trains."""

    def save(self, trained: TrainedModel, folder: Path, sample: ArrowStream) -> None:
        model = trained.model
        if not isinstance(model, Centroids):
            raise InvalidInput("this flavor saves Centroids alone", "choose the trainer's own flavor")
        said = {name: getattr(model, name) for name in sorted(_KEYS)}
        write_atomically(folder / FILE, json.dumps(said, allow_nan=False).encode())

    def load(self, folder: Path) -> Predictor:
        try:
            seen = (folder / FILE).lstat()
            alone = [path.name for path in folder.iterdir()] == [FILE] and seen.st_nlink == 1
            if not alone or not stat.S_ISREG(seen.st_mode) or seen.st_size > _MAX_BYTES:
                raise UnsafeFormat(f"the model is not one file {FILE}", "publish the model again")
            return CentroidsPredictor(_model(json.loads((folder / FILE).read_bytes())))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            raise InvalidInput(f"{FILE} is missing or damaged", "publish the model again") from None


def _model(said: JSON) -> Centroids:
    """Raises ValueError, TypeError or KeyError where the file is not as `save` writes it."""
    if not isinstance(said, dict) or said.keys() != _KEYS:
        raise ValueError
    features, classes = tuple(said["features"]), tuple(said["classes"])
    if not features or not all(isinstance(name, str) for name in features) or len(set(features)) < len(features):
        raise ValueError
    if len(set(classes)) < 2 or len(set(classes)) < len(classes) or {type(one) for one in classes} - {str, int, bool}:
        raise ValueError
    if len({type(one) for one in classes}) > 1 or len(said["means"]) != len(classes):
        raise ValueError
    means = tuple(_numbers(one, len(features)) for one in said["means"])
    spread, (temperature,) = _numbers(said["spread"], len(features)), _numbers([said["temperature"]], 1)
    if min(spread) <= 0 or temperature <= 0:
        raise ValueError
    return Centroids(features, classes, means, spread, temperature)


def _numbers(said: Sequence[JSON], count: int) -> tuple[float, ...]:
    if len(said) != count or not all(type(one) in (int, float) and math.isfinite(one) for one in said):
        raise ValueError
    return tuple(float(one) for one in said)
