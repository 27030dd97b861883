"""What was not committed was not told, and what could not be committed may be tried again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from forge_core import hookimpl
from forge_core.contracts import Driver
from forge_core.database import Database
from forge_core.faults import ForgeError
from forge_core.operations import guard, operation, pending

YAML = "project: {name: test}\ninfrastructure: {serving: {type: routes}}\n"
TABLES = sa.MetaData()
ROWS = sa.Table("rows", TABLES, sa.Column("name", sa.String(20)))


class Stubborn(Driver):
    """Tries a commit again that has failed, and keeps what its call said in between."""

    role = "stubborn"
    transactional = True

    def __init__(self, database: Database) -> None:
        self.database = database
        self.recorded: list[bool] = []

    @operation("row:add", resource="row:{name}", mutates=True)
    def add(self, name: str) -> None:
        for _ in range(2):
            try:
                with self.database.transaction() as connection:
                    connection.execute(ROWS.insert().values(name=name))
            except ForgeError:
                self.recorded.append(pending().recorded)
            else:
                self.recorded.append(pending().recorded)
                return


@pytest.fixture
def kernel(fake_distribution, open_kernel):
    shutil.copytree(Path(__file__).with_name("tiny"), fake_distribution.folder, dirs_exist_ok=True)
    return open_kernel(YAML)


@pytest.fixture
def told(kernel):
    """(hook, subject) in the order of telling."""
    heard = []

    class Listener:
        @hookimpl
        def forge_traffic_changed(self, deployment):
            heard.append(("traffic", deployment.endpoint))

        @hookimpl
        def forge_event_recorded(self, event):
            heard.append((event.outcome, event.action))

    kernel.hub.listen(Listener(), "forge-test")
    return heard


def deploy(kernel):
    return kernel.deployer.deploy_model("m@1", "e", kernel.make("strategy", "all"))


def actions(kernel) -> list[tuple[str, str]]:
    return [(event.outcome, event.action) for _, event in kernel.database.events()]


def test_a_mutation_elsewhere_tells_nothing_when_the_transaction_around_it_is_rolled_back(kernel, told):
    with pytest.raises(RuntimeError), kernel.database.transaction():
        deploy(kernel)
        raise RuntimeError
    assert (told, actions(kernel)) == ([], [])


def test_a_mutation_elsewhere_tells_when_the_transaction_around_it_is_committed_and_not_before(kernel, told):
    with kernel.database.transaction():
        deploy(kernel)
        assert told == []
    assert sorted(told) == [("done", "endpoint:deploy"), ("traffic", "e")]
    assert actions(kernel) == [("done", "endpoint:deploy")]


def test_an_event_whose_commit_failed_is_written_with_the_next_one(kernel, told):
    kernel.database.prepare("forge-stubborn", TABLES)
    with kernel.database.transaction():
        pass  # the kernel's own tables are there
    failing = [True]

    @sa.event.listens_for(kernel.database.engine, "commit")
    def fail(_connection: sa.Connection) -> None:
        if failing:
            failing.clear()
            raise sa.exc.OperationalError("COMMIT", {}, Exception("disk I/O error"))

    driver = Stubborn(kernel.database)
    guard(driver, kernel).add("a")
    assert driver.recorded == [False, True]
    with kernel.database.read() as connection:
        assert connection.execute(sa.select(ROWS.c.name)).scalars().all() == ["a"]
    assert actions(kernel) == [("done", "row:add")]
    assert told == [("done", "row:add")]
