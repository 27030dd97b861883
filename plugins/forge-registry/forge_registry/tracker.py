"""Tracker `sql`: runs, parameters, metrics and artifacts, beside the registry in the same database and storage."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from attrs import frozen
from sqlalchemy.dialects import postgresql, sqlite

from forge_core.contracts import ExperimentTracker
from forge_core.database import Database
from forge_core.faults import DigestMismatch, InvalidInput, NotFound, Transient
from forge_core.operations import describe, operation
from forge_core.records import JSON, Storage
from forge_core.serialize import canonical
from forge_registry import names
from forge_registry.blobs import Blob, Swept
from forge_registry.disk import copy_durably, open_file
from forge_registry.garbage import hold
from forge_registry.storage import open_blobs, reached
from forge_registry.tables import ARTIFACTS, METRICS, RUNS, insert_if_absent, prepare

_TRIES = 10
_BATCH = 10_000  # metrics a transaction, so that others write in between
_MOST_FOUND = 10_000


@frozen
class TrackedRun:
    """A run as its tracker knows it. `artifacts` maps names to sizes in bytes."""

    run_id: str
    experiment: str
    state: str
    parameters: Mapping[str, JSON]
    artifacts: Mapping[str, int]
    started_at: datetime
    ended_at: datetime | None = None


class SqlTracker(ExperimentTracker):
    transactional = True

    def __init__(self, *, database: Database, storage: Storage) -> None:
        self._database = database
        self._blobs = open_blobs(storage)

    def open(self) -> None:
        prepare(self._database)

    def start(self, experiment: str, run_id: str, parameters: Mapping[str, JSON]) -> None:
        tenant = names.acting_tenant()
        try:
            canonical(dict(parameters))
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"a parameter is not JSON: {error}", "use finite numbers, texts, lists and mappings") from error
        row = {
            "tenant": tenant,
            "run_id": names.run_id(run_id),
            "experiment": names.text(experiment, "an experiment's name", 200),
            "parameters": dict(parameters),
            "state": "running",
            "started_at": datetime.now(UTC),
        }
        with self._database.read() as connection:
            if _is_tracked(connection, tenant, run_id):
                return  # before any transaction: what changes nothing is no event
        with self._database.transaction() as connection:
            insert_if_absent(connection, RUNS, row)
            describe(after={"experiment": experiment, "state": "running"})

    def log_metrics(self, run_id: str, metrics: Sequence[tuple[str, float, int, datetime]]) -> None:
        tenant = names.acting_tenant()
        rows = [{"tenant": tenant, "run_id": run_id, **_checked(metric)} for metric in metrics]
        for start in range(0, len(rows), _BATCH):
            with self._database.transaction() as connection:
                _require(connection, tenant, run_id)
                connection.execute(METRICS.insert(), rows[start : start + _BATCH])

    def log_artifact(self, run_id: str, path: Path, name: str) -> None:
        """Keep a file under a name of the run; a file of that name is replaced."""
        tenant = names.acting_tenant()
        names.file_path(name)
        with self._database.read() as connection:
            _require(connection, tenant, run_id)
        for _ in range(_TRIES):
            try:
                self._keep(tenant, run_id, path, name)
            except Swept:
                continue
            return
        raise Transient(f"{name} could not be kept: it was swept away {_TRIES} times", "try again")

    def end(self, run_id: str, state: str) -> None:
        tenant = names.acting_tenant()
        names.text(state, "a run's state", 50)
        with self._database.transaction() as connection:
            _require(connection, tenant, run_id)
            here = sa.and_(RUNS.c.tenant == tenant, RUNS.c.run_id == run_id)
            connection.execute(RUNS.update().where(here).values(state=state, ended_at=datetime.now(UTC)))

    def metrics(self, run_id: str) -> Sequence[tuple[str, float, int, datetime]]:
        tenant, column = names.acting_tenant(), METRICS.c
        query = sa.select(column.name, column.value, column.step, column.at).where(column.tenant == tenant, column.run_id == run_id)
        with self._database.read() as connection:
            _require(connection, tenant, run_id)
            found = connection.execute(query.order_by(column.name, column.step, column.at, column.sequence)).all()
        return [(name, math.nan if value is None else value, step, at) for name, value, step, at in found]

    @operation("run:read", resource="run:{run_id}")
    def run(self, run_id: str) -> TrackedRun:
        """What is known of a run, its metrics aside."""
        tenant = names.acting_tenant()
        with self._database.read() as connection:
            row = _require(connection, tenant, run_id)
            return _to_run(connection, row)

    @operation("run:list", resource="runs")
    def runs(self, experiment: str | None = None, limit: int = 100) -> Sequence[TrackedRun]:
        """Newest first."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST_FOUND:
            raise InvalidInput(f"a limit is a whole number from 1 to {_MOST_FOUND}", "ask for less at a time")
        query = sa.select(RUNS).where(RUNS.c.tenant == names.acting_tenant()).order_by(RUNS.c.sequence.desc()).limit(limit)
        if experiment is not None:
            query = query.where(RUNS.c.experiment == names.text(experiment, "an experiment's name", 200))
        with self._database.read() as connection:
            return [_to_run(connection, row) for row in connection.execute(query).all()]

    @operation("run:read", resource="run:{run_id}")
    def fetch_artifact(self, run_id: str, name: str, target: Path) -> None:
        """Write an artifact's bytes, verified, into the new file `target`."""
        tenant, column = names.acting_tenant(), ARTIFACTS.c
        query = sa.select(column.sha256, column.size).where(
            column.tenant == tenant, column.run_id == run_id, column.path == names.file_path(name)
        )
        with self._database.read() as connection:
            found = connection.execute(query).one_or_none()
        if found is None:
            raise NotFound(f"run {run_id} has no artifact {name!r}", "look at the run's artifacts")
        if os.path.lexists(target) or not target.parent.is_dir():
            raise InvalidInput(f"{name} is written into a new file of an existing folder", "choose another target")
        with reached(f"{name} could not be fetched"):
            try:
                with self._blobs.open(tenant, found.sha256) as source:
                    written = copy_durably(source, target)
            except FileNotFoundError:
                written = None
            if written != Blob(found.sha256, found.size):
                target.unlink(missing_ok=True)
                raise DigestMismatch(
                    f"the stored bytes of {name} are not those that were logged", "restore infrastructure.storage from a backup"
                )

    def _keep(self, tenant: str, run_id: str, path: Path, name: str) -> None:
        with reached(f"{name} could not be kept"), self._blobs.staging(tenant) as staging:
            try:
                with open_file(path) as source:
                    blob = staging.add(source)
            except FileNotFoundError as error:
                raise InvalidInput(f"there is no file to keep as {name}", "name a file; links are not followed") from error
            staging.publish()
            with self._database.transaction() as connection:
                hold(connection, self._blobs, tenant, (blob,))
                _require(connection, tenant, run_id)
                insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
                row = {"tenant": tenant, "run_id": run_id, "path": name, "size": blob.size, "sha256": blob.sha256}
                statement = insert(ARTIFACTS).values(row)
                connection.execute(
                    statement.on_conflict_do_update(
                        index_elements=["tenant", "run_id", "path"], set_={"size": blob.size, "sha256": blob.sha256}
                    )
                )


