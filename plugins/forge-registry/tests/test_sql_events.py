"""Behind the kernel's guard: a mutation commits with its event or not at all, and what changed nothing is none."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from forge_core import Kernel
from forge_core.faults import Conflict, ForgeError, InvalidInput
from forge_core.records import ModelStatus
from forge_registry.tables import ALIASES


@pytest.fixture
def kernel(tmp_path, url):
    (tmp_path / "forge.yaml").write_text(f"project: {{name: test}}\ninfrastructure: {{database: {{url: '{url}'}}}}\n")
    with Kernel.open(tmp_path / "forge.yaml") as opened:
        yield opened


def _events(kernel):
    return [event for _sequence, event in kernel.database.events()]


def test_the_entry_points_give_registry_and_tracker(kernel):
    for name in ("registry", "tracker"):
        (ref,) = [ref for ref in kernel.catalog.refs if (ref.role, ref.name) == (name, "sql")]
        assert (ref.distribution, ref.state) == ("forge-registry", "ready")
    assert kernel.registry.search() == []


def test_every_mutation_leaves_an_event_that_tells_what_changed(kernel, local, draft):
    model = kernel.registry.register_model(local.folder(), draft())
    kernel.registry.set_alias("churn", "production", 1, None, "first")
    kernel.registry.transition("churn@production", ModelStatus.VALIDATING, ModelStatus.DEPLOYED)
    kernel.registry.track_lineage("churn", [], [])
    kernel.tracker.start("flights", "run_1", {})
    told = [(event.action, event.resource, event.before, event.after) for event in _events(kernel)]
    assert told == [
        ("model:register", "model:churn@1", None, {"version": 1, "status": "validating", "digest": model.digest, "run_id": model.run_id}),
        ("model:alias", "model:churn@production", None, {"version": 1, "reason": "first"}),
        ("model:transition", "model:churn@1", {"status": "validating"}, {"status": "deployed"}),
        ("model:lineage", "model:churn@1", None, {"parents": [], "data": []}),
        ("run:track", "run:run_1", None, {"experiment": "flights", "state": "running"}),
    ]
    assert {event.outcome for event in _events(kernel)} == {"done"}


def test_what_changed_nothing_is_no_event(kernel, local, draft):
    told, folder = draft(), local.folder()
    kernel.registry.register_model(folder, told)
    kernel.tracker.start("flights", "run_1", {})
    before = _events(kernel)
    kernel.registry.register_model(folder, told)
    kernel.tracker.start("flights", "run_1", {})
    kernel.registry.checkout("churn")
    kernel.registry.verify()
    kernel.registry.collect_garbage(timedelta(0))
    for refused in (
        lambda: kernel.registry.transition("churn", ModelStatus.DEPLOYED, ModelStatus.ARCHIVED),
        lambda: kernel.registry.set_alias("churn", "production", 1, 7),
        lambda: kernel.registry.register_model(folder, draft("../x")),
    ):
        with pytest.raises((Conflict, InvalidInput)):
            refused()
    assert _events(kernel) == before


def test_a_mutation_whose_event_cannot_be_written_did_not_happen(kernel, local, draft):
    kernel.registry.register_model(local.folder(), draft())

    def fail(connection, cursor, statement, parameters, context, many):
        if statement.startswith("INSERT INTO forge_events"):
            raise sa.exc.OperationalError(statement, {}, OSError("disk I/O error"))

    sa.event.listen(kernel.database.engine, "before_cursor_execute", fail)
    with pytest.raises(ForgeError):
        kernel.registry.set_alias("churn", "production", 1, None)
    with pytest.raises(ForgeError):
        kernel.registry.register_model(local.folder(b"other"), draft())
    sa.event.remove(kernel.database.engine, "before_cursor_execute", fail)
    assert kernel.registry.aliases("churn") == {}
    assert [model.version for model in kernel.registry.search()] == [1]
    with kernel.database.read() as connection:
        assert connection.execute(sa.select(ALIASES)).all() == []


def test_undeclared_methods_are_not_reached_from_outside(kernel):
    for driver, name in ((kernel.registry, "open"), (kernel.tracker, "open")):
        with pytest.raises(AttributeError, match="not an operation"):
            getattr(driver, name)
