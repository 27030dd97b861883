"""Where versions of models are kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

from forge_core.contracts.driver import Driver
from forge_core.faults import Fault, NotFound
from forge_core.hookspecs import RegistryHooks
from forge_core.operations import operation
from forge_core.records.auth import Event
from forge_core.records.data import DatasetVersion
from forge_core.records.models import Lineage, ModelDraft, ModelMetadata, ModelStatus


class ModelRegistry(Driver):
    """Versions, aliases and lineage. A selector is `name@3`, `name@latest` or `name@alias`; a bare name means `latest`."""

    role: ClassVar[str] = "registry"

    @abstractmethod
    @operation(
        "model:register",
        resource="model:{draft.name}",
        mutates=True,
        gate=RegistryHooks.forge_before_register,
        tells=RegistryHooks.forge_model_registered,
    )
    def register_model(self, folder: Path, draft: ModelDraft) -> ModelMetadata:
        """Publish the files of `folder` as the next version: bytes first, then the row that names them.

        The same tenant, name, run and digest give the same version again. One idempotency key with another body is a `Conflict`.
        """

    @abstractmethod
    @operation("model:load", resource="model:{selector}", gate=RegistryHooks.forge_before_load)
    def checkout(self, selector: str) -> Path:
        """A local, read-only folder with the version's files, verified against its digest before anything is parsed."""

    @abstractmethod
    @operation("model:read", resource="model:{selector}")
    def get(self, selector: str) -> ModelMetadata:
        """`NotFound` where there is none. `latest` is the newest version that is neither FAILED nor ARCHIVED."""

    @operation("model:read", resource="model:{selector}")
    def intact(self, selector: str) -> bool:
        """Whether the version is there and not known to be damaged; reads no files (`verify` does)."""
        try:
            self.get(selector)
        except NotFound:
            return False
        return True

    @abstractmethod
    @operation("model:list", resource="models")
    def search(self, name: str | None = None, tags: Mapping[str, str] | None = None, limit: int = 100) -> Sequence[ModelMetadata]:
        """Newest first."""

    @abstractmethod
    @operation("model:transition", resource="model:{selector}", mutates=True, tells=RegistryHooks.forge_model_transitioned)
    def transition(self, selector: str, expected: ModelStatus, to: ModelStatus) -> ModelMetadata:
        """Move a version's status. `Conflict` where it is not `expected`, `InvalidInput` where the move is not legal."""

    @abstractmethod
    @operation("model:alias", resource="model:{name}@{alias}", mutates=True)
    def set_alias(self, name: str, alias: str, version: int, expected: int | None, reason: str = "") -> None:
        """Point an alias at a version. `Conflict` where it does not point at `expected` (None: nowhere) now."""

    @abstractmethod
    @operation("model:read", resource="model:{name}@{alias}")
    def alias_at(self, name: str, alias: str, at: datetime) -> int | None:
        """The version an alias pointed at then."""

    @abstractmethod
    @operation("model:read", resource="model:{name}@{alias}")
    def alias_history(self, name: str, alias: str) -> Sequence[Event]:
        """Oldest first."""

    @abstractmethod
    @operation("model:read", resource="model:{name}")
    def aliases(self, name: str) -> Mapping[str, int]:
        """Where each alias of a model points now."""

    @abstractmethod
    @operation("model:lineage", resource="model:{selector}", mutates=True)
    def track_lineage(self, selector: str, parents: Sequence[str], data: Sequence[DatasetVersion]) -> None: ...

    @abstractmethod
    @operation("model:read", resource="model:{selector}")
    def lineage(self, selector: str, upward: bool = True) -> Lineage:
        """Upward: run, code, data and parents. Downward: the versions that name this one as a parent."""

    @abstractmethod
    @operation("model:verify", resource="models")
    def verify(self, selector: str | None = None) -> Sequence[Fault]:
        """Compare stored bytes with their digests; a version that does not fit is quarantined, the others are unaffected."""

    @abstractmethod
    @operation("model:gc", resource="models", mutates=True)
    def collect_garbage(self, older_than: timedelta) -> int:
        """Remove bytes that no row names and that are older than this; returns the bytes freed."""
