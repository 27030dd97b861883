"""The guard: authorize, gate, call with its event in the same transaction, tell. Nothing of a driver is reached around it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import sqlalchemy as sa

import forge_core
from forge_core import hookimpl
from forge_core.contracts import (
    CONTRACTS,
    AuthProvider,
    Capability,
    DataSourceConnector,
    Deployer,
    DeploymentStrategy,
    Driver,
    ExperimentTracker,
    Flavor,
    ModelRegistry,
    Monitor,
    Notifier,
    Orchestrator,
    SecretStore,
    Trainer,
    Transformation,
)
from forge_core.database import Database
from forge_core.faults import InvalidInput, Refused
from forge_core.hookspecs import DeploymentHooks, TrainingHooks
from forge_core.operations import acting_as, bare, current, describe, guard, oblige, operation, operations_of, permissions, render
from forge_core.records import Condition, Decision, Principal, Query, Refusal, Session
from forge_core.roles import ROLES

TABLES = sa.MetaData()
ENTRIES = sa.Table("ledger", TABLES, sa.Column("name", sa.String(20), primary_key=True), sa.Column("tenant", sa.String(20)))
ANN = Session(Principal("ann", ("admin",), "acme"), "req_1")


class Ledger(Driver):
    """A driver that keeps its state in the project's database."""

    role = "ledger"
    transactional = True

    def __init__(self, database: Database, trail: list[str]) -> None:
        self.database, self.trail = database, trail
        database.prepare("forge-ledger", TABLES)

    @operation("entry:list", resource="entries")
    def names(self) -> list[str]:
        self.trail.append("call")
        with self.database.read() as connection:
            return [row.name for row in connection.execute(sa.select(ENTRIES))]

    @operation("entry:list", resource="entries")
    def lazily(self) -> Iterator[str]:
        yield current().principal.tenant
        yield current().principal.name

    @operation(
        "entry:add",
        resource="entry:{selector}",
        mutates=True,
        gate=DeploymentHooks.forge_before_deploy,
        tells=DeploymentHooks.forge_traffic_changed,
    )
    def add(self, selector: str, endpoint: str = "e", fail: bool = False) -> str:
        self.trail.append("call")
        with self.database.transaction() as connection:
            connection.execute(ENTRIES.insert().values(name=selector, tenant=current().principal.tenant))
            describe(before={"n": 0}, after={"n": 1}, resource=f"entry:{selector}#1")
            if fail:
                raise RuntimeError("after the row")
        return f"added {selector}"

    @operation("entry:touch", resource="entry:{selector}", mutates=True, tells=DeploymentHooks.forge_traffic_changed)
    def touch(self, selector: str) -> str:
        return selector  # nothing to change: no transaction

    def helper(self) -> str:
        return "not an operation"

    @classmethod
    def factory(cls) -> None: ...

    @property
    def secret(self) -> str:
        return self.trail[0]


class Outside(Ledger):
    """A driver whose state lies elsewhere."""

    transactional = False

    @operation("file:write", resource="file:{name}", mutates=True, tells=DeploymentHooks.forge_traffic_changed)
    def write(self, name: str, fail: bool = False) -> str:
        with self.database.read() as connection:
            self.trail.append(connection.exec_driver_sql("SELECT outcome FROM forge_events ORDER BY sequence DESC").scalar())
        describe(after={"ignored": True})
        if fail:
            raise OSError("no space")
        return name


AUTH = """
from forge_core.contracts import AuthProvider
from forge_core.records import Decision, Principal
trail = []
class Recording(AuthProvider):
    def authenticate(self, credentials):
        return Principal(credentials.get("api_key", "nobody"), ("user",), "acme")
    def authorize(self, principal, action, resource):
        trail.append(f"authorize {principal.name} {action} {resource}")
        return Decision(principal.name != "mallory", "not you")
"""


class Listener:
    def __init__(self, trail: list[str], refuse: str = "") -> None:
        self.trail, self.refuse = trail, refuse

    @hookimpl
    def forge_authorize(self, principal, action, resource):
        self.trail.append("may")
        return Refusal("not now") if self.refuse == "may" else None

    @hookimpl
    def forge_before_deploy(self, selector, endpoint, session):
        self.trail.append(f"gate {selector} {endpoint} {session.principal.name}")
        return Refusal("frozen", "wait") if self.refuse == "gate" else None

    @hookimpl
    def forge_traffic_changed(self, deployment, session):
        self.trail.append(f"tell {deployment} {session.principal.name}")

    @hookimpl
    def forge_event_recorded(self, event):
        self.trail.append(f"event {event.outcome}")


