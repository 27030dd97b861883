"""How a trained model becomes files, and files a predictor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Protocol

from forge_core.contracts.driver import Driver
from forge_core.operations import operation
from forge_core.records.data import ArrowStream
from forge_core.records.models import ModelManifest, ModelMetadata, TrainedModel


class Predictor(ABC):
    """A loaded model."""

    @abstractmethod
    def predict(self, data: ArrowStream) -> ArrowStream:
        """One row out for each row in, in their order: `prediction`, and for classifiers `probabilities` (list<double>)."""


class ServedModel(Predictor):
    """A registered version with its transforms: raw rows in."""

    manifest: ModelManifest
    metadata: ModelMetadata


class Models(Protocol):
    """The one place where models are loaded, injected by annotation."""

    def load_model(self, selector: str) -> ServedModel: ...


class Flavor(Driver):
    """A file format. `executes_code` tells that loading one can run what is in it."""

    role: ClassVar[str] = "flavor"
    stable: ClassVar[bool] = True
    executes_code: ClassVar[bool] = False

    @abstractmethod
    @operation("model:save", resource="flavor")
    def save(self, trained: TrainedModel, folder: Path, sample: ArrowStream) -> None:
        """Write the model into the existing, empty `folder`.

        It may add a compiled sibling that it has checked against the original on `sample` (feature rows).
        """

    @abstractmethod
    @operation("model:load", resource="flavor")
    def load(self, folder: Path) -> Predictor:
        """The predictor of what `save` wrote. Anything else is `UnsafeFormat` or `InvalidInput`; nothing in it is executed."""
