"""The table of API keys. A row is never deleted, and its name never used again: the audit trail names actors by it."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from attrs import field, frozen

from forge_auth.token import Secret
from forge_core.faults import Conflict, NotFound
from forge_core.tables import EVENTS

METADATA = sa.MetaData()
KEYS = sa.Table(
    "forge_auth_keys",
    METADATA,
    sa.Column("key_id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(100), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("created_at", sa.String(40), nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("expires_at", sa.String(40)),
    sa.Column("revoked_at", sa.String(40)),
    sa.UniqueConstraint("tenant", "name"),
)
SCHEMA_VERSION = 1


@frozen
class ApiKey:
    """A key as people see it; what proves it is not in here."""

    key_id: str
    name: str
    role: str
    tenant: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"


@frozen
class IssuedKey:
    """A key just made. `secret` is the only copy there will ever be: show it once and forget it."""

    key: ApiKey
    secret: Secret = field(repr=False)


@frozen
class StoredKey:
    """What is kept in memory to check a key by."""

    key: ApiKey
    digest: str = field(repr=False)


def insert(connection: sa.Connection, key: ApiKey, digest: str) -> None:
    """`Conflict` where the tenant has, or had, a key of this name."""
    try:
        with connection.begin_nested():
            connection.execute(
                KEYS.insert().values(
                    key_id=key.key_id,
                    tenant=key.tenant,
                    name=key.name,
                    role=key.role,
                    digest=digest,
                    created_at=key.created_at.isoformat(),
                    created_by=key.created_by,
                    expires_at=key.expires_at.isoformat() if key.expires_at else None,
                )
            )
    except sa.exc.IntegrityError:
        raise Conflict(
            f"the name {key.name} is, or was, a key's: names are not used twice, so that the audit trail stays clear",
            "choose another name, for instance with the year in it",
        ) from None


def revoke(connection: sa.Connection, tenant: str, key_id: str, at: datetime) -> tuple[ApiKey, ApiKey]:
    """The key before and after; one that was revoked already stays as it is."""
    row = connection.execute(sa.select(KEYS).where(KEYS.c.key_id == key_id, KEYS.c.tenant == tenant)).mappings().first()
    if row is None:
        raise NotFound(f"there is no key {key_id}", "forge auth keys list")
    before = _key(row)
    if before.revoked_at is None:
        connection.execute(KEYS.update().where(KEYS.c.key_id == key_id).values(revoked_at=at.isoformat()))
    after = connection.execute(sa.select(KEYS).where(KEYS.c.key_id == key_id)).mappings().one()
    return before, _key(after)


def read(connection: sa.Connection) -> tuple[StoredKey, ...]:
    """Every key of every tenant, oldest first. A row that is half-written raises `ValueError` or `TypeError`."""
    rows = connection.execute(sa.select(KEYS).order_by(KEYS.c.key_id)).mappings()
    return tuple(StoredKey(_key(row), row["digest"]) for row in rows)


def any_key(connection: sa.Connection) -> bool:
    return connection.execute(sa.select(KEYS.c.key_id).limit(1)).first() is not None


def was_used(connection: sa.Connection) -> bool:
    """Whether the outbox tells of a key that was made, though the table may be empty now."""
    if not sa.inspect(connection).has_table(EVENTS.name):
        return False
    return connection.execute(sa.select(EVENTS.c.id).where(EVENTS.c.action == "key:create").limit(1)).first() is not None


def _key(row: sa.RowMapping) -> ApiKey:
    return ApiKey(
        key_id=row["key_id"],
        name=row["name"],
        role=row["role"],
        tenant=row["tenant"],
        created_at=_time(row["created_at"]),
        created_by=row["created_by"],
        expires_at=_time(row["expires_at"]) if row["expires_at"] is not None else None,
        revoked_at=_time(row["revoked_at"]) if row["revoked_at"] is not None else None,
    )


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
