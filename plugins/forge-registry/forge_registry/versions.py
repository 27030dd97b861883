"""Versions in the database: what may be published, the row it becomes, and how a selector finds it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from attrs import evolve

from forge_core.faults import Conflict, DigestMismatch, InvalidInput, NotFound
from forge_core.identifiers import new_id
from forge_core.records.models import ModelDraft, ModelMetadata, ModelStatus
from forge_core.serialize import canonical, digest_of, from_json, to_json
from forge_registry.bundle import BundleFile, digest_of_files
from forge_registry.names import Selector, model_name, run_id, tag_key, text
from forge_registry.tables import ALIASES, FILES, MODELS, PARENTS, REQUESTS, TAGS, VERSIONS, insert_if_absent

MOST_FOUND = 10_000
_PUBLISHED_AS = {ModelStatus.VALIDATING, ModelStatus.FAILED}
_OUT_OF_USE = (ModelStatus.FAILED.value, ModelStatus.ARCHIVED.value)
_MOVING = ("status", "updated_at")  # in columns; all else of a version is its document


class Known(Exception):
    """What is published was published before."""

    def __init__(self, model: ModelMetadata) -> None:
        super().__init__(model.selector)
        self.model = model


def check_draft(draft: ModelDraft) -> None:
    """`InvalidInput` for what no version may have."""
    model_name(draft.name)
    if draft.run_id:
        run_id(draft.run_id)
    text(draft.flavor, "a flavor", 200)
    for key, value in draft.tags.items():
        tag_key(key)
        text(value, f"tag {key!r}")
    if draft.idempotency_key is not None:
        text(draft.idempotency_key, "an idempotency key", 200)
    if draft.status not in _PUBLISHED_AS:
        raise InvalidInput(f"no version is published as {draft.status.value}", "publish it as validating, or as failed")
    try:
        canonical(to_json(draft))
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{draft.name}'s record is not JSON: {error}", "use finite numbers, texts, lists and mappings") from error


def publish(connection: sa.Connection, tenant: str, draft: ModelDraft, files: Sequence[BundleFile]) -> ModelMetadata:
    """Insert the next version with its manifest; `Known` where it exists. The row of the name is locked until the transaction ends."""
    digest = digest_of_files(files)
    body = digest_of({"draft": to_json(evolve(draft, idempotency_key=None)), "digest": digest})
    last = _lock_name(connection, tenant, draft.name)
    requested = _requested(connection, tenant, draft, body)
    if requested is not None:
        raise Known(requested)
    same = sa.select(VERSIONS).where(
        VERSIONS.c.tenant == tenant, VERSIONS.c.name == draft.name, VERSIONS.c.run_id == draft.run_id, VERSIONS.c.digest == digest
    )
    found = connection.execute(same).one_or_none()
    if found is not None and draft.idempotency_key is None:
        raise Known(to_model(found))
    model = to_model(found) if found is not None else _insert(connection, tenant, draft, digest, last + 1, files)
    if draft.idempotency_key is not None:
        request = {"tenant": tenant, "key": draft.idempotency_key, "body": body, "name": model.name, "version": model.version}
        connection.execute(REQUESTS.insert(), request)
    return model


def find(connection: sa.Connection, tenant: str, selector: Selector, *, lock: bool = False) -> sa.Row[Any]:
    """The row of the version that a selector means now, or `NotFound`. `lock` keeps it from moving until the transaction ends."""
    query = sa.select(VERSIONS).where(VERSIONS.c.tenant == tenant, VERSIONS.c.name == selector.name)
    if selector.version is not None:
        query = query.where(VERSIONS.c.version == selector.version)
    elif selector.alias is not None:
        target = sa.select(ALIASES.c.version).where(
            ALIASES.c.tenant == tenant, ALIASES.c.name == selector.name, ALIASES.c.alias == selector.alias
        )
        query = query.where(VERSIONS.c.version == target.scalar_subquery())
    else:
        query = query.where(VERSIONS.c.status.not_in(_OUT_OF_USE)).order_by(VERSIONS.c.version.desc()).limit(1)
    found = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if found is None:
        raise NotFound(f"there is no model {selector}", "forge models list")
    return found


def search(connection: sa.Connection, tenant: str, name: str | None, tags: Mapping[str, str] | None, limit: int) -> Sequence[ModelMetadata]:
    """Newest first; every value is bound."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MOST_FOUND:
        raise InvalidInput(f"a limit is a whole number from 1 to {MOST_FOUND}", "ask for less at a time")
    query = sa.select(VERSIONS).where(VERSIONS.c.tenant == tenant).limit(limit)
    if name is None:
        query = query.order_by(VERSIONS.c.created_at.desc(), VERSIONS.c.sequence.desc())
    else:
        query = query.where(VERSIONS.c.name == model_name(name)).order_by(VERSIONS.c.version.desc())
    for key, value in (tags or {}).items():
        has = sa.and_(*(TAGS.c[column] == VERSIONS.c[column] for column in ("tenant", "name", "version")))
        query = query.where(sa.exists().where(has, TAGS.c.key == tag_key(key), TAGS.c.value == text(value, f"tag {key!r}")))
    return [to_model(row) for row in connection.execute(query)]