def _checked(metric: Sequence[Any]) -> dict[str, object]:
    """A metric as its row: any number that is a double, any step that a column holds, an instant in UTC. `InvalidInput` else."""
    try:
        name, value, step, at = metric
        if isinstance(value, str | bytes) or at.utcoffset() is None or not -(2**63) <= operator.index(step) < 2**63:
            raise ValueError
        number, instant = float(value), at.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InvalidInput(
            f"{str(metric)[:200]!r} is no metric", "log (name, value, step, time): a text, a number, a whole number, a time with its zone"
        ) from error
    kept = None if math.isnan(number) else number
    return {"name": names.text(name, "a metric's name", 250), "value": kept, "step": operator.index(step), "at": instant}


def _is_tracked(connection: sa.Connection, tenant: str, run_id: str) -> bool:
    query = sa.select(sa.literal(1)).where(RUNS.c.tenant == tenant, RUNS.c.run_id == run_id)
    return connection.execute(query).scalar() is not None


def _require(connection: sa.Connection, tenant: str, run_id: str) -> sa.Row[tuple[object, ...]]:
    row = connection.execute(sa.select(RUNS).where(RUNS.c.tenant == tenant, RUNS.c.run_id == names.run_id(run_id))).one_or_none()
    if row is None:
        raise NotFound(f"no run {run_id} is tracked", "start it first")
    return row


def _to_run(connection: sa.Connection, row: sa.Row[tuple[object, ...]]) -> TrackedRun:
    query = sa.select(ARTIFACTS.c.path, ARTIFACTS.c.size).where(ARTIFACTS.c.tenant == row.tenant, ARTIFACTS.c.run_id == row.run_id)
    artifacts = {kept.path: kept.size for kept in connection.execute(query.order_by(ARTIFACTS.c.path))}
    return TrackedRun(row.run_id, row.experiment, row.state, row.parameters, artifacts, row.started_at, row.ended_at)
