"""The tables of registry and tracker. Every row has its tenant.

What never changes of a version is one JSON document; columns beside it are what is searched, constrained or moved.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from forge_core.database import Database

DISTRIBUTION = "forge-registry"
SCHEMA_VERSION = 1
METADATA = sa.MetaData()

_SWEEP_LOCK = 7_306_014  # PostgreSQL's advisory lock between those who publish and the one who sweeps


class Instant(sa.TypeDecorator[datetime]):
    """Aware UTC as text of one width, so that the order of texts is the order of times in every database."""

    impl = sa.String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else value.astimezone(UTC).isoformat(timespec="microseconds")

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else datetime.fromisoformat(value)


def _sequence() -> sa.Column[int]:
    return sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True)


def _tenant(*, key: bool = False) -> sa.Column[str]:
    return sa.Column("tenant", sa.String(100), primary_key=key, nullable=False)


def _version_key() -> tuple[sa.Column[str], sa.Column[str], sa.Column[int]]:
    return (
        _tenant(key=True),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    )


# A row a name: whoever publishes locks it, so that numbers have no gap and nobody has to try twice.
MODELS = sa.Table(
    "forge_models",
    METADATA,
    _tenant(key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("last_version", sa.Integer, nullable=False),
)
VERSIONS = sa.Table(
    "forge_model_versions",
    METADATA,
    _sequence(),
    _tenant(),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("model_id", sa.String(64), nullable=False, unique=True),
    sa.Column("run_id", sa.String(200), nullable=False, index=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    sa.Column("updated_at", Instant, nullable=False),
    sa.Column("quarantined", sa.Text),  # why its bytes are not handed out
    sa.Column("document", sa.JSON, nullable=False),
    sa.UniqueConstraint("tenant", "name", "version"),
    sa.UniqueConstraint("tenant", "name", "run_id", "digest"),
    sa.Index("forge_model_versions_newest", "tenant", "created_at", "sequence"),
    sa.Index("forge_model_versions_status", "tenant", "status"),
    sa.Index("forge_model_versions_digest", "tenant", "digest"),
)
FILES = sa.Table(
    "forge_model_files",
    METADATA,
    *_version_key(),
    sa.Column("path", sa.String(1000), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Index("forge_model_files_sha256", "tenant", "sha256"),
)
TAGS = sa.Table(
    "forge_model_tags",
    METADATA,
    *_version_key(),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
REQUESTS = sa.Table(
    "forge_model_requests",
    METADATA,
    _tenant(key=True),
    sa.Column("key", sa.String(200), primary_key=True),
    sa.Column("body", sa.String(64), nullable=False),  # digest of the draft and its files
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
)
ALIASES = sa.Table(
    "forge_model_aliases",
    METADATA,
    _tenant(key=True),
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("alias", sa.String(100), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
ALIAS_MOVES = sa.Table(
    "forge_model_alias_moves",
    METADATA,
    _sequence(),
    _tenant(),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("alias", sa.String(100), nullable=False),
    sa.Column("before", sa.Integer),
    sa.Column("after", sa.Integer, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Column("request_id", sa.String(100), nullable=False),
    sa.Index("forge_model_alias_moves_order", "tenant", "name", "alias", "sequence"),
)
PARENTS = sa.Table(
    "forge_model_parents",
    METADATA,
    *_version_key(),
    sa.Column("parent_name", sa.String(200), primary_key=True),
    sa.Column("parent_version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Index("forge_model_parents_down", "tenant", "parent_name", "parent_version"),
)
DATA = sa.Table(
    "forge_model_data",
    METADATA,
    *_version_key(),
    sa.Column("dataset", sa.String(500), primary_key=True),
    sa.Column("dataset_version", sa.String(200), primary_key=True),
    sa.Column("digest", sa.String(200), nullable=False),
    sa.Column("rows", sa.BigInteger),
)
RUNS = sa.Table(
    "forge_tracked_runs",
    METADATA,
    _sequence(),
    _tenant(),
    sa.Column("run_id", sa.String(200), nullable=False),
    sa.Column("experiment", sa.String(200), nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("state", sa.String(50), nullable=False),
    sa.Column("started_at", Instant, nullable=False),
    sa.Column("ended_at", Instant),
    sa.UniqueConstraint("tenant", "run_id"),
    sa.Index("forge_tracked_runs_experiment", "tenant", "experiment", "sequence"),
)
METRICS = sa.Table(
    "forge_run_metrics",
    METADATA,
    _sequence(),
    _tenant(),
    sa.Column("run_id", sa.String(200), nullable=False),
    sa.Column("name", sa.String(250).with_variant(sa.String(250, collation="C"), "postgresql"), nullable=False),
    sa.Column("value", sa.Double),  # null is NaN, which SQLite cannot keep
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sa.Index("forge_run_metrics_order", "tenant", "run_id", "name", "step", "at"),
)
ARTIFACTS = sa.Table(
    "forge_run_artifacts",
    METADATA,
    _tenant(key=True),
    sa.Column("run_id", sa.String(200), primary_key=True),
    sa.Column("path", sa.String(1000), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Index("forge_run_artifacts_sha256", "tenant", "sha256"),
)


def insert_if_absent(connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> bool:
    """One statement: true where the row was inserted, false where its key was there."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement: Any = insert(table).values(row)
    return connection.execute(statement.on_conflict_do_nothing().returning(sa.literal(1))).scalar() is not None


def publishing(connection: sa.Connection) -> None:
    """Until this transaction ends, no blob is swept away. SQLite has one writer at a time as it is."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock_shared(_SWEEP_LOCK)))


def sweeping(connection: sa.Connection) -> None:
    """Until this transaction ends, nobody names a blob."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SWEEP_LOCK)))


def prepare(database: Database) -> None:
    database.prepare(DISTRIBUTION, METADATA, SCHEMA_VERSION)
