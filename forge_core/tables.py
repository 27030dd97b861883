"""The kernel's own tables: schemas, the outbox of events, runs and their steps. Every row carries its tenant."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa


class Document(sa.types.TypeDecorator[Any]):
    """JSON as text, on every database: PostgreSQL's own type holds no NaN, which hyperparameters and outputs may."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else json.loads(value)


SCHEMA_VERSION = 1
KERNEL = sa.MetaData()
SCHEMAS = sa.Table(
    "forge_schemas",
    sa.MetaData(),
    sa.Column("distribution", sa.String(200), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
)
EVENTS = sa.Table(
    "forge_events",
    KERNEL,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), unique=True, nullable=False),
    sa.Column("action", sa.String(100), nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("tenant", sa.String(100), nullable=False, index=True),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("before", sa.JSON),
    sa.Column("after", sa.JSON),
    sa.Column("request_id", sa.String(100), nullable=False),
    sa.Column("outcome", sa.String(20), nullable=False, index=True),
    sa.Column("owner", sa.String(200), nullable=False),
)
RUNS = sa.Table(
    "forge_runs",
    KERNEL,
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("tenant", sa.String(100), nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.String(20), nullable=False, index=True),
    sa.Column("started_at", sa.String(40), nullable=False),
    sa.Column("ended_at", sa.String(40)),
    sa.Column("plan", Document, nullable=False),
    sa.Column("code", Document),
    sa.Column("owner", sa.String(200), nullable=False),
    sa.Column("lease", sa.Float, nullable=False),
    sa.Column("cancel", sa.Boolean, nullable=False, default=False),
    sa.Column("error", sa.Text, nullable=False, default=""),
)
STEPS = sa.Table(
    "forge_steps",
    KERNEL,
    sa.Column("run_id", sa.String(64), sa.ForeignKey("forge_runs.run_id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("tenant", sa.String(100), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("stage", sa.String(40), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("cached", sa.Boolean, nullable=False),
    sa.Column("files", sa.Boolean, nullable=False, default=False),
    sa.Column("outputs", Document, nullable=False),
    sa.Column("started_at", sa.String(40), nullable=False),
    sa.Column("ended_at", sa.String(40)),
    sa.Column("error", sa.Text, nullable=False, default=""),
)
sa.Index("forge_steps_done", STEPS.c.tenant, STEPS.c.fingerprint, STEPS.c.state)
