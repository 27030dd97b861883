"""Registry `sql`: versions of models in the project's database, their files in its storage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from forge_core.contracts import ModelRegistry
from forge_core.database import Database, ReadOnly
from forge_core.faults import DigestMismatch, Fault, InvalidInput, NotFound, Transient
from forge_core.operations import describe
from forge_core.records import LEGAL_MOVES, DatasetVersion, Event, Lineage, ModelDraft, ModelMetadata, ModelStatus, Project, Storage
from forge_registry import __version__, aliases, ancestry, versions
from forge_registry.blobs import Blob, Swept, sha256_of
from forge_registry.bundle import BundleFile, copy_bundle
from forge_registry.checkouts import Checkouts
from forge_registry.garbage import hold, sweep
from forge_registry.names import Selector, acting_tenant
from forge_registry.storage import open_blobs, reached
from forge_registry.tables import DISTRIBUTION, VERSIONS, prepare

_TRIES = 10
_PAGE = 500


class SqlRegistry(ModelRegistry):
    """Bytes first, durably; then one transaction with the version, its list of files and its event."""

    transactional = True

    def __init__(self, *, database: Database, storage: Storage, project: Project) -> None:
        self._database = database
        self._blobs = open_blobs(storage)
        self._checkouts = Checkouts(project.state / "models", self._blobs)

    def open(self) -> None:
        prepare(self._database)

    def register_model(self, folder: Path, draft: ModelDraft) -> ModelMetadata:
        tenant = acting_tenant()
        versions.check_draft(draft)
        for _ in range(_TRIES):
            try:
                return self._publish(tenant, folder, draft)
            except versions.Known as known:
                return known.model
            except (Swept, sa.exc.IntegrityError):
                continue  # a sweep was faster, or another request with this key: what it did is seen now
        raise Transient(f"{draft.name} could not be published: others were faster {_TRIES} times", "try again")

    def checkout(self, selector: str) -> Path:
        tenant = acting_tenant()
        with self._database.read() as connection:
            row = versions.find(connection, tenant, Selector.parse(selector))
            files = versions.manifest(connection, row)
        if row.quarantined is not None:
            raise _mismatch(row, row.quarantined)
        try:
            with reached("the version could not be taken out"):
                versions.check_manifest(row, files)
                return self._checkouts.take(tenant, row.digest, files)
        except DigestMismatch as error:
            self._quarantine(row, error.cause)
            raise _mismatch(row, error.cause) from error

    def intact(self, selector: str) -> bool:
        with self._database.read() as connection:
            try:
                return versions.find(connection, acting_tenant(), Selector.parse(selector)).quarantined is None
            except NotFound:
                return False

    def get(self, selector: str) -> ModelMetadata:
        with self._database.read() as connection:
            return versions.to_model(versions.find(connection, acting_tenant(), Selector.parse(selector)))

    def search(self, name: str | None = None, tags: Mapping[str, str] | None = None, limit: int = 100) -> Sequence[ModelMetadata]:
        with self._database.read() as connection:
            return versions.search(connection, acting_tenant(), name, tags, limit)

    def transition(self, selector: str, expected: ModelStatus, to: ModelStatus) -> ModelMetadata:
        if to not in LEGAL_MOVES[expected]:
            allowed = ", ".join(sorted(status.value for status in LEGAL_MOVES[expected])) or "nothing"
            raise InvalidInput(f"no version moves from {expected.value} to {to.value}", f"from {expected.value}: {allowed}")
        with self._database.transaction() as connection:
            row = versions.find(connection, acting_tenant(), Selector.parse(selector), lock=True)
            model = versions.move(connection, row, expected, to)
            describe(resource=f"model:{model.selector}", before={"status": expected.value}, after={"status": to.value})
        return model

    def set_alias(self, name: str, alias: str, version: int, expected: int | None, reason: str = "") -> None:
        with self._database.transaction() as connection:
            aliases.point(connection, acting_tenant(), name, alias, version, expected, reason)
            before = None if expected is None else {"version": expected}
            describe(before=before, after={"version": version, "reason": reason})

    def alias_at(self, name: str, alias: str, at: datetime) -> int | None:
        with self._database.read() as connection:
            return aliases.target_at(connection, acting_tenant(), name, alias, at)

    def alias_history(self, name: str, alias: str) -> Sequence[Event]:
        with self._database.read() as connection:
            return aliases.history(connection, acting_tenant(), name, alias)

    def aliases(self, name: str) -> Mapping[str, int]:
        with self._database.read() as connection:
            return aliases.targets(connection, acting_tenant(), name)

    def track_lineage(self, selector: str, parents: Sequence[str], data: Sequence[DatasetVersion]) -> None:
        tenant = acting_tenant()
        with self._database.transaction() as connection:
            row = versions.find(connection, tenant, Selector.parse(selector))
            ancestry.add_parents(connection, tenant, (row.name, row.version), parents)
            ancestry.add_data(connection, tenant, (row.name, row.version), data)
            read = [f"{item.dataset}@{item.version}" for item in data]
            describe(resource=f"model:{row.name}@{row.version}", after={"parents": list(parents), "data": read})

    def lineage(self, selector: str, upward: bool = True) -> Lineage:
        tenant = acting_tenant()
        with self._database.read() as connection:
            row = versions.find(connection, tenant, Selector.parse(selector))
            return ancestry.tree(connection, tenant, (row.name, row.version), upward=upward)

    def verify(self, selector: str | None = None) -> Sequence[Fault]:
        """A version whose stored bytes are found sound leaves quarantine; a local copy that is not is removed."""
        tenant = acting_tenant()
        checked: dict[Blob, str | None] = {}
        faults = []
        for row in self._rows(tenant, selector):
            with self._database.read() as connection:
                files = versions.manifest(connection, row)
            with reached("the store could not be verified"):
                wrong = self._wrong(tenant, row, files, checked)
                copy = self._wrong_copy(tenant, row, files)
            self._quarantine(row, wrong)
            name = f"model:{row.name}@{row.version}"
            if wrong is not None:
                remedy = "restore the file from a backup of infrastructure.storage, or register the same folder again; then verify"
                faults.append(Fault(name, DISTRIBUTION, __version__, wrong, remedy))
            if copy is not None:
                faults.append(
                    Fault(name, DISTRIBUTION, __version__, copy, "nothing to do: it was removed, and is made anew when it is needed")
                )
        return faults

    def collect_garbage(self, older_than: timedelta) -> int:
        tenant = acting_tenant()
        if older_than < timedelta(0):
            raise InvalidInput("an age is not negative", "say how old the oldest bytes may be, for instance 1 day")
        with reached("the store could not be swept"):
            freed = sweep(self._database, self._blobs, tenant, older_than)
            return freed + self._checkouts.sweep(tenant, datetime.now(UTC) - older_than)

    def _publish(self, tenant: str, folder: Path, draft: ModelDraft) -> ModelMetadata:
        with reached(f"{draft.name} could not be stored"), self._blobs.staging(tenant) as staging:
            files = copy_bundle(folder, staging.add)
            staging.publish()
            with self._database.transaction() as connection:
                hold(connection, self._blobs, tenant, (Blob(file.sha256, file.size) for file in files))
                model = versions.publish(connection, tenant, draft, files)
                after = {"version": model.version, "status": model.status.value, "digest": model.digest, "run_id": model.run_id}
                describe(resource=f"model:{model.selector}", after=after)
        return model

    def _rows(self, tenant: str, selector: str | None) -> Iterator[sa.Row[Any]]:
        if selector is not None:
            with self._database.read() as connection:
                found = versions.find(connection, tenant, Selector.parse(selector))
            yield found
            return
        after = 0
        while True:
            query = sa.select(VERSIONS).where(VERSIONS.c.tenant == tenant, VERSIONS.c.sequence > after)
            with self._database.read() as connection:
                rows = connection.execute(query.order_by(VERSIONS.c.sequence).limit(_PAGE)).all()
            if not rows:
                return
            yield from rows
            after = rows[-1].sequence

    def _wrong(self, tenant: str, row: sa.Row[Any], files: Sequence[BundleFile], checked: dict[Blob, str | None]) -> str | None:
        """What is wrong with a version's stored bytes. Blobs that versions share are read once."""
        try:
            versions.check_manifest(row, files)
        except DigestMismatch as error:
            return error.cause
        for file in files:
            blob = Blob(file.sha256, file.size)
            if blob not in checked:
                checked[blob] = self._wrong_blob(tenant, blob)
            if checked[blob] is not None:
                return f"the stored bytes of {file.path} are {checked[blob]}"
        return None

    def _wrong_blob(self, tenant: str, blob: Blob) -> str | None:
        try:
            with self._blobs.open(tenant, blob.sha256) as source:
                return None if sha256_of(source) == blob else "not those that were published"
        except FileNotFoundError:
            return "missing"

    def _wrong_copy(self, tenant: str, row: sa.Row[Any], files: Sequence[BundleFile]) -> str | None:
        if not self._checkouts.has(tenant, row.digest):
            return None
        try:
            self._checkouts.check(tenant, row.digest, files)
        except DigestMismatch as error:
            self._checkouts.drop(tenant, row.digest)
            return error.cause
        return None

    def _quarantine(self, row: sa.Row[Any], why: str | None) -> None:
        if row.quarantined == why:
            return
        with _if_writable(), self._database.transaction() as connection:
            versions.quarantine(connection, row, why)


@contextmanager
def _if_writable() -> Iterator[None]:
    """Who may only read is told of the damage; whoever may write next quarantines the version."""
    try:
        yield
    except ReadOnly:
        return


def _mismatch(row: sa.Row[Any], why: str) -> DigestMismatch:
    return DigestMismatch(f"{row.name}@{row.version} is quarantined: {why}", f"forge models verify {row.name}@{row.version}")