@pytest.fixture
def guarded(open_kernel, fake_distribution):
    """(guarded ledger, trail, kernel) acting for ann, with an auth driver that records what it is asked."""
    fake_distribution.add("forge-recording", entries={"forge.auth": {"recording": "recording_auth:Recording"}}, recording_auth=AUTH)
    kernel = open_kernel("infrastructure: {auth: {type: recording}}")

    def make(cls: type[Ledger] = Ledger, refuse: str = ""):
        import recording_auth

        trail = recording_auth.trail
        trail.clear()
        kernel.hub.listen(Listener(trail, refuse), "forge-test")
        with acting_as(ANN):
            return guard(cls(kernel.database, trail), kernel), trail, kernel

    with acting_as(ANN):
        yield make


# ---- the order


def test_a_mutation_is_authorized_then_gated_then_called_then_told(guarded):
    ledger, trail, _kernel = guarded()
    assert ledger.add("a") == "added a"
    assert trail == ["authorize ann entry:add entry:a", "may", "gate a e ann", "call", "event done", "tell added a ann"]


def test_who_is_not_authorized_reaches_no_gate_and_no_driver(guarded):
    ledger, trail, _kernel = guarded()
    with (
        acting_as(Session(Principal("mallory", ("user",)), "req_2")),
        pytest.raises(Refused, match="mallory may not entry:add on entry:a: not you"),
    ):
        ledger.add("a")
    assert trail == ["authorize mallory entry:add entry:a"]


@pytest.mark.parametrize(("refuse", "seen"), [("may", ["may"]), ("gate", ["may", "gate a e ann"])])
def test_a_gate_that_refuses_stops_the_call_and_leaves_nothing(guarded, refuse, seen):
    ledger, trail, kernel = guarded(refuse=refuse)
    with pytest.raises(Refused):
        ledger.add("a")
    assert trail[1:] == seen
    assert bare(ledger).names() == []
    assert kernel.database.events() == []


def test_reading_is_authorized_and_leaves_no_event(guarded):
    ledger, trail, kernel = guarded()
    assert ledger.names() == []
    assert trail == ["authorize ann entry:list entries", "may", "call"]
    assert kernel.database.events() == []


def test_positional_named_and_default_arguments_are_one_call(guarded):
    ledger, trail, _kernel = guarded()
    ledger.add("a", "x")
    ledger.add(endpoint="y", selector="b")
    assert [line for line in trail if line.startswith("gate")] == ["gate a x ann", "gate b y ann"]
    with pytest.raises(TypeError):
        ledger.add()


def test_the_driver_sees_the_session_of_the_call_and_it_is_gone_afterwards(guarded):
    ledger, _trail, kernel = guarded()
    ledger.add("a")
    with kernel.database.read() as connection:
        assert connection.execute(sa.select(ENTRIES.c.tenant)).scalar() == "acme"
    assert current() == ANN


def test_a_driver_that_yields_yields_to_the_session_that_asked(guarded):
    ledger, _trail, _kernel = guarded()
    lazily = ledger.lazily()
    with acting_as(Session(Principal("bob", ("user",), "other"), "req_3")):
        assert list(lazily) == ["acme", "ann"]
        assert current().principal.name == "bob"


# ---- events


def test_the_event_commits_with_the_mutation_and_tells_what_changed(guarded):
    ledger, _trail, kernel = guarded()
    ledger.add("a")
    ((_sequence, event),) = kernel.database.events()
    assert (event.action, event.resource, event.actor, event.tenant, event.outcome) == ("entry:add", "entry:a#1", "ann", "acme", "done")
    assert (event.before, event.after, event.request_id) == ({"n": 0}, {"n": 1}, "req_1")
    assert event.at.tzinfo is not None


def test_a_mutation_that_fails_leaves_neither_row_nor_event_and_nobody_is_told(guarded):
    ledger, trail, kernel = guarded()
    with pytest.raises(RuntimeError):
        ledger.add("a", fail=True)
    assert bare(ledger).names() == []
    assert kernel.database.events() == []
    assert not [line for line in trail if line.startswith(("tell", "event"))]


def test_a_mutation_that_changed_nothing_has_no_event_and_nothing_to_tell(guarded):
    ledger, trail, kernel = guarded()
    assert ledger.touch("a") == "a"
    assert kernel.database.events() == []
    assert trail == ["authorize ann entry:touch entry:a", "may"]


