"""Wrong registries: versions, aliases, copies, searches, lineage and garbage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import sqlalchemy as sa
from mutant_swap import swap

from forge_core.database import Database
from forge_core.faults import Conflict, InvalidInput
from forge_core.operations import describe
from forge_core.records import LEGAL_MOVES, Event, ModelDraft, ModelMetadata, ModelStatus, Project, Storage
from forge_core.serialize import digest_of
from forge_registry import aliases, ancestry, versions
from forge_registry.blobs import Blob
from forge_registry.bundle import BundleFile, copy_bundle
from forge_registry.checkouts import Checkouts
from forge_registry.garbage import hold
from forge_registry.names import Selector, acting_tenant
from forge_registry.registry import SqlRegistry
from forge_registry.tables import MODELS, PARENTS, REQUESTS, VERSIONS


class NumberBeforeTheTransaction(SqlRegistry):
    """A version's number is max()+1, read before the transaction that uses it."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def register_model(self, folder: Path, draft: ModelDraft) -> ModelMetadata:
        tenant = acting_tenant()
        versions.check_draft(draft)
        mine = sa.and_(VERSIONS.c.tenant == tenant, VERSIONS.c.name == draft.name)
        with self._database.read() as connection:
            last = connection.execute(sa.select(sa.func.max(VERSIONS.c.version)).where(mine)).scalar() or 0
        try:
            with self._blobs.staging(tenant) as staging:
                files = copy_bundle(folder, staging.add)
                staging.publish()
                with self._database.transaction() as connection:
                    hold(connection, self._blobs, tenant, (Blob(file.sha256, file.size) for file in files))
                    here = sa.and_(MODELS.c.tenant == tenant, MODELS.c.name == draft.name)
                    connection.execute(MODELS.update().where(here).values(last_version=last))
                    return versions.publish(connection, tenant, draft, files)
        except versions.Known as known:
            return known.model


class DigestOfNames(SqlRegistry):
    """A version's digest is over the names and sizes of its files."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def open(self) -> None:
        super().open()
        swap(versions, "digest_of_files", _digest_of_names)


def _digest_of_names(files: Iterable[BundleFile]) -> str:
    return digest_of(sorted([file.path, file.size] for file in files))


class RowBeforeBytes(SqlRegistry):
    """The row is committed first, and the bytes that it names are published after it."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def _publish(self, tenant: str, folder: Path, draft: ModelDraft) -> ModelMetadata:
        with self._blobs.staging(tenant) as staging:
            files = copy_bundle(folder, staging.add)
            with self._database.transaction() as connection:
                model = versions.publish(connection, tenant, draft, files)
                describe(resource=f"model:{model.selector}", after={"version": model.version})
            staging.publish()
        return model


class KeyWithoutBody(SqlRegistry):
    """An idempotency key that was used for something else answers with what it was used for."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def open(self) -> None:
        super().open()
        swap(versions, "_requested", _requested)


def _requested(connection: sa.Connection, tenant: str, draft: ModelDraft, body: str) -> ModelMetadata | None:
    query = sa.select(REQUESTS).where(REQUESTS.c.tenant == tenant, REQUESTS.c.key == draft.idempotency_key)
    request = connection.execute(query).one_or_none()
    if request is None:
        return None
    return versions.to_model(versions.find(connection, tenant, Selector(request.name, version=request.version)))


class UnverifiedCheckout(SqlRegistry):
    """A local copy that is there is handed out as it is."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def __init__(self, *, database: Database, storage: Storage, project: Project) -> None:
        super().__init__(database=database, storage=storage, project=project)
        self._checkouts = _Trusting(project.state / "models", self._blobs)


class _Trusting(Checkouts):
    def take(self, tenant: str, digest: str, files: Sequence[BundleFile]) -> Path:
        return self._folder(tenant, digest) if self.has(tenant, digest) else super().take(tenant, digest, files)


class LatestOfAll(SqlRegistry):
    """`latest` is the newest version whatever its status."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def open(self) -> None:
        super().open()
        swap(versions, "_OUT_OF_USE", ())


class SearchInAllTenants(SqlRegistry):
    """A search finds the versions of every tenant."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def search(self, name: str | None = None, tags: Mapping[str, str] | None = None, limit: int = 100) -> Sequence[ModelMetadata]:
        with self._database.read() as connection:
            tenants = {acting_tenant(), *connection.execute(sa.select(VERSIONS.c.tenant).distinct()).scalars()}
            found = [model for tenant in tenants for model in versions.search(connection, tenant, name, tags, limit)]
        return sorted(found, key=lambda model: (model.created_at, model.version), reverse=True)[:limit]


