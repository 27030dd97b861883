"""The driver `jsonl`: data sets that are files of JSON lines."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import pyarrow as pa
import pyarrow.json
from attrs import frozen

from forge_core.contracts import Capability, DataSourceConnector
from forge_core.faults import Conflict, InvalidInput, NotFound
from forge_core.records import Column, DatasetVersion, Project, Query, TrainingData
from forge_stranger.conditions import expression

SUFFIX = ".jsonl"


class JsonLinesConnector(DataSourceConnector):
    """A data set is one file, read whole, and its version is the digest of its bytes: only the present one can be had.

    It filters and orders. It neither masks nor samples, and does not declare that it could: the kernel refuses a query
    that must be masked before it comes here.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.FILTERS, Capability.ORDER})

    @frozen
    class Settings:
        """`root` is a folder relative to the project; no data set lies outside it."""

        root: str = "data"

    def __init__(self, settings: Settings, *, project: Project) -> None:
        self._root = (project.root / settings.root).resolve()
        self._listed = {spec.name: spec for spec in project.datasets if spec.path.endswith(SUFFIX)}

    def resolve(self, query: Query) -> DatasetVersion:
        return self._version(query, _digest(self._bytes(query.dataset)))

    def fetch_training_data(self, query: Query, limit: int | None = None) -> TrainingData:
        if query.sample is not None or query.masked:
            raise InvalidInput("the connector jsonl can neither sample nor mask", "read without, or through another connector")
        content = self._bytes(query.dataset)
        version = self._version(query, _digest(content))
        schema = _rows(content, query, 0).schema
        return TrainingData(version, query, _columns(schema), partial(self._open, query, version, limit))

    def datasets(self) -> Sequence[str]:
        return sorted({*self._listed, *(path.stem for path in self._root.glob(f"*{SUFFIX}"))})

    def schema(self, name: str) -> tuple[Column, ...]:
        return _columns(_parsed(self._bytes(name), name).schema)

    def _open(self, query: Query, version: DatasetVersion, limit: int | None) -> pa.Table:
        content = self._bytes(query.dataset)
        if _digest(content) != version.digest:
            raise Conflict(f"the data set {query.dataset!r} has changed since it was resolved", "start again with the data as it is now")
        return _rows(content, query, limit)

    def _version(self, query: Query, digest: str) -> DatasetVersion:
        listed = self._listed.get(query.dataset)
        wanted = listed.version if listed is not None and query.version == "latest" else query.version
        if wanted not in ("latest", digest, digest[:12]):
            raise NotFound(f"{query.dataset}@{wanted} is not what lies there now", f"the present version is {digest[:12]}")
        return DatasetVersion(query.dataset, digest[:12], digest)

    def _bytes(self, name: str) -> bytes:
        listed = self._listed.get(name)
        try:
            path = (self._root / (listed.path if listed is not None else name + SUFFIX)).resolve()
            if path.is_relative_to(self._root):
                return path.read_bytes()
        except (OSError, RuntimeError, ValueError):  # not there, a circle of links, a NUL in the name
            raise NotFound(f"there is no data set {name!r}", f"known: {', '.join(self.datasets()) or 'none'}") from None
        raise InvalidInput(f"the data set {name!r} lies outside the connector's root", "name one that lies inside")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _columns(schema: pa.Schema) -> tuple[Column, ...]:
    return tuple(Column(field.name, str(field.type), field.nullable) for field in schema)


def _parsed(content: bytes, name: str) -> pa.Table:
    """All rows; the types are inferred from all of them, since the file is one block."""
    try:
        return pa.json.read_json(pa.BufferReader(content), pa.json.ReadOptions(block_size=len(content) + 1))
    except pa.ArrowException as error:
        raise InvalidInput(f"{name!r} is not made of JSON lines: {str(error).splitlines()[0]}", "one object a line") from None


def _rows(content: bytes, query: Query, limit: int | None) -> pa.Table:
    """What the query asks for: conditions first, then the order, the limit and the columns."""
    table = _parsed(content, query.dataset)
    for name in (*(query.columns or ()), *query.order_by, *(condition.column for condition in query.where)):
        if name not in table.column_names:
            near = difflib.get_close_matches(name, table.column_names, 1)
            raise InvalidInput(
                f"{query.dataset} has no column {name!r}",
                f"did you mean {near[0]!r}?" if near else f"columns: {', '.join(table.column_names)}",
            )
    if query.where:
        table = table.filter(expression(query.where, table.schema))
    if query.order_by:
        table = table.sort_by([(name, "ascending") for name in query.order_by])
    return table.slice(0, limit).select(query.columns if query.columns is not None else table.column_names)
