"""`tracking: acme`: runs and metrics in the project's database, artifacts as files."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from forge_core.contracts import ExperimentTracker
from forge_core.database import Database
from forge_core.faults import ForgeError, InvalidInput, NotFound
from forge_core.files import folder_name, sync
from forge_core.identifiers import new_id
from forge_core.operations import current, describe
from forge_core.records import JSON, Project
from forge_core.serialize import canonical

METADATA = sa.MetaData()
RUNS = sa.Table(
    "acme_runs",
    METADATA,
    sa.Column("tenant", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("experiment", sa.Text, nullable=False),
    sa.Column("parameters", sa.JSON, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
)
METRICS = sa.Table(
    "acme_metrics",
    METADATA,
    sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("tenant", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("value", sa.Text, nullable=False),  # what float() reads: NaN and infinities are numbers too
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
)
sa.Index("acme_metrics_of", METRICS.c.tenant, METRICS.c.run_id)
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class AcmeTracker(ExperimentTracker):
    transactional = True

    def __init__(self, *, database: Database, project: Project) -> None:
        self._database = database
        self._artifacts = project.state / "acme-artifacts"

    def open(self) -> None:
        self._database.prepare("forge-acme/tracker", METADATA)

    def start(self, experiment: str, run_id: str, parameters: Mapping[str, JSON]) -> None:
        row = {"tenant": _tenant(), "run_id": _text(run_id), "experiment": _text(experiment)}
        try:
            _text(canonical(dict(parameters)).decode())
        except (TypeError, ValueError):
            raise InvalidInput("the parameters are not JSON", "finite numbers, texts, lists and mappings") from None
        with self._database.read() as connection:
            if _run(connection, run_id) is not None:
                return  # before any transaction: what changes nothing is no event
        with self._database.transaction() as connection:
            if _run(connection, run_id) is None:
                connection.execute(RUNS.insert().values(**row, parameters=dict(parameters), state="running"))
            describe(after={"experiment": experiment, "state": "running"})

    def log_metrics(self, run_id: str, metrics: Sequence[tuple[str, float, int, datetime]]) -> None:
        rows = [_row(run_id, metric) for metric in metrics]
        with self._database.transaction() as connection:
            _require(connection, run_id)
            if rows:
                connection.execute(METRICS.insert(), rows)

    def log_artifact(self, run_id: str, path: Path, name: str) -> None:
        """A file of that name is replaced."""
        parts = name.split("/")
        if not all(_PART.fullmatch(part) for part in parts):
            raise InvalidInput(f"{name!r:.100} cannot name an artifact", "letters, digits, _ . - and / between them")
        with self._database.read() as connection:
            _require(connection, run_id)
        if path.is_symlink() or not path.is_file():
            raise InvalidInput(f"there is no file to keep as {name}", "name a file; links are not followed")
        target = self._artifacts / folder_name(_tenant()) / folder_name(run_id) / Path(*parts)
        beside = target.with_name(f".{new_id('new')}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, beside)
            sync(beside)
            beside.replace(target)
            sync(target.parent)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise ForgeError(f"{name} could not be kept: {error.strerror}", "look at the disk") from None

    def end(self, run_id: str, state: str) -> None:
        with self._database.transaction() as connection:
            _require(connection, run_id)
            mine = RUNS.update().where(RUNS.c.tenant == _tenant(), RUNS.c.run_id == run_id)
            connection.execute(mine.values(state=_text(state)))

    def metrics(self, run_id: str) -> Sequence[tuple[str, float, int, datetime]]:
        with self._database.read() as connection:
            _require(connection, run_id)
            mine = sa.select(METRICS).where(METRICS.c.tenant == _tenant(), METRICS.c.run_id == run_id)
            rows = connection.execute(mine.order_by(METRICS.c.sequence)).all()
        found = [(row.name, float(row.value), row.step, datetime.fromisoformat(row.at)) for row in rows]
        return sorted(found, key=lambda one: (one[0], one[2], one[3]))


def _tenant() -> str:
    return _text(current().principal.tenant)


def _text(value: object) -> str:
    """Text that every database keeps as it is."""
    try:
        if isinstance(value, str) and value and b"\x00" not in value.encode():
            return value
    except UnicodeEncodeError:  # half a character
        pass
    raise InvalidInput(f"{value!r:.100} is no text that can be kept", "text without NUL and without surrogates")


def _row(run_id: str, metric: tuple[str, float, int, datetime]) -> dict[str, JSON]:
    try:
        name, value, step, at = metric
    except (TypeError, ValueError):
        raise InvalidInput(f"{metric!r:.100} is no metric", "(name, value, step, time)") from None
    if type(value) not in (int, float) or type(step) is not int or not -(2**63) <= step < 2**63:
        raise InvalidInput(f"the metric {name!r:.100} is no number at a step", "(name, value, step, time)")
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise InvalidInput(f"the time of {name!r:.100} has no zone", "datetime.now(UTC)")
    try:
        said = repr(float(value))
    except OverflowError:
        raise InvalidInput(f"the metric {name!r:.100} is too large", "up to 1e308") from None
    when = at.astimezone(UTC).isoformat()
    return {"tenant": _tenant(), "run_id": run_id, "name": _text(name), "value": said, "step": step, "at": when}


def _run(connection: sa.Connection, run_id: str) -> sa.Row[Any] | None:
    mine = sa.select(RUNS).where(RUNS.c.tenant == _tenant(), RUNS.c.run_id == _text(run_id))
    return connection.execute(mine).first()


def _require(connection: sa.Connection, run_id: str) -> None:
    if _run(connection, run_id) is None:
        raise NotFound(f"no run {run_id!r:.100} is tracked", "start it first")