def test_operations_inside_a_transaction_join_it_and_are_told_after_its_commit(guarded):
    ledger, trail, kernel = guarded()
    with kernel.database.transaction():
        ledger.add("a")
        ledger.add("b")
        assert not [line for line in trail if line.startswith(("tell", "event"))]
    assert [line for line in trail if line.startswith("tell")] == ["tell added a ann", "tell added b ann"]
    assert [event.resource for _, event in kernel.database.events()] == ["entry:a#1", "entry:b#1"]


def test_nothing_is_told_or_kept_of_a_transaction_that_rolls_back(guarded):
    ledger, trail, kernel = guarded()
    with pytest.raises(ZeroDivisionError), kernel.database.transaction():
        ledger.add("a")
        raise ZeroDivisionError
    assert bare(ledger).names() == []
    assert kernel.database.events() == []
    assert not [line for line in trail if line.startswith(("tell", "event"))]


def test_a_mutation_outside_the_database_is_intent_before_and_done_after(guarded):
    outside, trail, kernel = guarded(Outside)
    outside.write("a")
    ((_sequence, event),) = kernel.database.events()
    assert (event.action, event.outcome) == ("file:write", "done")
    assert trail[2:] == ["intent", "event done", "tell a ann"]


def test_a_failed_mutation_outside_the_database_is_recorded_as_failed_and_not_told(guarded):
    outside, trail, kernel = guarded(Outside)
    with pytest.raises(OSError, match="no space"):
        outside.write("a", fail=True)
    assert [event.outcome for _, event in kernel.database.events()] == ["failed"]
    assert trail[2:] == ["intent", "event failed"]


# ---- soundness


def test_while_a_required_plugin_is_faulty_nothing_changes_and_everything_is_readable(open_kernel, fake_distribution):
    fake_distribution.plugin("forge-guardian", "raise ValueError('no key')")
    kernel = open_kernel("plugins: {require: [forge-guardian]}")
    ledger = guard(Ledger(kernel.database, []), kernel)
    with pytest.raises(Refused, match=r"nothing may be changed while forge-guardian 1\.0 is faulty: ValueError: no key"):
        ledger.add("a")
    assert ledger.names() == []


@pytest.mark.parametrize(
    "source", ["raise SystemExit", "class Recording: pass", "from forge_core.contracts import AuthProvider as Recording"]
)
def test_while_the_auth_driver_is_faulty_nothing_changes_and_everything_is_readable(open_kernel, fake_distribution, source):
    fake_distribution.add("forge-recording", "3.1", {"forge.auth": {"recording": "recording_auth:Recording"}}, recording_auth=source)
    kernel = open_kernel("infrastructure: {auth: {type: recording}}")
    ledger = guard(Ledger(kernel.database, []), kernel)
    with pytest.raises(Refused, match=r"nothing may be changed while forge-recording 3\.1 is faulty"):
        ledger.add("a")
    assert ledger.names() == []
    assert [fault.distribution for fault in kernel.faults] == ["forge-recording"]


def test_an_auth_driver_that_is_not_installed_stops_every_mutation(open_kernel):
    kernel = open_kernel("infrastructure: {auth: {type: nowhere}}")
    with pytest.raises(Refused, match="the auth driver 'nowhere'"):
        guard(Ledger(kernel.database, []), kernel).add("a")


# ---- what is reached around the guard: nothing


def test_a_guarded_driver_shows_its_operations_and_nothing_else(guarded):
    ledger, _trail, _kernel = guarded()
    for name in ("helper", "factory"):
        with pytest.raises(AttributeError, match=f"Ledger.{name} is not an operation: only the kernel calls it"):
            getattr(ledger, name)
    for name in ("database", "trail", "secret"):
        with pytest.raises(AttributeError):
            getattr(ledger, name)
    assert isinstance(ledger, Ledger)
    assert repr(ledger) == "<guarded Ledger>"


def test_an_overridden_operation_stays_guarded_as_its_contract_says():
    class Bold(Ledger):
        def add(self, selector: str, endpoint: str = "e", fail: bool = False) -> str:
            return "bold"

    assert operations_of(Bold)["add"] == operations_of(Ledger)["add"]


