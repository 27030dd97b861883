"""`connector: acme`: a data set is an Arrow file (Feather), or a folder of them."""

from __future__ import annotations

import difflib
import os
import re
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
from attrs import frozen
from forge_core.contracts import Capability, DataSourceConnector
from forge_core.faults import Conflict, InvalidInput, NotFound
from forge_core.files import file_digest
from forge_core.records import Column, DatasetVersion, Project, Query, TrainingData
from forge_core.serialize import digest_of

from forge_acme.conditions import check, kept

SUFFIX = ".arrow"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_SETTLED = 2_000_000_000  # ns: a file that was changed less long ago may be changed again within one tick of its clock


class AcmeConnector(DataSourceConnector):
    """The version of a data set is the digest of its files, so only the present one can be had.

    It reads batch by batch and filters while it reads. It neither masks, samples nor orders, and declares none of them.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.FILTERS})

    @frozen
    class Settings:
        """`root` is a folder relative to the project; nothing outside it is read."""

        root: str = "data"

    def __init__(self, settings: Settings, *, project: Project) -> None:
        self._root = (project.root / settings.root).resolve()
        self._listed = {spec.name: spec for spec in project.datasets if spec.format == "arrow"}
        self._digests: dict[tuple[str, int, int, int, int], str] = {}

    def resolve(self, query: Query) -> DatasetVersion:
        digest = self._digest(self._files(query.dataset))
        listed = self._listed.get(query.dataset)
        wanted = listed.version if listed is not None and query.version == "latest" else query.version
        if wanted not in ("latest", digest, digest[:12]):
            raise NotFound(f"{query.dataset} has no version {wanted!r:.60}", f"the present one is {digest[:12]}")
        return DatasetVersion(query.dataset, digest[:12], digest)

    def fetch_training_data(self, query: Query, limit: int | None = None) -> TrainingData:
        if query.sample is not None or query.order_by or query.masked:
            raise InvalidInput("this connector can neither sample, order nor mask", "choose one that declares it")
        if limit is not None and limit < 0:
            raise InvalidInput(f"{limit} is no limit", "a whole number from 0")
        version, files = self.resolve(query), self._files(query.dataset)
        schema = _schema(files[0])
        for name in (*(query.columns or ()), *(condition.column for condition in query.where)):
            _known(name, schema, query.dataset)
        for condition in query.where:
            check(condition, schema.field(condition.column))
        wanted = _wanted(query, schema)
        return TrainingData(version, query, _columns(wanted), partial(self._open, query, version, wanted, limit))

    def datasets(self) -> Sequence[str]:
        found = set(self._listed)
        for path in self._root.iterdir() if self._root.is_dir() else ():
            if path.suffix == SUFFIX or (path.is_dir() and next(path.glob(f"*{SUFFIX}"), None) is not None):
                found.add(path.name.removesuffix(SUFFIX))
        return sorted(name for name in found if _NAME.fullmatch(name))

    def schema(self, name: str) -> tuple[Column, ...]:
        return _columns(_schema(self._files(name)[0]))

    def _open(
        self, query: Query, version: DatasetVersion, wanted: pa.Schema, limit: int | None
    ) -> pa.RecordBatchReader:
        """One pass over exactly `version`, which is compared before the first row and after the last one."""
        self._require(version)
        return pa.RecordBatchReader.from_batches(wanted, self._rows(query, version, wanted, limit))

    def _rows(
        self, query: Query, version: DatasetVersion, wanted: pa.Schema, limit: int | None
    ) -> Iterator[pa.RecordBatch]:
        left = limit
        try:
            for batch in _batches(self._files(query.dataset), query, wanted):
                if left == 0:
                    break
                rows = kept(batch, query.where).select(wanted.names).slice(0, left)
                left = None if left is None else left - rows.num_rows
                yield rows
        except (pa.ArrowException, OSError, KeyError, NotFound):
            self._require(version)
            raise InvalidInput(
                f"the files of {version.dataset!r} are damaged, or do not fit together", "mend them"
            ) from None
        self._require(version)

    def _require(self, version: DatasetVersion) -> None:
        try:
            same = self._digest(self._files(version.dataset)) == version.digest
        except NotFound:
            same = False
        if not same:
            raise Conflict(f"the data set {version.dataset!r} has changed since it was resolved", "resolve it again")

    def _files(self, name: str) -> list[Path]:
        """The files of a data set, sorted; never one outside the root."""
        listed = self._listed.get(name)
        said = (listed.path or name) if listed is not None else name if _NAME.fullmatch(name) else None
        files = [] if said is None else _within(self._root, said)
        if not files:
            near = difflib.get_close_matches(name[:100], self.datasets(), 1)
            remedy = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(self.datasets()) or 'none'}"
            raise NotFound(f"there is no data set {name!r:.120}", remedy)
        return files

    def _digest(self, files: Sequence[Path]) -> str:
        return digest_of([[str(file.relative_to(self._root)), *self._hashed(file)] for file in files])

    def _hashed(self, file: Path) -> tuple[int, str]:
        """Size and hash; the hash is kept for a file that nobody touches."""
        try:
            seen = os.stat(file)
            key = (str(file), seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)
            digest = self._digests.get(key) or file_digest(file)
        except OSError as error:
            raise NotFound(f"{file.name}: {error.strerror}", "resolve the data set again") from None
        if time.time_ns() - seen.st_ctime_ns > _SETTLED:
            self._digests[key] = digest
        return seen.st_size, digest


def _within(root: Path, said: str) -> list[Path]:
    try:
        places = [(root / said).resolve(), (root / f"{said}{SUFFIX}").resolve()]
        found = [one for place in places for one in (sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else [place])]
        files = [file.resolve() for file in found if file.is_file()]
    except (OSError, RuntimeError, ValueError):  # a circle of links, a NUL in the path
        return []
    return files if all(file.is_relative_to(root) for file in files) else []


def _schema(file: Path) -> pa.Schema:
    try:
        with pa.OSFile(str(file)) as source:
            return pa.ipc.open_file(source).schema
    except (pa.ArrowException, OSError):
        raise InvalidInput(f"{file.name} is no Arrow file", "pyarrow.feather.write_feather writes one") from None


def _known(name: str, schema: pa.Schema, dataset: str) -> None:
    if schema.names.count(name) != 1:
        near = difflib.get_close_matches(name[:100], schema.names, 1)
        remedy = f"did you mean {near[0]!r}?" if near else f"columns: {', '.join(schema.names)}"
        raise InvalidInput(f"{dataset} has no column {name!r:.120}", remedy)


def _columns(schema: pa.Schema) -> tuple[Column, ...]:
    return tuple(Column(field.name, str(field.type), field.nullable) for field in schema)


def _wanted(query: Query, schema: pa.Schema) -> pa.Schema:
    return schema if query.columns is None else pa.schema([schema.field(name) for name in query.columns])


def _batches(files: Sequence[Path], query: Query, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Of each file only the columns that are wanted, or asked about, are read."""
    named = {*wanted.names, *(condition.column for condition in query.where)}
    for file in files:
        with pa.OSFile(str(file)) as source:
            everything = pa.ipc.open_file(source).schema
            fields = [place for place, name in enumerate(everything.names) if name in named]
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
