"""Revisions of endpoints in the project's database: appended, never overwritten; only their status moves on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from forge_core.faults import Conflict
from forge_core.records.serving import Deployment, Route
from forge_core.serialize import from_json, to_json

METADATA = sa.MetaData()
REVISIONS = sa.Table(
    "cortex_revisions",
    METADATA,
    sa.Column("tenant", sa.String(100), nullable=False),
    sa.Column("endpoint", sa.String(63), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("routes", sa.JSON, nullable=False),
    sa.Column("strategy", sa.String(100), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.PrimaryKeyConstraint("tenant", "endpoint", "revision"),
)
VERSION = 1


def newest(connection: sa.Connection, tenant: str, endpoint: str, url: str) -> Deployment | None:
    """What an endpoint's last revision says."""
    found = listed(connection, tenant, endpoint, url, limit=1)
    return found[0] if found else None


def listed(
    connection: sa.Connection, tenant: str, endpoint: str, url: str, *, until: str | None = None, limit: int | None = None
) -> list[Deployment]:
    """Newest first; `until` is a time, as text in UTC."""
    mine = sa.and_(REVISIONS.c.tenant == tenant, REVISIONS.c.endpoint == endpoint)
    query = sa.select(REVISIONS).where(mine).order_by(REVISIONS.c.revision.desc())
    if until is not None:
        query = query.where(REVISIONS.c.at <= until)
    return [_record(row, url) for row in connection.execute(query.limit(limit)).mappings()]


def heads(connection: sa.Connection, tenant: str, url: str) -> list[Deployment]:
    """The newest revision of each endpoint that routes somewhere, by name. `url` is of the server; names are added."""
    last = (
        sa.select(REVISIONS.c.endpoint, sa.func.max(REVISIONS.c.revision).label("revision"))
        .where(REVISIONS.c.tenant == tenant)
        .group_by(REVISIONS.c.endpoint)
        .subquery()
    )
    query = (
        sa.select(REVISIONS)
        .join(last, sa.and_(REVISIONS.c.endpoint == last.c.endpoint, REVISIONS.c.revision == last.c.revision))
        .where(REVISIONS.c.tenant == tenant)
        .order_by(REVISIONS.c.endpoint)
    )
    found = [_record(row, url) for row in connection.execute(query).mappings()]
    return [one for one in found if one.routes]


def lock(connection: sa.Connection, tenant: str) -> None:
    """One change of a tenant's endpoints at a time: a version's status depends on all of them. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:key))"), {"key": f"forge-cortex/{tenant}"})


def append(connection: sa.Connection, tenant: str, made: Deployment) -> None:
    """Add a revision. `Conflict` where another one took its number."""
    values = {name: getattr(made, name) for name in ("endpoint", "revision", "strategy", "actor", "reason", "status")}
    try:
        connection.execute(REVISIONS.insert().values(**values, tenant=tenant, routes=to_json(made.routes), at=text_of(made.at)))
    except sa.exc.IntegrityError:
        raise Conflict(
            f"endpoint {made.endpoint!r} was changed by someone else at the same time", "look at forge history, then try again"
        ) from None


def mark(connection: sa.Connection, tenant: str, endpoint: str, revision: int, status: str, only: Sequence[str]) -> None:
    """Move a revision's status on, where it is one of `only`."""
    connection.execute(
        REVISIONS.update()
        .where(
            REVISIONS.c.tenant == tenant, REVISIONS.c.endpoint == endpoint, REVISIONS.c.revision == revision, REVISIONS.c.status.in_(only)
        )
        .values(status=status)
    )


def text_of(at: datetime) -> str:
    """Fixed width, so that order of texts is order of times."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _record(row: Any, url: str) -> Deployment:
    said = {name: row[name] for name in ("endpoint", "revision", "strategy", "actor", "reason", "status")}
    routes = tuple(from_json(one, Route) for one in row["routes"])
    return Deployment(**said, routes=routes, url=f"{url}/predict/{row['endpoint']}", at=datetime.fromisoformat(row["at"]))