NOT_OPERATIONS = {AuthProvider: {"authenticate", "authorize"}, SecretStore: {"read", "wrap", "unwrap"}}
LIFE = {"open", "close"}  # called by the kernel alone


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_every_public_method_of_a_contract_is_an_operation_or_named_here(contract):
    public = {name for name in dir(contract) if not name.startswith("_") and callable(getattr(contract, name))} - LIFE
    assert public - set(operations_of(contract)) == NOT_OPERATIONS.get(contract, set())


def test_the_table_of_operations_is_the_table_of_permissions():
    table = permissions(CONTRACTS)
    assert {role for role, _ in table} == set(ROLES) - {"auth", "secrets"}
    for _role, found in table:
        noun, colon, verb = found.action.partition(":")
        assert noun
        assert colon
        assert verb
        assert found.resource, found.method


def test_every_resource_of_a_contract_names_arguments_that_its_method_has():
    for contract in CONTRACTS.values():
        for name, found in operations_of(contract).items():
            wanted = {one.split(".")[0] for one in re.findall(r"\{([\w.]+)\}", found.resource)}
            assert wanted <= set(inspect.signature(getattr(contract, name)).parameters), f"{contract.__name__}.{name}"


FULL = "\n".join(
    [
        "from collections.abc import Mapping",
        "from forge_core.contracts import *",
        "from forge_core.contracts import CONTRACTS, Flavor, Transformation",
        "def whole(contract, **more):",
        "    made = {name: (lambda self, *a, **k: None) for name in contract.__abstractmethods__}",
        "    return type('Full' + contract.__name__, (contract,), {**made, **more, '__module__': __name__})",
        *(f"{role} = whole(CONTRACTS[{role!r}])" for role in CONTRACTS if role not in ("auth", "deployer")),
        "class deployer(whole(CONTRACTS['deployer'])):",
        "    def __init__(self, *, registry: ModelRegistry, tracker: ExperimentTracker, monitor: Monitor,",
        "                 secrets: SecretStore, flavors: Mapping[str, Flavor], orchestrator: Orchestrator | None = None):",
        "        self.mine = [registry, tracker, monitor, secrets, flavors['full'], orchestrator]",
    ]
)


@pytest.fixture
def full_kernel(open_kernel, fake_distribution):
    """A kernel with a stranger's driver for every role."""
    entries = {about.group: {"full": f"full_drivers:{role}"} for role, about in ROLES.items() if role != "auth"}
    fake_distribution.add("forge-full", entries=entries, full_drivers=FULL)
    sections = ", ".join(f"{about.section}: {{type: full}}" for role, about in ROLES.items() if not about.many and role != "auth")
    return open_kernel(f"infrastructure: {{{sections}}}")


@pytest.mark.parametrize("role", [role for role in ROLES if role != "auth"])
def test_every_driver_that_a_kernel_hands_out_is_guarded(full_kernel, role):
    name = "full" if ROLES[role].many else None
    driver = full_kernel.driver(role, name)
    assert bare(driver) is not driver
    assert full_kernel.driver(role, name) is driver
    assert isinstance(driver, CONTRACTS[role])


def test_drivers_made_per_use_are_guarded(full_kernel):
    assert repr(full_kernel.make("transform", "full")).startswith("<guarded")
    assert repr(full_kernel.make("strategy", "full")).startswith("<guarded")


def test_the_kernels_own_names_for_drivers_are_guarded(full_kernel):
    for one in (
        full_kernel.registry,
        full_kernel.tracker,
        full_kernel.deployer,
        full_kernel.monitor,
        full_kernel.orchestrator,
        full_kernel.notifier("full"),
        full_kernel.connector("full"),
    ):
        assert repr(one).startswith("<guarded")


def test_the_collaborators_of_a_driver_are_guarded(full_kernel):
    mine = bare(full_kernel.deployer).mine
    assert [repr(one) for one in mine[:5]] == [
        f"<guarded Full{name}>" for name in ("ModelRegistry", "ExperimentTracker", "Monitor", "SecretStore", "Flavor")
    ]
    assert repr(mine[5]).startswith("<guarded")


def test_a_secret_store_and_an_auth_driver_show_nothing_at_all(full_kernel):
    for role, names in (("secrets", ("read", "wrap", "unwrap")), ("auth", ("authenticate", "authorize"))):
        driver = full_kernel.driver(role)
        for name in names:
            with pytest.raises(AttributeError):
                getattr(driver, name)


