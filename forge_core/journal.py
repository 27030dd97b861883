"""Runs and steps in the project's database. One commit ends a step and starts the next, or does neither.

A run belongs to an owner with a lease; every write is fenced by `WHERE owner = me`, so that a process that was paused
and replaced cannot write when it wakes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from attrs import frozen

from forge_core.database import Database
from forge_core.faults import Cancelled, Conflict, NotFound
from forge_core.operations import current, describe
from forge_core.processes import known_dead
from forge_core.records.data import JSON
from forge_core.records.models import CodeVersion
from forge_core.records.runs import Plan, RunRecord, StepRecord
from forge_core.serialize import from_json, to_json
from forge_core.tables import RUNS, STEPS

LEASE = 15.0  # seconds
TERMINAL = ("done", "failed", "cancelled")

_NOTE: dict[str, Any] = {
    name: sa.bindparam(f"b_{name}")
    for name in ("state", "fingerprint", "attempt", "cached", "files", "outputs", "started_at", "ended_at", "error")
}


@frozen
class Result:
    """What a finished step left: its run, its outputs, and whether it left files."""

    run_id: str
    outputs: Mapping[str, JSON]
    files: bool


class Listener:
    """Who is told of what was committed; the kernel's tells the hub."""

    def run_started(self, run: RunRecord) -> None: ...
    def run_finished(self, run: RunRecord) -> None: ...
    def step_started(self, run_id: str, step: StepRecord) -> None: ...
    def step_finished(self, run_id: str, step: StepRecord) -> None: ...


