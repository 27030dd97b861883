"""The driver `lake`: Parquet and CSV data sets where they lie, versioned by their content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from attrs import field, frozen

from forge_core.contracts import Capability, DataSourceConnector
from forge_core.database import Database
from forge_core.faults import ConfigError, InvalidInput, NotFound
from forge_core.hookspecs import DataHooks
from forge_core.operations import operation
from forge_core.records.data import JSON, Column, DatasetSpec, DatasetVersion, Query, TrainingData
from forge_core.records.project import Project
from forge_lake.checks import validate
from forge_lake.facts import Facts, FactsCache
from forge_lake.formats import format_named
from forge_lake.history import History, Registered
from forge_lake.masks import MaskKey
from forge_lake.names import dataset_name, hint, version_label
from forge_lake.places import Place, Root
from forge_lake.records import DatasetDetails, DatasetInfo, RegisteredVersion, Validation
from forge_lake.scan import columns_of, prepare
from forge_lake.snapshot import Snapshot, take
from forge_lake.versions import current_version, require_version


class LakeServiceConnector(DataSourceConnector):
    """Reads data sets by name: listed in forge.yaml, registered with a path, or found under the root.

    A data set is its files. They are kept by whoever wrote them, so a version can be read as long as it lies there.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset({Capability.FILTERS, Capability.MASKS, Capability.SAMPLE, Capability.ORDER})
    transactional: ClassVar[bool] = True

    @frozen
    class Settings:
        """`root` is a folder relative to the project, or an fsspec URL opened with `storage_options`; a batch has at most `batch_rows`."""

        root: str = "."
        format: Literal["parquet", "csv"] = "parquet"
        batch_rows: int = 131_072
        storage_options: Mapping[str, JSON] = field(factory=dict, repr=False)
        mask_key: str | None = field(default=None, repr=False)

    def __init__(self, settings: Settings, *, project: Project, database: Database) -> None:
        if settings.batch_rows < 1:
            raise ConfigError("batch_rows of the connector lake must be at least 1", "leave it out")
        self._settings = settings
        self._listed = {spec.name: spec for spec in project.datasets}
        self._root = Root(settings.root, project.root, settings.storage_options)
        self._history = History(database)
        self._cache = FactsCache(project.state)
        self._mask_key = MaskKey(project.state, settings.mask_key)
        self._read_only = project.read_only
        self._known: dict[str, Mapping[str, Facts]] = {}

    def resolve(self, query: Query) -> DatasetVersion:
        snapshot = self._snapshot(self._place(query.dataset), query.dataset)
        return self._version(query, snapshot)

    def fetch_training_data(self, query: Query, limit: int | None = None) -> TrainingData:
        """`sample` and `limit` count rows after `where`, `order_by` is ascending with nulls last and holds the rows in memory."""
        snapshot = self._snapshot(self._place(query.dataset), query.dataset, keep=True)
        version = self._version(query, snapshot)
        key = self._mask_key.read() if "hash" in query.masked.values() else b""
        scan = prepare(snapshot, query, limit, self._settings.batch_rows, key)
        return TrainingData(version, query, scan.columns, scan.open)

    def datasets(self) -> Sequence[str]:
        listed = {spec.name for spec in self._listed.values() if spec.connector == "lake"}
        elsewhere = self._listed.keys() - listed
        registered = {one.name for one in self._history.datasets()}
        return sorted({*listed, *registered, *self._root.names()} - elsewhere)

    def schema(self, name: str) -> tuple[Column, ...]:
        return columns_of(self._snapshot(self._place(name), name).schema)

    @operation("data:describe", resource="dataset:{name}")
    def info(self, name: str) -> DatasetInfo:
        """What is known of a data set without reading its files."""
        spec, registered = self._listed.get(name), self._history.dataset(name)
        try:
            place = self._place(name)
            path, format_name = place.shown, place.format.name
        except NotFound:
            known = spec or registered
            if known is None:
                raise
            path, format_name = known.path, known.format  # said to be somewhere, and not there now
        history = self._history.versions(name)
        return DatasetInfo(
            name=name,
            origin="forge.yaml" if spec is not None else "registered" if registered is not None and registered.path else "found",
            path=path,
            format=format_name,
            partitions=spec.partitions if spec is not None else (),
            target=spec.target if spec is not None else None,
            versions=len(history),
            registered=history[-1].name if history else None,
        )

    @operation("data:describe", resource="dataset:{name}")
    def details(self, name: str, version: str = "latest") -> DatasetDetails:
        """A data set as it lies there now; reads its bytes where their hashes are not known, and none of its rows."""
        snapshot = self._snapshot(self._place(name), name, keep=True)
        found = self._version(Query(name, version), snapshot)
        return DatasetDetails(self.info(name), found, columns_of(snapshot.schema), len(snapshot.facts), snapshot.size)

    @operation("data:describe", resource="dataset:{name}")
    def versions(self, name: str) -> Sequence[RegisteredVersion]:
        """What was registered of a data set, oldest first. `NotFound` where there is no such data set."""
        history = self._history.versions(name)
        if not history:
            self._place(name)
        return history

    @operation("data:validate", resource="dataset:{name}")
    def validate_dataset(self, name: str, version: str = "latest") -> Validation:
        """Read all of a data set once and tell what is wrong with it."""
        snapshot = self._snapshot(self._place(name), name, keep=True)
        found = self._version(Query(name, version), snapshot)
        return validate(snapshot, self.info(name), found)

    @operation("data:register", resource="dataset:{name}", mutates=True, tells=DataHooks.forge_dataset_registered)
    def register_dataset(self, name: str, path: str | None = None, format: str | None = None, label: str | None = None) -> DatasetVersion:  # noqa: A002 - the option is called so
        """Record what lies there now as a version: the next number, or the one this very content has already.

        `path` is relative to the root, for a data set that forge.yaml does not list. `Conflict` where the name is
        registered at another path, or the label is another version's.
        """
        if label is not None:
            version_label(label)
        place = self._place_to_register(name, path, format)
        snapshot = self._snapshot(place, name, keep=True)
        where = None if name in self._listed else Registered(name, place.path, place.format.name)
        self._history.register(snapshot, label, where)
        return current_version(snapshot, self._history.versions(name))

    def _place(self, name: str) -> Place:
        spec = self._listed.get(name)
        if spec is not None:
            return self._listed_place(spec)
        registered = self._history.dataset(name)
        if registered is not None and registered.path:
            return self._root.inside(name, registered.path, registered.format)
        try:
            return self._root.named(name, self._settings.format)
        except NotFound as error:
            raise NotFound(error.cause, hint(name, self.datasets(), "forge data list")) from None

    def _listed_place(self, spec: DatasetSpec) -> Place:
        if not spec.path:
            return self._root.named(spec.name, spec.format)
        return self._root.written(spec.name, spec.path, format_named(spec.format).name)

    def _place_to_register(self, name: str, path: str | None, format_name: str | None) -> Place:
        if name in self._listed:
            if path is not None or format_name is not None:
                raise InvalidInput(
                    f"forge.yaml lists the data set {name!r} with its path and format", "register it without them, or change forge.yaml"
                )
            return self._place(name)
        dataset_name(name)
        if path is None and format_name is None:
            return self._place(name)
        chosen = format_named(format_name or self._settings.format).name
        return self._root.inside(name, path, chosen) if path is not None else self._root.named(name, chosen)

    def _snapshot(self, place: Place, name: str, *, keep: bool = False) -> Snapshot:
        """What lies there now. Hashes are written down only where `keep` says so: resolving writes nothing."""
        key = f"{place.format.name} {place.files.key}"
        cached = self._cache.load(key)
        snapshot = take(name, place.files, place.format, {**cached, **self._known.get(key, {})})
        self._known[key] = snapshot.facts
        if keep and not self._read_only and snapshot.facts != cached:
            self._cache.save(key, snapshot.facts.values())
        return snapshot

    def _version(self, query: Query, snapshot: Snapshot) -> DatasetVersion:
        history = self._history.versions(query.dataset)
        spec = self._listed.get(query.dataset)
        wanted = spec.version if spec is not None and query.version == "latest" else query.version
        require_version(wanted, snapshot, history)
        return current_version(snapshot, history)