def move(connection: sa.Connection, row: sa.Row[Any], expected: ModelStatus, to: ModelStatus) -> ModelMetadata:
    """Compare and set, in one statement."""
    now = datetime.now(UTC)
    moved = connection.execute(
        VERSIONS.update()
        .where(VERSIONS.c.sequence == row.sequence, VERSIONS.c.status == expected.value)
        .values(status=to.value, updated_at=now)
    )
    if moved.rowcount != 1:
        raise Conflict(f"{row.name}@{row.version} is {row.status}, not {expected.value}", f"forge models show {row.name}@{row.version}")
    return evolve(to_model(row), status=to, updated_at=now)


def manifest(connection: sa.Connection, row: sa.Row[Any]) -> tuple[BundleFile, ...]:
    """The files of a version. It is not checked here against the version's digest: `check_manifest` does."""
    query = sa.select(FILES.c.path, FILES.c.size, FILES.c.sha256).where(
        FILES.c.tenant == row.tenant, FILES.c.name == row.name, FILES.c.version == row.version
    )
    return tuple(BundleFile(*file) for file in connection.execute(query.order_by(FILES.c.path)))


def check_manifest(row: sa.Row[Any], files: Sequence[BundleFile]) -> None:
    if digest_of_files(files) != row.digest:
        raise DigestMismatch("its list of files is not the one that was published", "")


def quarantine(connection: sa.Connection, row: sa.Row[Any], why: str | None) -> None:
    connection.execute(VERSIONS.update().where(VERSIONS.c.sequence == row.sequence).values(quarantined=why))


def to_model(row: sa.Row[Any]) -> ModelMetadata:
    moving = {"status": row.status, "updated_at": row.updated_at, "created_at": row.created_at}
    return from_json({**row.document, **moving}, ModelMetadata)


def _lock_name(connection: sa.Connection, tenant: str, name: str) -> int:
    """The last number given to this name; nobody else gets one until the transaction ends."""
    query = sa.select(MODELS.c.last_version).where(MODELS.c.tenant == tenant, MODELS.c.name == name).with_for_update()
    last: int | None = connection.execute(query).scalar()
    if last is None:
        insert_if_absent(connection, MODELS, {"tenant": tenant, "name": name, "last_version": 0})
        last = connection.execute(query).scalar_one()
    return last


def _requested(connection: sa.Connection, tenant: str, draft: ModelDraft, body: str) -> ModelMetadata | None:
    if draft.idempotency_key is None:
        return None
    query = sa.select(REQUESTS).where(REQUESTS.c.tenant == tenant, REQUESTS.c.key == draft.idempotency_key)
    request = connection.execute(query).one_or_none()
    if request is None:
        return None
    if request.body != body:
        raise Conflict("this idempotency key was used for something else", "use a key once, for one model and its files")
    return to_model(find(connection, tenant, Selector(request.name, version=request.version)))


def _insert(
    connection: sa.Connection, tenant: str, draft: ModelDraft, digest: str, version: int, files: Sequence[BundleFile]
) -> ModelMetadata:
    now = datetime.now(UTC)
    parents = [find(connection, tenant, Selector.parse(parent)) for parent in draft.parents]
    added = {"model_id": new_id("mdl"), "version": version, "digest": digest, "created_at": now, "updated_at": now, "tenant": tenant}
    model = from_json({**to_json(draft), **added, "parents": [f"{parent.name}@{parent.version}" for parent in parents]}, ModelMetadata)
    document = {name: value for name, value in to_json(model).items() if name not in _MOVING}
    key = {"tenant": tenant, "name": model.name, "version": version}
    here = sa.and_(MODELS.c.tenant == tenant, MODELS.c.name == model.name)
    connection.execute(MODELS.update().where(here).values(last_version=version))
    columns = {"run_id": model.run_id, "status": model.status.value, "document": document}
    given = {name: added[name] for name in ("model_id", "digest", "created_at", "updated_at")}
    connection.execute(VERSIONS.insert(), {**key, **columns, **given})
    connection.execute(FILES.insert(), [{**key, "path": file.path, "size": file.size, "sha256": file.sha256} for file in files])
    if model.tags:
        connection.execute(TAGS.insert(), [{**key, "key": name, "value": value} for name, value in model.tags.items()])
    if parents:  # a new version is nobody's ancestor yet, so there is no cycle to look for
        edges = {(parent.name, parent.version): {**key, "parent_name": parent.name, "parent_version": parent.version} for parent in parents}
        connection.execute(PARENTS.insert(), list(edges.values()))
    return model