def sources() -> Iterator[Path]:
    """What runs for users: the kit, whose suites look behind the guard, is loaded by pytest alone."""
    root = Path(forge_core.__file__).parents[1]
    for package in (root / "forge_core", *(root / "plugins").glob("forge-*/forge_*")):
        yield from (
            path for path in package.rglob("*.py") if not {"testing", "testing.py", "templates"} & set(path.relative_to(package).parts)
        )


def test_nothing_that_runs_for_users_imports_the_kit():
    allowed = {"plugin_author.py", "probe.py", "probed.py"}  # `forge plugins test`, and what is light for `forge plugins doctor`
    for path in sources():
        for node in ast.walk(ast.parse(path.read_bytes())):
            named = (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [one.name for one in node.names]
                if isinstance(node, ast.Import)
                else []
            )
            assert path.name in allowed or not any(name.startswith("forge_core.testing") for name in named), path


def test_only_the_kernel_looks_behind_a_guard():
    root = Path(forge_core.__file__).parent
    allowed = {root / "kernel.py", root / "operations.py"}
    hidden = {"_forge_bare", "_forge_authority"}
    for path in sources():
        if path in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom) and node.module == "forge_core.operations":
                assert "bare" not in {alias.name for alias in node.names}, where
            if isinstance(node, ast.Attribute):
                assert (getattr(node.value, "id", ""), node.attr) != ("operations", "bare"), where
                assert node.attr not in hidden, where
            if isinstance(node, ast.Constant):
                assert node.value not in hidden, where


def test_only_the_kernel_builds_drivers():
    root = Path(forge_core.__file__).parent
    allowed = {root / name for name in ("kernel.py", "wiring.py", "drivers.py", "factory.py", "schema.py", "probed.py")}
    for path in sources():
        if path in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module in ("forge_core.wiring", "forge_core.drivers"):
                assert not {alias.name for alias in node.names} & {"build", "load"}, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {("wiring", "build"), ("drivers", "load")}, path


# ---- declarations, resources, obligations


def test_an_operation_that_cannot_give_a_hook_its_arguments_is_refused_where_it_is_declared():
    with pytest.raises(TypeError, match="cannot give forge_before_deploy its endpoint"):

        @operation("a:b", gate=DeploymentHooks.forge_before_deploy)
        def one(self, selector): ...

    with pytest.raises(TypeError, match="cannot give forge_metrics_logged"):

        @operation("a:b", tells=TrainingHooks.forge_metrics_logged)
        def two(self, run_id): ...


def test_a_resource_is_rendered_from_attributes_alone():
    query = Query("sales", "3")
    assert render("dataset:{query.dataset}@{query.version}/{n}", {"query": query, "n": 7}) == "dataset:sales@3/7"
    assert render("{name}", {"name": "{query.dataset} {0.__class__}"}) == "{query.dataset} {0.__class__}"


class Able(Driver):
    capabilities = frozenset({Capability.FILTERS, Capability.MASKS})


EU = Condition("region", "==", "eu")


def test_obligations_become_part_of_the_query():
    decision = Decision(True, filters=(EU,), masks={"ssn": "hash"})
    obliged = oblige(Query("sales", where=(Condition("n", ">", 1),), masked={"name": "null"}), decision, Able)
    assert obliged.where == (Condition("n", ">", 1), EU)
    assert obliged.masked == {"name": "null", "ssn": "hash"}


def test_no_obligation_leaves_the_query_as_it_is():
    query = Query("sales")
    assert oblige(query, Decision(True), Driver) is query


@pytest.mark.parametrize("decision", [Decision(True, filters=(EU,)), Decision(True, masks={"ssn": "null"})], ids=["filters", "masks"])
def test_a_connector_that_cannot_apply_an_obligation_gets_no_query(decision):
    with pytest.raises(Refused, match="sales may only be read with filters or masks"):
        oblige(Query("sales"), decision, Driver)


def test_a_masked_column_may_not_stand_in_a_condition():
    with pytest.raises(InvalidInput, match="'ssn' is masked"):
        oblige(Query("sales", where=(Condition("ssn", "==", "1"),)), Decision(True, masks={"ssn": "hash"}), Able)


def test_every_contract_is_exported():
    exported = (
        DataSourceConnector,
        Deployer,
        DeploymentStrategy,
        ExperimentTracker,
        Flavor,
        ModelRegistry,
        Monitor,
        Notifier,
        Orchestrator,
        Trainer,
        Transformation,
    )
    assert {*exported, AuthProvider, SecretStore} == set(CONTRACTS.values())
    assert isinstance(CONTRACTS, Mapping)