class Journal:
    def __init__(self, database: Database, listener: Listener | None = None, lease: float = LEASE) -> None:
        self._database = database
        self._listener = listener or Listener()
        self.lease = lease
        self._made = False

    def begin(self, run_id: str, plan: Plan, owner: str, code: CodeVersion | None = None) -> RunRecord:
        """A new run, owned by this process, all of its steps waiting."""
        tenant, now = current().principal.tenant, datetime.now(UTC)
        with self._database.transaction() as connection:
            connection.execute(
                RUNS.insert().values(
                    run_id=run_id,
                    tenant=tenant,
                    name=plan.pipeline.name,
                    state="running",
                    started_at=now.isoformat(),
                    plan=to_json(plan),
                    code=to_json(code),
                    owner=owner,
                    lease=time.time() + self.lease,
                    cancel=False,
                    error="",
                )
            )
            waiting: list[dict[str, JSON]] = [
                {
                    "run_id": run_id, "position": position, "tenant": tenant, "name": planned.step.name, "stage": planned.step.stage,
                    "state": "waiting", "fingerprint": planned.fingerprint, "attempt": 0, "cached": False, "files": False, "outputs": {},
                    "started_at": now.isoformat(), "ended_at": None, "error": "",
                }
                for position, planned in enumerate(plan.steps)
            ]  # fmt: skip
            if waiting:
                connection.execute(STEPS.insert(), waiting)
            describe(resource=f"run:{run_id}", after={"pipeline": plan.pipeline.name})
        run = RunRecord(run_id, plan.pipeline.name, "running", now, (), tenant, code=code)
        self._listener.run_started(run)
        return run

    def take(self, run_id: str, owner: str) -> Plan:
        """Become the owner of a run that is dead, failed or cancelled; a living one keeps its own."""
        with self._database.transaction() as connection:
            row = self._row(connection, run_id)
            if row["state"] == "done":
                raise Conflict(f"run {run_id} is done", f"forge runs show {run_id}")
            if row["state"] == "running" and not _dead(row):
                raise Conflict(f"run {run_id} is alive", f"forge runs show {run_id}, or forge runs cancel {run_id}")
            won = connection.execute(
                RUNS.update()
                .where(RUNS.c.run_id == run_id, RUNS.c.owner == row["owner"], RUNS.c.state == row["state"], RUNS.c.lease == row["lease"])
                .values(owner=owner, lease=time.time() + self.lease, state="running", cancel=False, error="", ended_at=None)
            ).rowcount
            if not won:
                raise Conflict(f"run {run_id} was just taken by another process", f"forge runs show {run_id}")
            describe(before={"state": "dead" if row["state"] == "running" else row["state"]}, after={"state": "running"})
        self._listener.run_started(self.run(run_id))
        return from_json(row["plan"], Plan)

    def note(self, run_id: str, owner: str, steps: Sequence[tuple[int, StepRecord, bool]], state: str = "running", error: str = "") -> None:
        """Commit steps (position, record, whether it left files) and the run's state, all or nothing, while `owner` owns it.

        `Conflict` where it does not any more; `Cancelled` where the run shall go on, and somebody asked it not to.
        """
        with self._database.transaction() as connection:
            self._hold(connection, run_id, owner, state, error)
            if steps:
                connection.execute(
                    _STEP, [{"b_run": run_id, "b_position": position, **_columns(step, files)} for position, step, files in steps]
                )
        for _position, step, _files in steps:
            if step.state == "running":
                self._listener.step_started(run_id, step)
            else:
                self._listener.step_finished(run_id, step)
        if state in TERMINAL:
            self._listener.run_finished(self.run(run_id))

    @contextmanager
    def held(self, run_id: str, owner: str) -> Iterator[None]:
        """Do something that only the owner may: no other process can take the run meanwhile."""
        with self._database.transaction() as connection:
            self._hold(connection, run_id, owner)
            yield

    def _hold(self, connection: sa.Connection, run_id: str, owner: str, state: str = "running", error: str = "") -> None:
        ended = datetime.now(UTC).isoformat() if state in TERMINAL else None
        mine = {
            "b_run": run_id,
            "b_owner": owner,
            "b_lease": time.time() + self.lease,
            "b_state": state,
            "b_error": error,
            "b_ended": ended,
        }
        if connection.execute(_HOLD_ON if state == "running" else _HOLD, mine).rowcount:
            return
        row = self._row(connection, run_id)
        if row["owner"] == owner and row["state"] == "running":
            raise Cancelled(f"run {run_id} was cancelled", f"forge runs resume {run_id}")
        raise Conflict(f"run {run_id} has another owner now", "this process was paused for longer than its lease")

    def beat(self, run_id: str, owner: str) -> None:
        """Prolong the lease."""
        with self._database.transaction() as connection:
            connection.execute(RUNS.update().where(RUNS.c.run_id == run_id, RUNS.c.owner == owner).values(lease=time.time() + self.lease))

    def request_cancel(self, run_id: str) -> None:
        """Ask the owner to stop; a dead run is cancelled at once."""
        with self._database.transaction() as connection:
            row = self._row(connection, run_id)
            if row["state"] in TERMINAL:
                raise Conflict(f"run {run_id} is {row['state']}", f"forge runs show {run_id}")
            ended = {"state": "cancelled", "ended_at": datetime.now(UTC).isoformat()} if _dead(row) else {}
            connection.execute(RUNS.update().where(RUNS.c.run_id == run_id).values(cancel=True, **ended))
            describe(before={"state": row["state"]}, after={"state": "cancelled"})

    def cancel_requested(self, run_id: str) -> bool:
        with self._database.read() as connection:
            return bool(connection.execute(sa.select(RUNS.c.cancel).where(RUNS.c.run_id == run_id)).scalar())

    def results(self, fingerprints: Sequence[str]) -> dict[str, Result]:
        """The newest finished step with each of these fingerprints, where there is one."""
        found: dict[str, Result] = {}
        if not self._database.exists:
            return found
        with self._database.read() as connection:
            for start in range(0, len(fingerprints) if self._ready(connection) else 0, 500):
                rows = connection.execute(
                    _RESULTS, {"tenant": current().principal.tenant, "prints": list(fingerprints[start : start + 500])}
                )
                for row in rows:  # oldest first, what was computed after what was found: the last one wins
                    found[row.fingerprint] = Result(row.run_id, row.outputs, row.files)
        return found

    def run(self, run_id: str) -> RunRecord:
        if not self._database.exists:
            raise _missing(run_id)
        with self._database.read() as connection:
            row = self._row(connection, run_id)
            return self._record(
                row, connection.execute(sa.select(STEPS).where(STEPS.c.run_id == run_id).order_by(STEPS.c.position)).mappings()
            )

    def plan_of(self, run_id: str) -> Plan:
        if not self._database.exists:
            raise _missing(run_id)
        with self._database.read() as connection:
            return from_json(self._row(connection, run_id)["plan"], Plan)

    def runs(self, name: str | None = None, limit: int = 100) -> Sequence[RunRecord]:
        """Newest first, with their steps."""
        if not self._database.exists:
            return ()
        wanted = sa.select(RUNS).where(RUNS.c.tenant == current().principal.tenant).order_by(RUNS.c.run_id.desc()).limit(limit)
        with self._database.read() as connection:
            if not self._ready(connection):
                return ()
            rows = connection.execute(wanted if name is None else wanted.where(RUNS.c.name == name)).mappings().all()
            ids = [row["run_id"] for row in rows]
            steps: dict[str, list[Any]] = {run_id: [] for run_id in ids}
            for step in connection.execute(sa.select(STEPS).where(STEPS.c.run_id.in_(ids)).order_by(STEPS.c.position)).mappings():
                steps[step["run_id"]].append(step)
        return tuple(self._record(dict(row), steps[row["run_id"]]) for row in rows)

    def _ready(self, connection: sa.Connection) -> bool:
        self._made = self._made or connection.dialect.has_table(connection, RUNS.name)
        return self._made

    def _row(self, connection: sa.Connection, run_id: str) -> Mapping[str, Any]:
        if not self._ready(connection):
            raise _missing(run_id)
        row = (
            connection.execute(sa.select(RUNS).where(RUNS.c.run_id == run_id, RUNS.c.tenant == current().principal.tenant))
            .mappings()
            .first()
        )
        if row is None:
            raise _missing(run_id)
        return dict(row)

    def _record(self, row: Mapping[str, Any], steps: Any) -> RunRecord:
        return RunRecord(
            run_id=row["run_id"],
            name=row["name"],
            state="dead" if row["state"] == "running" and _dead(row) else row["state"],
            started_at=datetime.fromisoformat(row["started_at"]),
            steps=tuple(_step_of(step) for step in steps),
            tenant=row["tenant"],
            ended_at=datetime.fromisoformat(row["ended_at"]) if row["ended_at"] else None,
            code=from_json(row["code"], CodeVersion) if row["code"] else None,
            error=row["error"],
        )


