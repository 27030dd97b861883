"""Bytes that no row names. Published bytes are never among them, whoever publishes or sweeps at the same time.

A publisher's transaction looks at its blobs once more before it names them, and a sweep removes blobs inside a
transaction that nobody can name a blob in: so one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from forge_core.database import Database
from forge_core.operations import describe
from forge_registry.blobs import Blob, Blobs, Stored, Swept
from forge_registry.tables import ARTIFACTS, FILES, publishing, sweeping

_BATCH = 200  # blobs a transaction, so that publishers wait milliseconds


def hold(connection: sa.Connection, blobs: Blobs, tenant: str, wanted: Iterable[Blob]) -> None:
    """Inside the transaction that names blobs: they are all there and will stay, or `Swept`."""
    publishing(connection)
    if not all(blobs.holds(tenant, blob) for blob in wanted):
        raise Swept


def sweep(database: Database, blobs: Blobs, tenant: str, older_than: timedelta) -> int:
    """Remove what no row names and is older than this; returns the bytes freed."""
    before = datetime.now(UTC) - older_than
    old = [found for found in blobs.stored(tenant) if found.modified <= before]
    with database.read() as connection:
        garbage = _unnamed(connection, tenant, old)
    freed = 0
    for start in range(0, len(garbage), _BATCH):
        with database.transaction() as connection:
            sweeping(connection)
            batch = _unnamed(connection, tenant, garbage[start : start + _BATCH])
            describe(after={"older_than_seconds": older_than.total_seconds(), "unnamed": len(garbage)})
            blobs.remove(found.key for found in batch)
            freed += sum(found.size for found in batch)
    return freed


def _unnamed(connection: sa.Connection, tenant: str, found: Sequence[Stored]) -> list[Stored]:
    named: set[str] = set()
    digests = [item.sha256 for item in found if item.sha256 is not None]
    for start in range(0, len(digests), _BATCH):
        some = digests[start : start + _BATCH]
        for table in (FILES, ARTIFACTS):
            query = sa.select(table.c.sha256).where(table.c.tenant == tenant, table.c.sha256.in_(some)).distinct()
            named.update(connection.execute(query).scalars())
    return [item for item in found if item.sha256 not in named]
