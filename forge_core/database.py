"""One SQLAlchemy engine per project. A mutation commits together with its event, or not at all.

SQLite runs in WAL mode with `synchronous=FULL`, writers begin IMMEDIATE; PostgreSQL is used by URL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from attrs import define, field

from forge_core.faults import ConfigError, ForgeError, InvalidInput
from forge_core.identifiers import new_id
from forge_core.operations import Call, pending
from forge_core.records.auth import Event
from forge_core.records.data import JSON
from forge_core.serialize import to_json
from forge_core.tables import EVENTS, KERNEL, SCHEMA_VERSION, SCHEMAS


class ReadOnly(ForgeError):
    """The project's database was opened read only, or does not exist yet."""


@define
class _Open:
    connection: sa.Connection
    after: list[Callable[[], None]] = field(factory=list)


class Database:
    """Injected by annotation. An engine is made at first use and never crosses a fork: call `close()` before forking."""

    def __init__(self, url: str, *, read_only: bool = False, owner: str = "", root: Path | None = None) -> None:
        try:
            self._url = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise ConfigError("infrastructure.database.url is not a database URL", "write sqlite:///.forge/forge.db") from None
        if root is not None and self.dialect == "sqlite" and self._url.database not in (None, "", ":memory:"):
            self._url = self._url.set(database=str(root / str(self._url.database)))  # no text of a URL: a folder may be called a?b#c
        self._read_only = read_only
        self._owner = owner
        self._current: ContextVar[_Open | None] = ContextVar("forge_transaction", default=None)
        self._prepared: set[str] = set()
        self._lock = Lock()
        self.on_event: Callable[[Event], None] | None = None

    def __repr__(self) -> str:
        return f"<Database {self._url.render_as_string(hide_password=True)}>"

    @property
    def dialect(self) -> str:
        return self._url.get_backend_name()

    @property
    def exists(self) -> bool:
        """False for a SQLite file that was not made yet."""
        return self.dialect != "sqlite" or not self._url.database or Path(self._url.database).exists()

    @cached_property
    def engine(self) -> sa.Engine:
        if self.dialect != "sqlite":
            return sa.create_engine(self._url, pool_pre_ping=True)
        path = Path(self._url.database or "")
        if self._read_only:
            engine = sa.create_engine(_reading(path), connect_args={"timeout": 30})
        else:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ForgeError(f"the database's folder cannot be made: {error.strerror}", "look at infrastructure.database.url") from None
            engine = sa.create_engine(self._url, connect_args={"timeout": 30})
        sa.event.listen(engine, "connect", _read_only_pragmas if self._read_only else _pragmas)
        sa.event.listen(engine, "begin", _begin)
        return engine

    @cached_property
    def _writing(self) -> sa.Engine:
        """The same connections; SQLite's lock is taken when a transaction begins, not at its first write."""
        return self.engine.execution_options(forge_write=True)

    def close(self) -> None:
        """Close every connection; the engine is made anew at next use."""
        with self._lock:
            if "engine" in self.__dict__:
                self.engine.dispose()
                del self.__dict__["engine"]
                self.__dict__.pop("_writing", None)

    def prepare(self, distribution: str, tables: sa.MetaData, version: int = 1) -> None:
        """Create a distribution's tables where they are missing; refuse a schema that a newer release wrote."""
        if distribution in self._prepared:
            return
        if self._read_only:
            self._prepared.add(distribution)
            return
        with self._lock, self._begun() as connection:
            if self.dialect == "postgresql":
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7306013)"))
            SCHEMAS.create(connection, checkfirst=True)
            found = connection.execute(sa.select(SCHEMAS.c.version).where(SCHEMAS.c.distribution == distribution)).scalar()
            if found is not None and found > version:
                raise ForgeError(
                    f"the database holds schema {found} of {distribution}, this release knows {version}", f"pip install -U {distribution}"
                )
            if found is None:
                tables.create_all(connection, checkfirst=True)
                connection.execute(SCHEMAS.insert().values(distribution=distribution, version=version))
        self._prepared.add(distribution)

    def schemas(self) -> dict[str, int]:
        """The schema version of each distribution that keeps something here."""
        if not self.exists:
            return {}
        with self.read() as connection:
            if not sa.inspect(connection).has_table(SCHEMAS.name):
                return {}
            return {row.distribution: row.version for row in connection.execute(sa.select(SCHEMAS))}

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to read by; inside `transaction()` it is that transaction's."""
        now = self._current.get()
        if now is not None:
            yield now.connection
            return
        if not self.exists:
            raise ReadOnly("this project has no database yet", "forge train")
        with self._connected() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Commit everything inside, with the event of the operation under way, or nothing. Nested ones join the outer."""
        if self._read_only:
            raise ReadOnly("the database was opened to be read", "use a command that writes")
        self.prepare("forge-kernel", KERNEL, SCHEMA_VERSION)
        outer, call = self._current.get(), pending()
        if outer is not None:
            yield outer.connection
            self._write_event(outer, call)
            return
        try:
            with self._begun() as connection:
                now = _Open(connection)
                token = self._current.set(now)
                try:
                    yield connection
                    self._write_event(now, call)
                finally:
                    self._current.reset(token)
        except BaseException:  # a commit that failed among them
            if call is not None:
                call.recorded = False
            raise
        for act in now.after:
            act()

    def after_commit(self, act: Callable[[], None]) -> None:
        now = self._current.get()
        if now is None:
            act()
        else:
            now.after.append(act)

    def _write_event(self, now: _Open, call: Call | None) -> None:
        if call is None or call.recorded:
            return
        event = event_of(call, "done")
        now.connection.execute(EVENTS.insert().values(**to_json(event), owner=self._owner))
        call.recorded = True
        if self.on_event is not None:
            told = self.on_event
            now.after.append(lambda: told(event))

    @contextmanager
    def outside(self, call: Call) -> Iterator[None]:
        """A mutation of something else than this database: its intent is committed first, its outcome afterwards."""
        now = self._current.get()
        if now is not None:  # inside a transaction the outcome alone can be kept, and only with all the rest
            yield
            self._write_event(now, call)
            return
        intent = event_of(call, "intent")
        with self.transaction() as connection:
            connection.execute(EVENTS.insert().values(**to_json(intent), owner=self._owner))
        outcome = "failed"
        try:
            yield
            outcome = "done"
        finally:
            ended = event_of(call, outcome, intent.id)
            with self.transaction() as connection:
                connection.execute(EVENTS.update().where(EVENTS.c.id == intent.id).values(**to_json(ended)))
            call.recorded = outcome == "done"
            if self.on_event is not None:
                self.on_event(ended)

    def settle(self, dead: Callable[[str], bool]) -> int:
        """Mark intents whose process has ended as `unknown`; returns how many."""
        with self.read() as connection:
            if not sa.inspect(connection).has_table(EVENTS.name):
                return 0
            rows = connection.execute(sa.select(EVENTS.c.id, EVENTS.c.owner).where(EVENTS.c.outcome == "intent")).all()
        orphans = [row.id for row in rows if dead(row.owner)]
        if orphans:
            with self.transaction() as connection:
                connection.execute(EVENTS.update().where(EVENTS.c.id.in_(orphans), EVENTS.c.outcome == "intent").values(outcome="unknown"))
        return len(orphans)

    def events(self, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, Event]]:
        """The outbox in order, from the sequence number `after` on."""
        names = ("id", "action", "resource", "actor", "tenant", "at", "before", "after", "request_id", "outcome")
        with self.read() as connection:
            self.prepare("forge-kernel", KERNEL, SCHEMA_VERSION)
            rows = connection.execute(
                sa.select(EVENTS).where(EVENTS.c.sequence > after).order_by(EVENTS.c.sequence).limit(limit)
            ).mappings()
            return [
                (row["sequence"], Event(**{**{name: row[name] for name in names}, "at": datetime.fromisoformat(row["at"])})) for row in rows
            ]

    @contextmanager
    def _begun(self) -> Iterator[sa.Connection]:
        with self._connected(write=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def _connected(self, write: bool = False) -> Iterator[sa.Connection]:
        try:
            with (self._writing if write else self.engine).connect() as connection:
                yield connection
        except (sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
            raise ConfigError(f"no database driver: {error}", "pip install 'psycopg[binary]' for postgresql+psycopg://") from error
        except (UnicodeEncodeError, sa.exc.DataError) as error:
            raise InvalidInput("text or a number that the database cannot hold", "no NUL, no half of a surrogate pair") from error
        except sa.exc.DatabaseError as error:
            if type(error) not in (sa.exc.DatabaseError, sa.exc.OperationalError):  # an integrity error is its writer's to handle
                raise
            raise ForgeError(f"the database cannot be used: {_first_line(error.orig)}", "look at infrastructure.database.url") from error


def _reading(path: Path) -> sa.URL:
    """SQLite makes the files of its log even to read, unless it is told that nobody writes: that holds while there is no log."""
    how = {"mode": "ro"} if path.with_name(f"{path.name}-wal").exists() else {"immutable": "1"}
    return sa.URL.create("sqlite", database=f"file:{quote(str(path))}", query={**how, "uri": "true"})


def event_of(call: Call, outcome: str, event_id: str | None = None) -> Event:
    principal = call.session.principal
    return Event(
        id=event_id or new_id("evt"),
        action=call.operation.action,
        resource=call.resource,
        actor=principal.name,
        tenant=principal.tenant,
        at=datetime.now(UTC),
        before=_plain(call.before),
        after=_plain(call.after),
        request_id=call.session.request_id,
        outcome=outcome,
    )


def _plain(value: JSON) -> JSON:
    return to_json(value) if value is not None else None


def _pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _read_only_pragmas(connection: Any, _record: object) -> None:
    connection.isolation_level = None


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("forge_write") else "BEGIN")


def _first_line(error: object) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