_HOLD = (
    RUNS.update()
    .where(RUNS.c.run_id == sa.bindparam("b_run"), RUNS.c.owner == sa.bindparam("b_owner"), RUNS.c.state == "running")
    .values(lease=sa.bindparam("b_lease"), state=sa.bindparam("b_state"), error=sa.bindparam("b_error"), ended_at=sa.bindparam("b_ended"))
)
_HOLD_ON = _HOLD.where(sa.not_(RUNS.c.cancel))
_STEP = STEPS.update().where(STEPS.c.run_id == sa.bindparam("b_run"), STEPS.c.position == sa.bindparam("b_position")).values(**_NOTE)

_RESULTS = (
    sa.select(STEPS.c.fingerprint, STEPS.c.run_id, STEPS.c.outputs, STEPS.c.files)
    .where(
        STEPS.c.tenant == sa.bindparam("tenant"), STEPS.c.fingerprint.in_(sa.bindparam("prints", expanding=True)), STEPS.c.state == "done"
    )
    .order_by(STEPS.c.cached.desc(), STEPS.c.run_id)
)


def _columns(step: StepRecord, files: bool) -> dict[str, JSON]:
    return {
        "b_state": step.state, "b_fingerprint": step.fingerprint, "b_attempt": step.attempt, "b_cached": step.cached, "b_files": files,
        "b_outputs": dict(step.outputs), "b_started_at": step.started_at.isoformat(),
        "b_ended_at": step.ended_at.isoformat() if step.ended_at else None, "b_error": step.error,
    }  # fmt: skip


def _step_of(row: Mapping[str, Any]) -> StepRecord:
    return StepRecord(
        name=row["name"],
        stage=row["stage"],
        state=row["state"],
        fingerprint=row["fingerprint"],
        attempt=row["attempt"],
        cached=row["cached"],
        outputs=row["outputs"],
        started_at=datetime.fromisoformat(row["started_at"]),
        ended_at=datetime.fromisoformat(row["ended_at"]) if row["ended_at"] else None,
        error=row["error"],
    )


def _dead(row: Mapping[str, Any]) -> bool:
    return bool(row["lease"] < time.time()) or known_dead(row["owner"])


def _missing(run_id: str) -> NotFound:
    return NotFound(f"there is no run {run_id!r}", "forge runs list")
