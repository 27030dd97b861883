"""The pytest plugin (entry point `pytest11`): fixtures for those who test plugins, and the rules of the suites.

It is loaded in every pytest session of an environment that has forge-kernel, so that it imports nothing until a fixture is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from forge_core import Kernel
    from forge_core.hub import Hub
    from forge_core.testing.crash import Crash
    from forge_core.testing.project import FakeDistributions, ForgeProject
    from forge_core.testing.recorded import RecordedHooks

_ROWS = pytest.StashKey[list[dict[str, Any]]]()


@pytest.fixture
def forge_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ForgeProject:
    """A project of three lines in a temporary folder, which is the working directory; call it to give it another forge.yaml."""
    from forge_core.testing.project import ForgeProject

    made = ForgeProject(tmp_path / "project")
    made()
    monkeypatch.chdir(made.path)
    return made


@pytest.fixture
def kernel(forge_project: ForgeProject) -> Iterator[Kernel]:
    """The kernel of `forge_project` as it is when this fixture is first used; closed with the test."""
    from forge_core import Kernel

    with Kernel.open(forge_project.path) as kernel:
        yield kernel


@pytest.fixture
def hub(kernel: Kernel) -> Hub:
    """Where that kernel's hooks are told, asked and gated."""
    return kernel.hub


@pytest.fixture
def recorded_hooks(kernel: Kernel) -> RecordedHooks:
    """What that kernel told its hooks from here on: `recorded_hooks.of("forge_run_started")` are the calls' arguments."""
    from forge_core.testing.recorded import RecordedHooks

    return RecordedHooks(kernel.hub)


@pytest.fixture
def fake_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDistributions]:
    """Lays distributions, as pip would leave them, where this process and its children find them."""
    import os
    import sys

    from forge_core.testing.project import FakeDistributions

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    yield FakeDistributions(folder)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "") or "").startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def crash_at(forge_project: ForgeProject, fake_distribution: FakeDistributions) -> Callable[..., Crash]:
    """`crash_at("train")`: run `forge_project` in another process that gets SIGKILL when that step starts."""
    from forge_core.testing.crash import crash

    def at(step: str, pipeline: str | None = None, timeout: float = 120) -> Crash:
        return crash(forge_project, fake_distribution, step, pipeline, timeout)

    return at


@pytest.fixture(scope="session")
def hostile_paths() -> tuple[str, ...]:
    """Sixty names that must never become a path outside a driver's root."""
    from forge_core.testing.project import HOSTILE_PATHS

    return HOSTILE_PATHS


# ---- the rules of the suites, and their report


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("forge").addoption("--forge-report", metavar="FILE", help="write what the contract suites found, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "forge_contract: a rule of a role's contract")
    config.stash[_ROWS] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        suite = _suite(item)
        if suite is None:
            continue
        item.add_marker(pytest.mark.forge_contract)
        reason = suite.expected_failures.get(getattr(item, "originalname", item.name))
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    suite = _suite(item)
    if suite is None:
        return report
    said = str(report.longrepr[-1]).removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
    undeclared = report.skipped and getattr(item, "forge_undeclared", False)
    if report.skipped and not hasattr(report, "wasxfail") and not undeclared:
        report.outcome = "failed"
        report.longrepr = f"a rule of a contract cannot be skipped ({said}): override a fixture, or name it in expected_failures"
    if report.when == "call" or report.outcome != "passed":
        _note(item, suite, report, undeclared)
    return report


def _note(item: pytest.Item, suite: Any, report: pytest.TestReport, undeclared: bool) -> None:
    from forge_core.testing.contract import NEEDS

    function = getattr(item, "function", None)
    outcome = "not declared" if undeclared else "expected failure" if hasattr(report, "wasxfail") and report.skipped else report.outcome
    row = {
        "role": suite.contract.role,
        "driver": f"{suite.driver_class.__module__}:{suite.driver_class.__qualname__}" if hasattr(suite, "driver_class") else "",
        "suite": suite.__name__,
        "test": item.name,
        "capability": ", ".join(one.value for one in getattr(function, NEEDS, ())),
        "outcome": outcome,
        "rule": " ".join((getattr(function, "__doc__", None) or "").split()),
        "detail": report.longreprtext[-4000:] if outcome == "failed" else "",
        "seconds": report.duration,
    }
    rows = item.config.stash[_ROWS]
    if rows and (rows[-1]["suite"], rows[-1]["test"]) == (row["suite"], row["test"]):  # its teardown failed as well
        rows.pop()
    rows.append(row)


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--forge-report")
    if path:
        Path(path).write_text(json.dumps(session.config.stash[_ROWS]), encoding="utf-8")


def _suite(item: pytest.Item) -> Any:
    """The suite that an item is of, without importing the kit where no item is of any."""
    cls = getattr(item, "cls", None)
    if cls is None or not any(base.__module__ == "forge_core.testing.contract" for base in cls.__mro__):
        return None
    return cls
