"""What the flavors of this distribution share: a folder of exactly two files, and the predictor made of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from forge_core.contracts import Flavor, Predictor
from forge_core.faults import InvalidInput, UnsafeFormat
from forge_core.records import ArrowStream, TrainedModel
from forge_tabular.answer import Amounts, Labels
from forge_tabular.columns import Matrix, matrix, table_of
from forge_tabular.fitted import Fitted
from forge_tabular.flavors.sidecar import NAME, Sidecar, read_sidecar, write_sidecar

Scores: TypeAlias = Callable[[Matrix], NDArray[np.floating]]


@frozen
class Loaded:
    """A model as it is asked: `score` turns rows by features into amounts (rows) or probabilities (rows by classes)."""

    score: Scores
    dtype: type[np.floating]
    nulls: bool = True


class TabularPredictor(Predictor):
    """Finds the features by name, in the order of training; other columns are ignored, a missing one is `InvalidInput`."""

    def __init__(self, loaded: Loaded, sidecar: Sidecar) -> None:
        self._loaded, self._features = loaded, sidecar.features
        self._answer = Amounts() if sidecar.task == "regression" else Labels(sidecar.classes, sidecar.threshold)

    def predict(self, data: ArrowStream) -> ArrowStream:
        table = table_of(data)
        values = matrix(table, self._features, self._loaded.dtype, nulls=self._loaded.nulls)
        return self._answer.table(self._loaded.score(values)) if len(table) else self._answer.schema.empty_table()  # type: ignore[no-any-return]


class TabularFlavor(Flavor):
    """`flavor.json` and `file`; whatever else lies in the folder is refused."""

    file: ClassVar[str]

    def save(self, trained: TrainedModel, folder: Path, sample: ArrowStream) -> None:
        model, features = _parts(trained.model, sample)
        write_sidecar(folder, Sidecar(features, trained.task, trained.classes, trained.threshold))
        self.write(model, folder / self.file)
        self.load(folder).predict(table_of(sample))  # what cannot be loaded and asked fails here, not when it is served

    def load(self, folder: Path) -> Predictor:
        if not folder.is_dir():
            raise InvalidInput("the model has no folder of its flavor", "publish the model again")
        strange = sorted(path.name for path in folder.iterdir() if path.name not in (NAME, self.file))
        if strange:
            raise UnsafeFormat(f"the model has a file {strange[0]!r} that does not belong to it", "publish the model again")
        sidecar = read_sidecar(folder)
        loaded = self.read(folder / self.file, sidecar)
        _try(loaded, sidecar)
        return TabularPredictor(loaded, sidecar)

    @abstractmethod
    def write(self, model: object, path: Path) -> None:
        """Write the library's own file; a model that this format cannot hold is `InvalidInput`."""

    @abstractmethod
    def read(self, path: Path, sidecar: Sidecar) -> Loaded:
        """Check the file as hostile, then load it."""


def _try(loaded: Loaded, sidecar: Sidecar) -> None:
    """Ask once: a file can be loaded and yet have parts that do not fit one another."""
    try:
        shape = loaded.score(np.zeros((1, len(sidecar.features)), loaded.dtype)).shape
    except Exception as error:
        raise damaged(f"it cannot be asked: {type(error).__name__}") from error
    require(shape == ((1,) if sidecar.task == "regression" else (1, len(sidecar.classes))), "its answers have another shape")


def _parts(model: object, sample: ArrowStream) -> tuple[object, tuple[str, ...]]:
    """A library's model and its features: those it was fitted on, else the columns of `sample`."""
    if isinstance(model, Fitted):
        return model.model, model.features
    named = getattr(model, "feature_names_in_", None)
    features = tuple(map(str, named)) if named is not None else tuple(table_of(sample).column_names)
    return model, features


def damaged(what: str) -> InvalidInput:
    """A model file that is not as the library writes it."""
    return InvalidInput(f"the model's file is damaged: {what}", "publish the model again")


def require(condition: object, what: str) -> None:
    if not condition:
        raise damaged(what)