class LimitBeforeTags(SqlRegistry):
    """A search's limit counts versions before those without the tags are left out."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def search(self, name: str | None = None, tags: Mapping[str, str] | None = None, limit: int = 100) -> Sequence[ModelMetadata]:
        return [model for model in super().search(name, None, limit) if (tags or {}).items() <= model.tags.items()]


class UncheckedMoves(SqlRegistry):
    """A status moves wherever it is told to, legal or not."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def transition(self, selector: str, expected: ModelStatus, to: ModelStatus) -> ModelMetadata:
        with self._database.transaction() as connection:
            row = versions.find(connection, acting_tenant(), Selector.parse(selector), lock=True)
            model = versions.move(connection, row, expected, to)
            describe(resource=f"model:{model.selector}", before={"status": expected.value}, after={"status": to.value})
        return model


class UnexpectedMoves(SqlRegistry):
    """A status moves from what it is, not from what the caller expects it to be."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def transition(self, selector: str, expected: ModelStatus, to: ModelStatus) -> ModelMetadata:
        with self._database.transaction() as connection:
            row = versions.find(connection, acting_tenant(), Selector.parse(selector), lock=True)
            now = ModelStatus(row.status)
            if to not in LEGAL_MOVES[now]:
                raise InvalidInput(f"no version moves from {now.value} to {to.value}", "look at its status")
            model = versions.move(connection, row, now, to)
            describe(resource=f"model:{model.selector}", before={"status": now.value}, after={"status": to.value})
        return model


class AliasSetBlindly(SqlRegistry):
    """An alias is set without a look at where it is expected to point."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def set_alias(self, name: str, alias: str, version: int, expected: int | None, reason: str = "") -> None:
        tenant = acting_tenant()
        with self._database.transaction() as connection:
            now = aliases.targets(connection, tenant, name).get(alias)
            aliases.point(connection, tenant, name, alias, version, now, reason)
            describe(after={"version": version, "reason": reason})


class AliasComparedEarly(SqlRegistry):
    """An alias is compared with what is expected before the transaction that sets it."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def set_alias(self, name: str, alias: str, version: int, expected: int | None, reason: str = "") -> None:
        tenant = acting_tenant()
        with self._database.read() as connection:
            if aliases.targets(connection, tenant, name).get(alias) != expected:
                raise Conflict(f"{name}@{alias} does not point at {expected} now", "look where it points, then decide anew")
        with self._database.transaction() as connection:
            now = aliases.targets(connection, tenant, name).get(alias)
            aliases.point(connection, tenant, name, alias, version, now, reason)
            describe(after={"version": version, "reason": reason})


class HistoryByVersion(SqlRegistry):
    """The history of an alias is sorted by version, which is the order of time until it goes back."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def alias_history(self, name: str, alias: str) -> Sequence[Event]:
        return sorted(super().alias_history(name, alias), key=lambda event: int(event.after["version"]))


class ChildrenOfAnyVersion(SqlRegistry):
    """Lineage downward finds those that were made from any version of the name."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def open(self) -> None:
        super().open()
        swap(ancestry, "_neighbours", _neighbours)


_right_neighbours = ancestry._neighbours


def _neighbours(connection: sa.Connection, tenant: str, version: ancestry.Version, upward: bool) -> list[ancestry.Version]:
    if upward:
        return _right_neighbours(connection, tenant, version, upward)
    edge = PARENTS.c
    query = sa.select(edge.name, edge.version).where(edge.tenant == tenant, edge.parent_name == version[0])
    return [(name, number) for name, number in connection.execute(query.order_by(edge.name, edge.version))]


class SizesAlone(SqlRegistry):
    """Stored files are verified by their sizes."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def _wrong_blob(self, tenant: str, blob: Blob) -> str | None:
        return None if self._blobs.holds(tenant, blob) else "missing"


class VerifiedAndForgotten(SqlRegistry):
    """What is found damaged is told, and handed out afterwards as before."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def _quarantine(self, row: sa.Row[Any], why: str | None) -> None:
        return


class GarbageOfAnyAge(SqlRegistry):
    """Garbage is collected whatever its age, uploads that are under way among it."""

    suite: ClassVar[str] = "forge_registry.testing:TestSqlRegistry"

    def collect_garbage(self, older_than: timedelta) -> int:
        return super().collect_garbage(min(older_than, timedelta(0)))
