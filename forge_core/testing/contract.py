"""What every suite is: a class whose fixtures an author overrides, and whose tests nobody does.

A suite builds its driver the way the kernel does, in a project of its own, and again in other processes where a rule is about
those. So an author says which class it is and what its settings are; the rest has defaults.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from attrs import field, frozen

from forge_core import Kernel
from forge_core.contracts.driver import Capability, Driver
from forge_core.identifiers import new_id
from forge_core.operations import acting_as, bare, operations_of
from forge_core.pipeline import imported
from forge_core.records.auth import Principal, Session
from forge_core.records.data import JSON
from forge_core.testing.project import ForgeProject

F = TypeVar("F", bound=Callable[..., Any])
NEEDS = "__forge_needs__"
UNDECLARED = "forge_undeclared"


def needs(*capabilities: Capability) -> Callable[[F], F]:
    """A test of what a driver may leave out. Where it does not declare one of these, the test is listed as not declared."""

    def mark(test: F) -> F:
        setattr(test, NEEDS, capabilities)
        return test

    return mark


@frozen
class Subject:
    """What builds the same driver again, here or in another process. `target` is `module:Class`."""

    root: Path
    target: str
    settings: Mapping[str, JSON] = field(factory=dict)

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The driver behind the kernel's guard, with connections of its own, as another process would have it."""
        with Kernel.open(self.root) as kernel:
            yield handed_out(kernel, imported(self.target), self.settings)


def handed_out(kernel: Kernel, cls: type[Driver], settings: Mapping[str, JSON]) -> Any:
    """The driver as its callers have it: guarded; bare where its contract has no operations, so that only the kernel calls it."""
    driver = kernel.wire(cls, settings)
    return driver if operations_of(cls) else bare(driver)


class Contract:
    """The base of the suites. An author's subclass sets `driver_class` and overrides fixtures::

        class TestAcme(ConnectorContract):
            driver_class = AcmeConnector

            @pytest.fixture
            def settings(self, tmp_path):
                return {"root": str(tmp_path)}

    A rule that a driver is known not to keep is written down, with the reason, and listed as such; it must fail::

            expected_failures = {"test_limit_counts_after_where": "the service counts before"}

    Nothing else about a test can be changed: neither overriding nor skipping one is accepted.
    """

    contract: ClassVar[type[Driver]]
    driver_class: ClassVar[type[Driver]]
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.__module__.startswith("forge_core.testing."):
            return
        for name, reason in cls.expected_failures.items():
            if not callable(getattr(cls, name, None)) or not name.startswith("test"):
                raise TypeError(f"{cls.__name__}.expected_failures names {name!r}, which is no test of its suite")
            if not reason.strip():
                raise TypeError(f"{cls.__name__}.expected_failures gives no reason for {name!r}")
        for name in vars(cls):
            if name.startswith("test") and any(name in vars(base) for base in cls.__mro__[1:]) and not _expected(vars(cls)[name]):
                raise TypeError(
                    f"{cls.__name__} overrides {name}, a rule of its contract: override fixtures, or name it in expected_failures"
                )

    @pytest.fixture
    def settings(self) -> Mapping[str, JSON]:
        """The driver's section of forge.yaml, without `type`. Override it where the driver needs any."""
        return {}

    @pytest.fixture
    def infrastructure(self) -> Mapping[str, JSON]:
        """`infrastructure` of the suite's forge.yaml: another database or storage, for example."""
        return {}

    @pytest.fixture
    def subject(self, forge_project: ForgeProject, infrastructure: Mapping[str, JSON], settings: Mapping[str, JSON]) -> Subject:
        """What other processes build the driver from."""
        forge_project({"project": {"name": "suite"}, "infrastructure": dict(infrastructure)})
        return Subject(forge_project.path, f"{self.driver_class.__module__}:{self.driver_class.__qualname__}", settings)

    @pytest.fixture
    def kernel(self, subject: Subject) -> Iterator[Kernel]:
        """The suite's project, opened."""
        with Kernel.open(subject.root) as kernel:
            yield kernel

    @pytest.fixture
    def driver(self, kernel: Kernel, settings: Mapping[str, JSON]) -> Any:
        """The driver, wired as the kernel does, as its callers have it."""
        return handed_out(kernel, self.driver_class, settings)

    @pytest.fixture
    def another(self, subject: Subject) -> Iterator[Callable[[], Any]]:
        """`another()`: the same driver once more, with connections of its own."""
        with ExitStack() as opened:
            yield lambda: opened.enter_context(subject.opened())

    @pytest.fixture(autouse=True)
    def _declared(self, request: pytest.FixtureRequest) -> None:
        wanted = getattr(request.function, NEEDS, ())
        if not wanted:
            return
        cls = getattr(self, "driver_class", None) or type(bare(request.getfixturevalue("driver")))
        missing = [one.value for one in wanted if one not in cls.capabilities]
        if missing:
            setattr(request.node, UNDECLARED, True)
            pytest.skip(f"not declared: {', '.join(missing)}")

    # ---- what holds for every role

    def test_it_fulfils_its_contract(self) -> None:
        """The class is a subclass of its role's contract and leaves no method abstract. Implement what is missing."""
        assert issubclass(self.driver_class, self.contract)
        assert not self.driver_class.__abstractmethods__
        assert self.driver_class.role == self.contract.role

    def test_its_methods_take_what_the_contract_says(self) -> None:
        """Callers pass what the contract names, by position or by name. Keep its parameters; add only such as have a default."""
        for name, asked in inspect.getmembers(self.contract, inspect.isfunction):
            if name.startswith("_"):
                continue
            had = list(inspect.signature(asked).parameters.values())
            given = list(inspect.signature(getattr(self.driver_class, name)).parameters.values())
            shared, added = given[: len(had)], given[len(had) :]
            assert [(one.name, one.kind) for one in shared] == [(one.name, one.kind) for one in had], name
            assert all(
                theirs.default is not inspect.Parameter.empty
                for ours, theirs in zip(had, shared, strict=True)
                if ours.default is not inspect.Parameter.empty
            ), name
            assert all(one.default is not one.empty or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in added), name

    def test_its_capabilities_are_known(self) -> None:
        """`capabilities` is a frozenset of `Capability`, since others read it before the driver is constructed."""
        assert isinstance(self.driver_class.capabilities, frozenset)
        assert all(isinstance(one, Capability) for one in self.driver_class.capabilities)

    def test_it_is_built_and_closed_as_the_kernel_does(self, subject: Subject) -> None:
        """It is built from its settings and collaborators alone; opening and closing it twice over, one after the other, works."""
        for _ in range(2):
            with subject.opened() as driver:
                assert isinstance(driver, self.contract)


def _expected(test: object) -> bool:
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "xfail"]
    return any(str(mark.kwargs.get("reason", "")).strip() for mark in marks)


@contextmanager
def tenant(name: str, who: str = "ann") -> Iterator[None]:
    """Everything inside is done by somebody of this tenant."""
    with acting_as(Session(Principal(who, ("admin",), name), new_id("req"))):
        yield
