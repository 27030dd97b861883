"""Aliases: a name that points at a version, moved by compare-and-set, and every move of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import sqlalchemy as sa

from forge_core.faults import Conflict, InvalidInput
from forge_core.identifiers import new_id
from forge_core.operations import current
from forge_core.records.auth import Event
from forge_registry.names import Selector, alias_name, model_name, text, version_number
from forge_registry.tables import ALIAS_MOVES, ALIASES, insert_if_absent
from forge_registry.versions import find


def point(connection: sa.Connection, tenant: str, name: str, alias: str, version: int, expected: int | None, reason: str) -> None:
    """Point an alias at a version, in one statement that holds only while it points at `expected`; `Conflict` else."""
    key = {"tenant": tenant, "name": model_name(name), "alias": alias_name(alias)}
    text(reason, "a reason")
    find(connection, tenant, Selector(name, version=version_number(version)))
    if expected is None:
        moved = insert_if_absent(connection, ALIASES, {**key, "version": version})
    else:
        here = sa.and_(ALIASES.c.version == version_number(expected), *(ALIASES.c[column] == value for column, value in key.items()))
        moved = connection.execute(ALIASES.update().where(here).values(version=version)).rowcount == 1
    if not moved:
        raise Conflict(
            f"{name}@{alias} does not point {'nowhere' if expected is None else f'at {expected}'} now",
            "look where it points, then decide anew",
        )
    session = current()
    connection.execute(
        ALIAS_MOVES.insert().values(
            **key,
            id=new_id("evt"),
            before=expected,
            after=version,
            actor=session.principal.name,
            reason=reason,
            at=datetime.now(UTC),
            request_id=session.request_id,
        )
    )


def targets(connection: sa.Connection, tenant: str, name: str) -> Mapping[str, int]:
    query = sa.select(ALIASES.c.alias, ALIASES.c.version).where(ALIASES.c.tenant == tenant, ALIASES.c.name == model_name(name))
    return {row.alias: row.version for row in connection.execute(query.order_by(ALIASES.c.alias))}


def target_at(connection: sa.Connection, tenant: str, name: str, alias: str, at: datetime) -> int | None:
    """Where an alias pointed at a time: at the target of the last move that was made by then."""
    if at.tzinfo is None:
        raise InvalidInput("a time has a zone", "write 2026-01-31T12:00:00+00:00")
    query = _moves(tenant, name, alias).where(ALIAS_MOVES.c.at <= at).order_by(ALIAS_MOVES.c.sequence.desc()).limit(1)
    move = connection.execute(query).one_or_none()
    return None if move is None else int(move.after)


def history(connection: sa.Connection, tenant: str, name: str, alias: str) -> Sequence[Event]:
    """Every move, oldest first; `before` is None or {"version"}, `after` {"version", "reason"}."""
    return [
        Event(
            id=move.id,
            action="model:alias",
            resource=f"model:{move.name}@{move.alias}",
            actor=move.actor,
            tenant=move.tenant,
            at=move.at,
            before=None if move.before is None else {"version": move.before},
            after={"version": move.after, "reason": move.reason},
            request_id=move.request_id,
        )
        for move in connection.execute(_moves(tenant, name, alias).order_by(ALIAS_MOVES.c.sequence))
    ]


def _moves(tenant: str, name: str, alias: str) -> sa.Select[tuple[object, ...]]:
    moves = ALIAS_MOVES.c
    return sa.select(ALIAS_MOVES).where(moves.tenant == tenant, moves.name == model_name(name), moves.alias == alias_name(alias))
