"""`registry: acme`: versions in the project's database, their files in a local folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa
from attrs import evolve
from forge_core.contracts import ModelRegistry
from forge_core.database import Database, ReadOnly
from forge_core.faults import ConfigError, Conflict, DigestMismatch, Fault, InvalidInput, NotFound
from forge_core.identifiers import new_id
from forge_core.operations import current, describe
from forge_core.records import (
    LEGAL_MOVES,
    DatasetVersion,
    Event,
    Lineage,
    ModelDraft,
    ModelMetadata,
    ModelStatus,
    Storage,
)
from forge_core.serialize import canonical, digest_of, from_json, to_json

from forge_acme import __version__
from forge_acme.bundles import Bundles

METADATA = sa.MetaData()
_COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")
VERSIONS = sa.Table(
    "acme_versions",
    METADATA,
    sa.Column("sequence", _COUNTED, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("document", sa.JSON, nullable=False),
    sa.Column("damage", sa.Text),
    sa.UniqueConstraint("tenant", "name", "version"),
)
REQUESTS = sa.Table(
    "acme_requests",
    METADATA,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
)
MOVES = sa.Table(
    "acme_alias_moves",
    METADATA,
    sa.Column("sequence", _COUNTED, primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("alias", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("event", sa.JSON, nullable=False),
)
EDGES = sa.Table(
    "acme_lineage",
    METADATA,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("node", sa.Text, primary_key=True),
)
_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtext('forge-acme/registry'))")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_MOST = 10_000


class Known(Exception):
    """What is published was published before: nothing is written, and no event."""

    def __init__(self, model: ModelMetadata) -> None:
        super().__init__(model.selector)
        self.model = model


class AcmeRegistry(ModelRegistry):
    """One writer at a time: what a transaction reads holds until it commits. Bytes are durable before their row."""

    transactional = True

    def __init__(self, *, database: Database, storage: Storage) -> None:
        place = urlsplit(storage.url)
        if place.scheme != "file":
            raise ConfigError("this registry keeps files in a local folder", "infrastructure.storage: {type: file}")
        self._bundles = Bundles(Path(unquote(place.path)) / "acme")
        self._database = database

    def open(self) -> None:
        self._database.prepare("forge-acme/registry", METADATA)

    # ---- versions

    def register_model(self, folder: Path, draft: ModelDraft) -> ModelMetadata:
        tenant = _tenant()
        _check(draft)
        with self._bundles.staged(tenant, folder) as (digest, staging):
            try:
                with self._writing() as connection:
                    model = _published(connection, tenant, draft, digest)
                    self._bundles.publish(tenant, digest, staging)
                    describe(resource=f"model:{model.selector}", after={"version": model.version, "digest": digest})
                return model
            except Known as known:
                return known.model

    def checkout(self, selector: str) -> Path:
        with self._database.read() as connection:
            row = _found(connection, selector)
        damage = row.damage or self._bundles.wrong(row.tenant, row.digest)
        self._note(row, damage)
        if damage is not None:
            raise DigestMismatch(f"{row.name}@{row.version}: {damage}", f"forge models verify {row.name}@{row.version}")
        return self._bundles.place(row.tenant, row.digest)

    def get(self, selector: str) -> ModelMetadata:
        with self._database.read() as connection:
            return _model(_found(connection, selector))

    def intact(self, selector: str) -> bool:
        try:
            with self._database.read() as connection:
                return _found(connection, selector).damage is None
        except NotFound:
            return False

    def search(
        self, name: str | None = None, tags: Mapping[str, str] | None = None, limit: int = 100
    ) -> Sequence[ModelMetadata]:
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST:
            raise InvalidInput(f"a limit is a whole number from 1 to {_MOST}", "ask for less at a time")
        wanted = {_text(key): _text(value) for key, value in (tags or {}).items()}
        query = sa.select(VERSIONS).where(VERSIONS.c.tenant == _tenant()).order_by(VERSIONS.c.sequence.desc())
        found: list[ModelMetadata] = []
        with self._database.read() as connection:
            for row in connection.execute(query if name is None else query.where(VERSIONS.c.name == _text(name))):
                model = _model(row)
                if wanted.items() <= dict(model.tags).items():
                    found.append(model)
                if len(found) == limit:
                    break
        return found

    def transition(self, selector: str, expected: ModelStatus, to: ModelStatus) -> ModelMetadata:
        if to not in LEGAL_MOVES[expected]:
            raise InvalidInput(f"no version moves from {expected.value} to {to.value}", "look at LEGAL_MOVES")
        with self._writing() as connection:
            row = _found(connection, selector)
            if row.status != expected.value:
                raise Conflict(f"{row.name}@{row.version} is {row.status}, not {expected.value}", "look again")
            before = _model(row)
            now = max(datetime.now(UTC), before.updated_at + timedelta(microseconds=1))
            model = evolve(before, status=to, updated_at=now)
            moved = VERSIONS.update().where(VERSIONS.c.sequence == row.sequence)
            connection.execute(moved.values(status=to.value, document=to_json(model)))
            describe(resource=f"model:{model.selector}", before={"status": expected.value}, after={"status": to.value})
        return model

    # ---- aliases

    def set_alias(self, name: str, alias: str, version: int, expected: int | None, reason: str = "") -> None:
        if not _NAME.fullmatch(_text(alias)) or alias == "latest" or alias.isdecimal():
            raise InvalidInput(f"{alias!r:.100} cannot be an alias", "a word; neither a number nor latest")
        reason = _text(reason)
        with self._writing() as connection:
            _found(connection, f"{name}@{version}")
            last = _moves(connection, name, alias)[-1:]
            before = last[0].version if last else None
            if before != expected:
                raise Conflict(f"{name}@{alias} points at {before}, not at {expected}", "look again")
            at = max([datetime.now(UTC), *(datetime.fromisoformat(move.event["at"]) for move in last)])
            session = current()
            event = Event(
                id=new_id("evt"),
                action="model:alias",
                resource=f"model:{name}@{alias}",
                actor=session.principal.name,
                tenant=session.principal.tenant,
                at=at,
                before=None if before is None else {"version": before},
                after={"version": version, "reason": reason},
                request_id=session.request_id,
            )
            row = {"tenant": _tenant(), "name": name, "alias": alias, "version": version, "event": to_json(event)}
            connection.execute(MOVES.insert().values(**row))
            describe(before=event.before, after=event.after)

    def aliases(self, name: str) -> Mapping[str, int]:
        with self._database.read() as connection:
            return {move.alias: move.version for move in _moves(connection, name)}

    def alias_history(self, name: str, alias: str) -> Sequence[Event]:
        with self._database.read() as connection:
            return [from_json(move.event, Event) for move in _moves(connection, name, alias)]

    def alias_at(self, name: str, alias: str, at: datetime) -> int | None:
        if at.utcoffset() is None:
            raise InvalidInput("a time has a zone", "add one: datetime.now(UTC)")
        with self._database.read() as connection:
            moves = _moves(connection, name, alias)
        return next((move.version for move in reversed(moves) if datetime.fromisoformat(move.event["at"]) <= at), None)

    # ---- lineage

    def track_lineage(self, selector: str, parents: Sequence[str], data: Sequence[DatasetVersion]) -> None:
        with self._writing() as connection:
            model = _model(_found(connection, selector)).selector
            _add_parents(connection, model, parents)
            for one in data:
                _add(connection, model, "data", _text(f"{one.dataset}@{one.version}"))
            describe(
                resource=f"model:{model}", after={"parents": list(parents), "data": [to_json(one) for one in data]}
            )

    def lineage(self, selector: str, upward: bool = True) -> Lineage:
        with self._database.read() as connection:
            return (_upward if upward else _downward)(connection, _model(_found(connection, selector)))

    # ---- bytes

    def verify(self, selector: str | None = None) -> Sequence[Fault]:
        with self._database.read() as connection:
            query = sa.select(VERSIONS).where(VERSIONS.c.tenant == _tenant()).order_by(VERSIONS.c.sequence)
            rows = connection.execute(query).all() if selector is None else [_found(connection, selector)]
        wrong = {digest: self._bundles.wrong(_tenant(), digest) for digest in {row.digest for row in rows}}
        faults = []
        for row in rows:
            damage = wrong[row.digest]
            self._note(row, damage)
            if damage is not None:
                remedy = "restore the storage from a backup, then verify again"
                where = f"model:{row.name}@{row.version}"
                faults.append(Fault(where, "forge-acme", __version__, damage, remedy))
        return faults

    def collect_garbage(self, older_than: timedelta) -> int:
        if older_than < timedelta(0):
            raise InvalidInput("an age is not negative", "say how old the oldest bytes may be")
        with self._writing() as connection:
            query = sa.select(VERSIONS.c.digest).where(VERSIONS.c.tenant == _tenant()).distinct()
            named = set(connection.execute(query).scalars())
            return self._bundles.sweep(_tenant(), named, older_than.total_seconds())

    def _note(self, row: sa.Row[Any], damage: str | None) -> None:
        """Remember it, where this project may be written; whoever may only read is told all the same."""
        if row.damage == damage:
            return
        try:
            with self._writing() as connection:
                here = VERSIONS.update().where(VERSIONS.c.sequence == row.sequence)
                connection.execute(here.values(damage=damage))
        except ReadOnly:
            return

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """SQLite has one writer at a time anyway."""
        with self._database.transaction() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(_LOCK)
            yield connection


def _tenant() -> str:
    return _text(current().principal.tenant)


def _text(value: object) -> str:
    """Text that every database keeps as it is."""
    try:
        if isinstance(value, str) and b"\x00" not in value.encode():
            return value
    except UnicodeEncodeError:  # half a character
        pass
    raise InvalidInput(f"{value!r:.100} is no text that can be kept", "text without NUL and without surrogates")


def _check(draft: ModelDraft) -> None:
    if not _NAME.fullmatch(_text(draft.name)):
        raise InvalidInput(f"{draft.name!r:.100} is no model's name", "letters, digits, _ . -")
    if draft.status not in (ModelStatus.VALIDATING, ModelStatus.FAILED):
        raise InvalidInput(f"no version is published as {draft.status.value}", "as validating, or as failed")
    try:
        _text(canonical(to_json(draft)).decode())
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the record of {draft.name} is not JSON: {str(error)[:100]!r}", "finite numbers") from None


def _published(connection: sa.Connection, tenant: str, draft: ModelDraft, digest: str) -> ModelMetadata:
    """The next version, inserted; `Known` where it exists."""
    body = digest_of([to_json(evolve(draft, idempotency_key=None)), digest])
    key = draft.idempotency_key
    asked = connection.execute(sa.select(REQUESTS).where(REQUESTS.c.tenant == tenant, REQUESTS.c.key == key)).first()
    if asked is not None and asked.body != body:
        raise Conflict("this idempotency key was used for something else", "use a key once")
    if asked is not None:
        raise Known(_model(_found(connection, asked.model)))
    mine = sa.and_(VERSIONS.c.tenant == tenant, VERSIONS.c.name == draft.name)
    same = sa.select(VERSIONS).where(mine, VERSIONS.c.run_id == draft.run_id, VERSIONS.c.digest == digest)
    row = connection.execute(same).first()
    if row is not None and key is None:
        raise Known(_model(row))
    model = _model(row) if row is not None else _inserted(connection, tenant, draft, digest)
    if key is not None:
        connection.execute(REQUESTS.insert().values(tenant=tenant, key=key, body=body, model=model.selector))
    return model


def _inserted(connection: sa.Connection, tenant: str, draft: ModelDraft, digest: str) -> ModelMetadata:
    mine = sa.and_(VERSIONS.c.tenant == tenant, VERSIONS.c.name == draft.name)
    last = connection.execute(sa.select(sa.func.max(VERSIONS.c.version)).where(mine)).scalar() or 0
    parents = [_model(_found(connection, parent)).selector for parent in draft.parents]
    now = datetime.now(UTC)
    added = {"model_id": new_id("mdl"), "version": last + 1, "digest": digest, "tenant": tenant, "parents": parents}
    times = {"created_at": now.isoformat(), "updated_at": now.isoformat()}
    model = from_json({**to_json(draft), **added, **times}, ModelMetadata)
    connection.execute(
        VERSIONS.insert().values(
            tenant=tenant,
            name=model.name,
            version=model.version,
            run_id=model.run_id,
            digest=digest,
            status=model.status.value,
            document=to_json(model),
        )
    )
    for parent in parents:
        _add(connection, model.selector, "model", parent)
    return model


def _model(row: sa.Row[Any]) -> ModelMetadata:
    return from_json(row.document, ModelMetadata)


def _found(connection: sa.Connection, selector: str) -> sa.Row[Any]:
    """The version that a selector means now; its transaction, if there is one, keeps others from moving it."""
    name, _, which = _text(selector).partition("@")
    if not _NAME.fullmatch(name) or not _NAME.fullmatch(which or ("latest" if name == selector else "")):
        raise InvalidInput(f"{selector!r:.100} is no selector", "name, name@3, name@latest or name@alias")
    query = sa.select(VERSIONS).where(VERSIONS.c.tenant == _tenant(), VERSIONS.c.name == name)
    if which in ("", "latest"):
        usable = VERSIONS.c.status.not_in([ModelStatus.FAILED.value, ModelStatus.ARCHIVED.value])
        query = query.where(usable).order_by(VERSIONS.c.version.desc()).limit(1)
    elif which.isdecimal():
        if len(which) > 9 or not which.isascii() or which.startswith("0"):
            raise NotFound(f"there is no model {selector!r:.100}", "forge models list")
        query = query.where(VERSIONS.c.version == int(which))
    else:
        versions = [move.version for move in _moves(connection, name, which)]
        query = query.where(VERSIONS.c.version == (versions[-1] if versions else -1))
    row = connection.execute(query).first()
    if row is None:
        raise NotFound(f"there is no model {selector!r:.100}", "forge models list")
    return row


def _moves(connection: sa.Connection, name: str, alias: str | None = None) -> Sequence[sa.Row[Any]]:
    """Oldest first."""
    query = sa.select(MOVES).where(MOVES.c.tenant == _tenant(), MOVES.c.name == _text(name))
    if alias is not None:
        query = query.where(MOVES.c.alias == _text(alias))
    return connection.execute(query.order_by(MOVES.c.sequence)).all()


def _add(connection: sa.Connection, model: str, kind: str, node: str) -> None:
    edge = {"tenant": _tenant(), "model": model, "kind": kind, "node": node}
    if not connection.execute(sa.select(EDGES).filter_by(**edge)).first():
        connection.execute(EDGES.insert().values(**edge))


def _add_parents(connection: sa.Connection, model: str, parents: Sequence[str]) -> None:
    for parent in parents:
        found = _model(_found(connection, parent)).selector
        if model in {found, *_ancestors(connection, found)}:
            raise InvalidInput(f"{model} would be its own ancestor", f"{found} comes from it")
        _add(connection, model, "model", found)


def _ancestors(connection: sa.Connection, model: str) -> set[str]:
    found, waiting = set[str](), [model]
    while waiting:
        fresh = set(_nodes(connection, waiting.pop(), "model")) - found
        found |= fresh
        waiting.extend(fresh)
    return found


def _nodes(connection: sa.Connection, model: str, kind: str) -> list[str]:
    query = sa.select(EDGES.c.node).filter_by(tenant=_tenant(), model=model, kind=kind)
    return sorted(connection.execute(query).scalars())


def _upward(connection: sa.Connection, model: ModelMetadata) -> Lineage:
    data = _nodes(connection, model.selector, "data") or [model.training_data_hash]
    edges = [Lineage(node, "data") for node in data if node]
    if model.run_id:
        edges.append(Lineage(model.run_id, "run"))
    if model.code is not None:
        edges.append(Lineage(model.code.commit or model.code.environment_digest, "code"))
    for parent in _nodes(connection, model.selector, "model"):
        edges.append(_upward(connection, _model(_found(connection, parent))))
    return Lineage(model.selector, "model", tuple(edges))


def _downward(connection: sa.Connection, model: ModelMetadata) -> Lineage:
    query = sa.select(EDGES.c.model).filter_by(tenant=_tenant(), kind="model", node=model.selector)
    children = sorted(connection.execute(query).scalars())
    edges = tuple(_downward(connection, _model(_found(connection, child))) for child in children)
    return Lineage(model.selector, "model", edges)
