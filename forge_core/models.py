"""The one place where a model is loaded: verified files, drivers of the catalog, transforms, threshold.

Needs the extra `arrow`. A manifest names drivers, never modules; anything else in it is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from forge_core.contracts.flavor import Flavor, Predictor, ServedModel
from forge_core.contracts.transform import Transformation
from forge_core.faults import ConfigError, InvalidInput, UnsafeFormat
from forge_core.records.data import JSON, ArrowStream, Column
from forge_core.records.models import FittedTransform, ModelManifest, ModelMetadata, TaskKind
from forge_core.wiring import structure

if TYPE_CHECKING:
    from forge_core.kernel import Kernel

FORMAT = 1
MAX_MANIFEST = 16_000_000  # bytes


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    return tuple(Column(one.name, str(one.type), one.nullable) for one in schema)


def read_manifest(folder: Path) -> ModelManifest:
    """`forge.json`, strictly: an unknown key, another format or another type is `UnsafeFormat`."""
    path = folder / "forge.json"
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_MANIFEST:
        raise UnsafeFormat("the model has no readable forge.json", "it was not made by forge train")
    try:
        said = json.loads(path.read_bytes())
        manifest = structure(said, ModelManifest)
    except (ValueError, ConfigError, RecursionError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnsafeFormat(f"forge.json is not a manifest: {first}", "it was not made by forge train") from None
    if manifest.format != FORMAT:
        raise UnsafeFormat(f"forge.json is of format {manifest.format}, this release reads {FORMAT}", "pip install -U forge-kernel")
    return manifest


def load_folder(kernel: Kernel, folder: Path, metadata: ModelMetadata | None = None) -> ServedModel:
    """A model's folder as a predictor that takes raw rows."""
    manifest = read_manifest(folder)
    _known_name(kernel, "flavor", manifest.flavor)
    flavor: Flavor = kernel.driver("flavor", manifest.flavor)
    if flavor.executes_code:
        raise UnsafeFormat(f"the flavor {manifest.flavor!r} can execute code when it is loaded", "train it with a flavor that cannot")
    transforms = []
    for one in manifest.transforms:
        _known_name(kernel, "transform", one.type)
        transform: Transformation = kernel.make("transform", one.type, one.config)
        if not transform.by_row:
            raise UnsafeFormat(f"the transform {one.type!r} changes rows and cannot be served", "it was not made by forge train")
        transforms.append((transform, one))
    inner = Thresholded(flavor.load(folder / "flavor"), manifest.task, manifest.classes, manifest.threshold)
    return Served(manifest, metadata, transforms, inner)


def _known_name(kernel: Kernel, role: str, name: str) -> None:
    if name not in {ref.name for ref in kernel.catalog.ready(role)}:
        raise UnsafeFormat(f"the model names a {role} {name!r} that is not installed", f"pip install what offers the {role} {name!r}")


class Thresholded(Predictor):
    """A binary classifier's `prediction` by its chosen threshold instead of one half."""

    def __init__(self, inner: Predictor, task: TaskKind, classes: Sequence[JSON], threshold: float | None) -> None:
        self._inner, self._threshold = inner, threshold if task == "binary" else None
        self._classes = pa.array(list(classes))

    def predict(self, data: ArrowStream) -> ArrowStream:
        told: ArrowStream = self._inner.predict(data)
        if self._threshold is None:
            return told
        table = pa.table(told)
        second = pc.list_element(table["probabilities"], 1)
        chosen = self._classes.take(pc.cast(pc.greater_equal(second, self._threshold), pa.int64()).combine_chunks())
        cut: ArrowStream = table.set_column(table.column_names.index("prediction"), "prediction", chosen)
        return cut


class Served(ServedModel):
    """Raw rows in, as Arrow or as a list of mappings; columns that the manifest does not name are ignored, one that is missing is named."""

    def __init__(
        self,
        manifest: ModelManifest,
        metadata: ModelMetadata | None,
        transforms: Sequence[tuple[Transformation, FittedTransform]],
        inner: Predictor,
    ) -> None:
        self.manifest = manifest
        if metadata is not None:
            self.metadata = metadata
        self._names = [column.name for column in manifest.inputs]
        self._transforms, self._inner = transforms, inner

    def predict(self, data: ArrowStream) -> ArrowStream:
        rows = pa.Table.from_pylist(data) if isinstance(data, list) else pa.table(data)
        missing = [name for name in self._names if name not in rows.column_names]
        if missing:
            raise InvalidInput(f"the column {missing[0]!r} is missing", f"the model takes: {', '.join(self._names)}")
        stream: ArrowStream = rows.select(self._names)
        for transform, fitted in self._transforms:
            stream = transform.apply(stream, fitted.state)
        return self._inner.predict(stream)
