"""A stranger's plugin, installed with pip: a connector, a trainer, a hook listener and a command, used by name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from environments import ROOT, Environment

STRANGER = ROOT / "examples" / "stranger"


@pytest.fixture
def installed(environment: Environment) -> Iterator[Environment]:
    pip = [str(environment.python), "-m", "pip"]
    subprocess.run([*pip, "install", "-q", "--no-deps", "--no-build-isolation", str(STRANGER / "plugin")], check=True)
    yield environment
    subprocess.run([*pip, "uninstall", "-q", "-y", "forge-stranger"], check=True)


def test_it_is_used_by_name(installed: Environment, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(STRANGER / "project", project, ignore=shutil.ignore_patterns(".forge"))
    if (project / "prepare_data.py").exists():
        installed.run("python prepare_data.py", project)
    assert "stranger" in installed.run("forge --help", project).stdout.split()
    listed = {one["distribution"]: one for one in installed.json("forge plugins list", project)}
    assert {"connector", "trainer", "flavor", "plugin", "command"} <= set(listed["forge-stranger"]["roles"])
    run = installed.json("forge train", project)
    assert run["state"] == "done"
    heard = installed.run("forge stranger", project).stdout
    assert run["run_id"] in heard
