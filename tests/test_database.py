"""A mutation commits with its event or not at all, on SQLite and on PostgreSQL alike."""

from __future__ import annotations

import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from forge_core.database import KERNEL, Database, ReadOnly
from forge_core.faults import ConfigError, ForgeError
from forge_core.operations import Call, Operation
from forge_core.records import Principal, Session

TABLES = sa.MetaData()
NOTES = sa.Table("notes", TABLES, sa.Column("name", sa.String(40), primary_key=True))
ANN = Session(Principal("ann", (), "acme"), "req_1")


def call(action: str = "note:add") -> Call:
    return Call(ANN, Operation("add", action, "", True, None, ()), "note:a")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    """A fresh database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state/forge.db"
    base = sa.make_url(request.getfixturevalue("postgresql_url"))
    name = f"forge_{uuid.uuid4().hex}"
    engine = sa.create_engine(base, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return base.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(url, owner="me")
    made.prepare("forge-notes", TABLES)
    yield made
    made.close()


@pytest.fixture
def sqlite_url(tmp_path) -> str:
    return f"sqlite:///{tmp_path}/state/forge.db"


@pytest.fixture
def sqlite(sqlite_url) -> Iterator[Database]:
    made = Database(sqlite_url)
    made.prepare("forge-notes", TABLES)
    yield made
    made.close()


def add(database: Database, name: str = "a") -> None:
    with database.transaction() as connection:
        connection.execute(NOTES.insert().values(name=name))


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return [row.name for row in connection.execute(sa.select(NOTES).order_by(NOTES.c.name))]


# ---- transactions


def test_what_is_committed_is_read_and_what_fails_is_not(database):
    add(database)
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        connection.execute(NOTES.insert().values(name="b"))
        raise ZeroDivisionError
    assert names(database) == ["a"]


def test_a_transaction_inside_another_joins_it(database):
    with pytest.raises(ZeroDivisionError), database.transaction():
        add(database)
        assert names(database) == ["a"]  # reading inside sees it
        raise ZeroDivisionError
    assert names(database) == []


def test_what_waits_for_the_commit_runs_after_it_and_only_then(database):
    done: list[str] = []
    database.after_commit(lambda: done.append("at once"))
    with database.transaction():
        database.after_commit(lambda: done.append("later"))
        assert done == ["at once"]
    with pytest.raises(ZeroDivisionError), database.transaction():
        database.after_commit(lambda: done.append("never"))
        raise ZeroDivisionError
    assert done == ["at once", "later"]


def test_a_mutation_outside_is_intent_then_done_with_what_it_changed(database):
    told = []
    database.on_event = told.append
    seen = []
    with database.outside(one := call()):
        one.after = {"n": 1}
        seen = [event.outcome for _, event in database.events()]
    assert seen == ["intent"]
    ((_, event),) = database.events()
    assert (event.outcome, event.after, event.actor, event.tenant) == ("done", {"n": 1}, "ann", "acme")
    assert [one.outcome for one in told] == ["done"]


def test_a_mutation_outside_that_fails_is_failed(database):
    with pytest.raises(OSError), database.outside(call()):
        raise OSError
    assert [event.outcome for _, event in database.events()] == ["failed"]


def test_intents_of_the_dead_are_settled_as_unknown_and_those_of_the_living_are_not(url):
    dead, living = Database(url, owner="dead"), Database(url, owner="living")
    with pytest.raises(SystemExit), dead.outside(call()):
        with dead.engine.connect() as connection:  # as if killed here: the outcome is never written
            snapshot = connection.execute(sa.text("SELECT id FROM forge_events")).scalar()
        raise SystemExit
    with dead.transaction() as connection:
        connection.execute(sa.text("UPDATE forge_events SET outcome = 'intent'"))
    with living.outside(call()):
        assert living.settle(lambda owner: owner == "dead") == 1
        assert living.settle(lambda owner: owner == "dead") == 0
        assert {event.id == snapshot: event.outcome for _, event in living.events()} == {True: "unknown", False: "intent"}
    dead.close()
    living.close()


def test_events_are_read_in_order_from_where_one_stopped(database):
    for number in range(5):
        with database.outside(call(f"note:{number}")):
            pass
    found = database.events(limit=2)
    found += database.events(after=found[-1][0])
    assert [event.action for _, event in found] == [f"note:{number}" for number in range(5)]
    assert all(event.at.tzinfo for _, event in found)


# ---- schemas


def test_a_schema_is_recorded_once_per_distribution(database):
    database.prepare("forge-notes", TABLES)
    add(database)
    assert database.schemas() == {"forge-notes": 1, "forge-kernel": 1}


def test_a_schema_that_a_newer_release_wrote_is_refused(url, database):
    database.prepare("forge-other", sa.MetaData(), 7)
    older = Database(url)
    with pytest.raises(ForgeError, match="holds schema 7 of forge-other, this release knows 6") as caught:
        older.prepare("forge-other", sa.MetaData(), 6)
    assert caught.value.remedy == "pip install -U forge-other"
    older.close()


def test_sixteen_threads_prepare_at_once(url):
    databases = [Database(url) for _ in range(16)]
    start = threading.Barrier(16)

    def prepare(one: Database) -> None:
        start.wait()
        one.prepare("forge-notes", TABLES)
        add(one, uuid.uuid4().hex)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(prepare, databases))
    assert len(names(databases[0])) == 16
    for one in databases:
        one.close()


# ---- SQLite


def test_eight_processes_prepare_at_once(sqlite_url):
    source = (
        "import sys, sqlalchemy as sa; from forge_core.database import Database; tables = sa.MetaData();"
        "notes = sa.Table('notes', tables, sa.Column('name', sa.String(40), primary_key=True)); d = Database(sys.argv[1]);"
        "sys.stdin.read(); d.prepare('forge-notes', tables)\n"
        "with d.transaction() as c: c.execute(notes.insert().values(name=sys.argv[2]))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", source, sqlite_url, str(number)], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for number in range(8)
    ]
    for one in started:
        one.stdin.close()
    assert [(one.wait(60), one.stderr.read()) for one in started] == [(0, b"")] * 8
    for one in started:
        one.stderr.close()
    after = Database(sqlite_url)
    assert len(names(after)) == 8
    after.close()


def test_sqlite_is_durable_and_writers_wait_for_one_another(sqlite):
    with sqlite.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000


def test_a_writer_takes_the_lock_where_it_begins(sqlite):
    add(sqlite)
    other = sa.create_engine(sqlite.engine.url, connect_args={"timeout": 0.1})
    with sqlite.transaction(), other.connect() as connection, pytest.raises(sa.exc.OperationalError, match="locked"):
        connection.exec_driver_sql("INSERT INTO notes VALUES ('b')")
    with sqlite.read(), other.begin() as connection:  # a reader takes none
        connection.exec_driver_sql("INSERT INTO notes VALUES ('b')")
    other.dispose()


def test_two_writers_do_not_lose_an_update(sqlite):
    with sqlite.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE counter (n INTEGER)")
        connection.exec_driver_sql("INSERT INTO counter VALUES (0)")

    def count(_number: int) -> None:
        for _ in range(10):
            with sqlite.transaction() as connection:
                value = connection.exec_driver_sql("SELECT n FROM counter").scalar()
                connection.exec_driver_sql(f"UPDATE counter SET n = {value + 1}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(4)))
    with sqlite.read() as connection:
        assert connection.exec_driver_sql("SELECT n FROM counter").scalar() == 40


def test_the_folder_of_the_database_is_made_with_it_and_not_before(tmp_path):
    database = Database(f"sqlite:///{tmp_path}/state/forge.db")
    assert not database.exists
    assert database.schemas() == {}
    with pytest.raises(ReadOnly, match="no database yet"), database.read():
        pass
    assert list(tmp_path.iterdir()) == []
    database.prepare("forge-notes", TABLES)
    assert database.exists
    database.close()


def test_a_database_opened_to_be_read_is_not_written(tmp_path, sqlite):
    add(sqlite)
    sqlite.close()
    reader = Database(f"sqlite:///{tmp_path}/state/forge.db", read_only=True)
    reader.prepare("forge-new", KERNEL)
    assert names(reader) == ["a"]
    assert reader.schemas() == {"forge-notes": 1, "forge-kernel": 1}
    with pytest.raises(ReadOnly), reader.transaction():
        pass
    with pytest.raises(sa.exc.OperationalError, match="readonly"), reader.engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO notes VALUES ('b')")
    reader.close()


def test_a_file_that_is_no_database_is_a_typed_error(tmp_path):
    (tmp_path / "forge.db").write_text("this is not a database, and long enough to be told apart from an empty one" * 20)
    database = Database(f"sqlite:///{tmp_path}/forge.db")
    with pytest.raises(ForgeError, match="the database cannot be used: file is not a database"):
        database.prepare("forge-notes", TABLES)
    database.close()


def test_a_folder_that_cannot_be_made_is_a_typed_error(tmp_path):
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(ForgeError):
        Database(f"sqlite:///{tmp_path}/state/forge.db").prepare("forge-notes", TABLES)


@pytest.mark.parametrize(
    ("url", "error"), [("nonsense", ConfigError), ("nodialect://x/y", ConfigError), ("postgresql+nodriver://x/y", ConfigError)]
)
def test_a_url_that_names_no_database_is_a_configuration_error(url, error):
    with pytest.raises(error), Database(url).transaction():
        pass


def test_an_unreachable_server_is_a_typed_error_without_the_password():
    database = Database("postgresql+psycopg://forge:hunter2@127.0.0.1:9/forge?connect_timeout=2")
    with pytest.raises(ForgeError, match="the database cannot be used") as caught, database.read():
        pass
    assert "hunter2" not in caught.value.cause + repr(database)


def test_a_closed_database_opens_again_at_next_use(sqlite):
    add(sqlite)
    sqlite.close()
    assert names(sqlite) == ["a"]
