"""Which versions, data and code a version comes from, and which come from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import sqlalchemy as sa

from forge_core.faults import InvalidInput
from forge_core.records.data import DatasetVersion
from forge_core.records.models import Lineage, ModelMetadata
from forge_registry import versions
from forge_registry.names import Selector, text
from forge_registry.tables import DATA, PARENTS, insert_if_absent

Version: TypeAlias = tuple[str, int]
_DEEPEST = 100  # generations that are spelt out; a tree of records is written and read recursively


def add_parents(connection: sa.Connection, tenant: str, child: Version, parents: Iterable[str]) -> None:
    """Adding one again changes nothing. `NotFound` where there is no such parent, `InvalidInput` where it comes from the child."""
    for selector in parents:
        row = versions.find(connection, tenant, Selector.parse(selector))
        parent = (row.name, row.version)
        if child == parent or _comes_from(connection, tenant, parent, child):
            raise InvalidInput(f"{_text(parent)} comes from {_text(child)}, so it cannot be its parent", "name what it was made from")
        edge = {"tenant": tenant, "name": child[0], "version": child[1], "parent_name": parent[0], "parent_version": parent[1]}
        insert_if_absent(connection, PARENTS, edge)


def add_data(connection: sa.Connection, tenant: str, version: Version, data: Iterable[DatasetVersion]) -> None:
    for item in data:
        row = {
            "tenant": tenant,
            "name": version[0],
            "version": version[1],
            "dataset": text(item.dataset, "a data set's name", 500),
            "dataset_version": text(item.version, "a data version", 200),
            "digest": text(item.digest, "a data digest", 200),
            "rows": item.rows,
        }
        insert_if_absent(connection, DATA, row)


def tree(connection: sa.Connection, tenant: str, version: Version, *, upward: bool) -> Lineage:
    """Upward: run, code and data, then the parents with theirs. Downward: children alone.

    A version that is reached twice is spelt out once, and at most a hundred generations are.
    """
    return _tree(connection, tenant, version, set(), upward, _DEEPEST)


def _tree(connection: sa.Connection, tenant: str, version: Version, seen: set[Version], upward: bool, depth: int) -> Lineage:
    if version in seen or depth == 0:
        return Lineage(_text(version), "model")
    seen.add(version)
    origins = _origins(connection, tenant, version) if upward else ()
    next_ones = [_tree(connection, tenant, other, seen, upward, depth - 1) for other in _neighbours(connection, tenant, version, upward)]
    return Lineage(_text(version), "model", (*origins, *next_ones))


def _neighbours(connection: sa.Connection, tenant: str, version: Version, upward: bool) -> list[Version]:
    edge = PARENTS.c
    here, there = (edge.name, edge.version), (edge.parent_name, edge.parent_version)
    if not upward:
        here, there = there, here
    query = sa.select(*there).where(edge.tenant == tenant, here[0] == version[0], here[1] == version[1]).order_by(*there)
    return [(name, number) for name, number in connection.execute(query)]


def _comes_from(connection: sa.Connection, tenant: str, version: Version, ancestor: Version) -> bool:
    edge = PARENTS.c
    up = sa.select(edge.parent_name, edge.parent_version).where(edge.tenant == tenant, edge.name == version[0], edge.version == version[1])
    above = up.cte("above", recursive=True)
    above = above.union(
        sa.select(edge.parent_name, edge.parent_version).where(
            edge.tenant == tenant, edge.name == above.c.parent_name, edge.version == above.c.parent_version
        )
    )
    query = sa.select(sa.literal(1)).where(above.c.parent_name == ancestor[0], above.c.parent_version == ancestor[1]).limit(1)
    return connection.execute(query).scalar() is not None


def _origins(connection: sa.Connection, tenant: str, version: Version) -> tuple[Lineage, ...]:
    model = versions.to_model(versions.find(connection, tenant, Selector(version[0], version=version[1])))
    run = (Lineage(model.run_id, "run"),) if model.run_id else ()
    return (*run, *_code(model), *_data(connection, tenant, model))


def _code(model: ModelMetadata) -> tuple[Lineage, ...]:
    if model.code is None:
        return ()
    commit = model.code.commit or f"environment:{model.code.environment_digest}"
    return (Lineage(f"{commit}+{model.code.diff_digest}" if model.code.diff_digest else commit, "code"),)


def _data(connection: sa.Connection, tenant: str, model: ModelMetadata) -> tuple[Lineage, ...]:
    data = DATA.c
    query = sa.select(data.dataset, data.dataset_version).where(
        data.tenant == tenant, data.name == model.name, data.version == model.version
    )
    found = connection.execute(query.order_by(data.dataset, data.dataset_version)).all()
    if not found and model.training_data_hash:
        return (Lineage(model.training_data_hash, "data"),)
    return tuple(Lineage(f"{dataset}@{number}", "data") for dataset, number in found)


def _text(version: Version) -> str:
    return f"{version[0]}@{version[1]}"
