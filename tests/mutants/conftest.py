"""Runs each mutant against the suite of the driver that it was made from, two at once, and tells at the end what caught it.

A mutant is a class in a `mutant_*.py` of this folder with a `suite`. It is found by reading the source: nothing of it is
imported here, since a mutant may exchange parts of our code for the whole process that it runs in.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import frozen

HERE = Path(__file__).parent
AT_ONCE = 2
LONGEST = 240.0  # seconds that a suite may take
BUILT = "test_it_is_built_and_closed_as_the_kernel_does"
ENVIRONMENT = dict(os.environ)  # as it is before the fixtures of other tests change it for themselves


@frozen
class Mutant:
    """`wrong` says what is; `suite` is `module:class`, whose fixtures it runs with."""

    module: str
    name: str
    wrong: str
    suite: str

    @property
    def role(self) -> str:
        return self.module.removeprefix("mutant_")


@frozen
class Verdict:
    """`killer` is the first rule that failed, empty where none did; `built` tells whether the mutant is a driver at all."""

    mutant: Mutant
    built: bool
    killer: str
    seconds: float
    said: str


VERDICTS = pytest.StashKey[list[Verdict]]()


def _mutants() -> Iterator[Mutant]:
    for path in sorted(HERE.glob("mutant_*.py")):
        for found in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(found, ast.ClassDef) and (suite := _suite(found)):
                yield Mutant(path.stem, found.name, ast.get_docstring(found) or "", suite)


def _suite(found: ast.ClassDef) -> str:
    for said in found.body:
        if isinstance(said, ast.AnnAssign) and isinstance(said.target, ast.Name) and said.target.id == "suite" and said.value is not None:
            return str(ast.literal_eval(said.value))
    return ""


def pytest_configure(config: pytest.Config) -> None:
    config.stash[VERDICTS] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One of each role runs each time; all of them with `make soak`."""
    if "mutant" not in metafunc.fixturenames:
        return
    seen: set[str] = set()
    parameters = []
    for one in _mutants():
        marks = [pytest.mark.soak] if one.role in seen else []
        seen.add(one.role)
        parameters.append(pytest.param(one, id=f"{one.role}-{one.name}", marks=marks))
    metafunc.parametrize("mutant", parameters)


@pytest.fixture(scope="session")
def _running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[Mutant, Future[Verdict]]]:
    """Every selected mutant, in the order of the tests that wait for them."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and "mutant" in item.fixturenames]
    selected: list[Mutant] = [item.callspec.params["mutant"] for item in items]  # type: ignore[misc]
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield {one: pool.submit(_run, one, tmp_path_factory.mktemp(one.name)) for one in selected if _installed(one)}
    finally:
        pool.shutdown(cancel_futures=True)


@pytest.fixture
def verdict(mutant: Mutant, request: pytest.FixtureRequest) -> Verdict:
    """What became of a mutant."""
    if not _installed(mutant):
        pytest.skip(f"{mutant.suite.partition('.')[0]} is not installed")
    found: Verdict = request.getfixturevalue("_running")[mutant].result()
    request.config.stash[VERDICTS].append(found)
    return found


def _installed(mutant: Mutant) -> bool:
    return importlib.util.find_spec(mutant.suite.partition(".")[0]) is not None


def _run(mutant: Mutant, folder: Path) -> Verdict:
    module, _, suite = mutant.suite.partition(":")
    test = folder / f"test_{mutant.module}.py"
    test.write_text(
        f"import {module}\nimport {mutant.module}\n\n\n"
        f"class TestMutant({module}.{suite}):\n    driver_class = {mutant.module}.{mutant.name}\n",
        encoding="utf-8",
    )
    report = folder / "report.json"
    command = [
        *(
            sys.executable,
            "-P",
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "-p",
            "cheap_first",
            "-c",
            os.devnull,
            "--rootdir",
            str(folder),
        ),
        *("--basetemp", str(folder / "tmp"), "--forge-report", str(report), str(test)),
    ]
    began = time.monotonic()
    said = _said(command, folder)
    rows = json.loads(report.read_text(encoding="utf-8")) if report.exists() else []
    killer = next((row["test"] for row in rows if row["outcome"] == "failed"), "")
    built = any(row["test"] == BUILT and row["outcome"] == "passed" for row in rows)
    return Verdict(mutant, built, killer, time.monotonic() - began, said)


def _said(command: list[str], folder: Path) -> str:
    """What a suite printed. It is ended with all of its children where it takes too long, which no rule has failed by."""
    paths = (str(HERE), ENVIRONMENT.get("PYTHONPATH", ""))
    env = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    child = subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        return child.communicate(timeout=LONGEST)[0]
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        return child.communicate()[0]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    verdicts = config.stash[VERDICTS]
    if not verdicts:
        return
    terminalreporter.section("mutants")
    for one in verdicts:
        terminalreporter.line(f"{one.mutant.role:12} {one.mutant.name:28} {one.killer or 'SURVIVED'} ({one.seconds:.1f} s)")
        terminalreporter.line(f"{'':12} {one.mutant.wrong}")
    killed = sum(bool(one.killer) and one.built for one in verdicts)
    terminalreporter.line(f"{killed} of {len(verdicts)} mutants killed")
