"""The plugin author's way, from the built wheels: the tutorial as it is written, and the packages that `forge plugins new` makes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from environments import ROOT, Environment
from forge_core.roles import ROLES
from page import Command, File, read

TUTORIAL = ROOT / "docs" / "tutorial" / "first-plugin.md"
HEREDOC = "END-OF-THE-FILE"


def script(steps: list[File | Command]) -> str:
    """One shell that does it all, so that `cd`, activated environments and background jobs are as at a prompt."""
    lines = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT", "start=$PWD"]
    for number, step in enumerate(steps):
        if isinstance(step, File):
            lines += [f'mkdir -p "$start/{Path(step.path).parent}"', f"cat > \"$start/{step.path}\" <<'{HEREDOC}'", f"{step.text}{HEREDOC}"]
        else:
            lines += [f"printf '\\n@@ {number}\\n'", f"{step.line}\n[ $? {'!=' if step.fails else '='} 0 ] || exit 1"]
    return "\n".join([*lines, "printf '\\n@@ end\\n'"])


def said(output: str) -> dict[int, str]:
    """What each command wrote, by its number."""
    parts = re.split(r"^@@ (\d+|end)\n", output, flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True) if number != "end"}


@pytest.mark.timeout(900)
def test_the_tutorial_says_what_happens(wheels: Path, tmp_path: Path, port: int) -> None:
    steps = read(TUTORIAL)
    commands = [step for step in steps if isinstance(step, Command)]
    assert len(commands) > 15
    assert sum(isinstance(step, File) for step in steps) == 3
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("FORGE_", "PYTHON", "COV_", "VIRTUAL_ENV"))}
    variables = {
        **kept,
        "PIP_FIND_LINKS": str(wheels),
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    path = os.pathsep.join([str(Path(sys.executable).resolve().parent), variables["PATH"]])
    typed = script(steps).replace("8000", str(port))
    log = tmp_path / "said"
    with log.open("wb") as sink:
        shell = subprocess.Popen(
            ["bash"], stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.STDOUT, cwd=tmp_path, env={**variables, "PATH": path},
            start_new_session=True,
        )  # fmt: skip
        try:
            shell.communicate(typed.encode(), timeout=800)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
    output = log.read_text()
    told = said(output)
    for number, step in enumerate(steps):
        if isinstance(step, Command):
            assert number in told, f"`{step.line}` was never come to:\n{output[-3000:]}"
            assert step.missing(told[number]) == [], f"$ {step.line}\n{told[number]}"
            assert "Traceback" not in told[number], f"$ {step.line}\n{told[number]}"
    assert output.rstrip().endswith("@@ end"), output[-3000:]


def test_a_page_that_lies_is_found_out() -> None:
    row = "forge-acme    connector  acme  filters              1       0       0             0"
    command = Command("forge plugins test", ("passed  failed", row, '{"version":1,...}'))
    told = "distribution  passed  failed\n" + row.replace(" 1 ", " 27 ") + '\n{"version":1,"id":"x"}'
    assert command.missing(told) == []
    assert command.missing(told.replace(" 0\n", " 1\n")) == [row]
    assert command.missing(told.replace(" 27 ", " 0 ")) == [row]
    assert command.missing(told.replace("version", "vision")) == ['{"version":1,...}']
    assert Command("x", ("forge: no",)).fails
    assert not command.fails


# ---- the packages


@pytest.fixture(scope="module")
def author(environment: Environment) -> Environment:
    """The environment with what the extra `testing` asks for, and what an editable install needs."""
    pip = [str(environment.python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "pytest", "editables"], check=True)
    return environment


@pytest.fixture
def installed(author: Environment, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`installed(roles)`: the package `forge-acme` with these roles, made and installed."""
    pip = [str(author.python), "-m", "pip", "--disable-pip-version-check"]

    def make(roles: str) -> Path:
        author.run(f"forge plugins new forge-acme --roles {roles}", tmp_path)
        install = [*pip, "install", "-q", "--no-deps", "--no-build-isolation", "--editable", str(tmp_path / "forge-acme")]
        subprocess.run(install, check=True)
        return tmp_path / "forge-acme"

    yield make
    subprocess.run([*pip, "uninstall", "-q", "-y", "forge-acme"], check=True)


def linted(environment: Environment, package: Path, cache: Path) -> None:
    """As its tox.ini says."""
    module = next(package.glob("forge_*")).name
    for check in (
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--no-cache", "--check", "."],
        ["mypy", "--python-executable", str(environment.python), "--cache-dir", str(cache), module, "tests"],
    ):
        done = subprocess.run([sys.executable, "-m", *check], cwd=package, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{package.name}: {check[:2]}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    "roles",
    [
        ",".join(ROLES),
        "connector,trainer",
        "notifier",
        "registry,tracker,deployer",
        *(pytest.param(one, marks=pytest.mark.soak) for one in ROLES),
    ],
)
def test_a_package_passes_lint_and_types_as_it_was_made(author: Environment, tmp_path: Path, roles: str) -> None:
    author.run(f"forge plugins new forge-night-owl --roles {roles}", tmp_path)
    linted(author, tmp_path / "forge-night-owl", tmp_path.parent / "mypy")


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_a_package_of_all_roles_is_green_as_it_was_made(author: Environment, installed: Callable[[str], Path], tmp_path: Path) -> None:
    package = installed(",".join(ROLES))
    linted(author, package, tmp_path.parent / "mypy")
    done = author.run("python -m pytest -q -p no:cacheprovider tests/test_hooks.py", package)
    assert "3 passed" in done.stdout
    proofs = json.loads(author.run("forge plugins test forge-acme --json --timeout 1200", tmp_path, timeout=1300, code=None).stdout)
    (proof,) = proofs
    wrong = [(rule["role"], rule["test"], rule["cause"]) for rule in proof["rules"] if rule["outcome"] == "failed"]
    assert (wrong, proof["troubles"]) == ([], [])
    assert proof["passed"]
    assert {line["role"] for line in proof["lines"] if line["passed"]} == set(ROLES)


def test_a_driver_that_was_broken_turns_the_table_red(author: Environment, installed: Callable[[str], Path], tmp_path: Path) -> None:
    package = installed("notifier,secrets")
    assert author.json("forge plugins test forge-acme", tmp_path)[0]["passed"]
    driver = package / "forge_acme" / "notifier.py"
    sound = driver.read_text()
    assert "os.O_APPEND" in sound
    driver.write_text(sound.replace("os.O_APPEND", "os.O_TRUNC"))
    done = author.run("forge plugins test forge-acme --report red.html", tmp_path, code=1)
    assert "test_notices_arrive_in_order_and_none_is_lost" in done.stdout
    failed = {line.split()[1]: line.split()[4] for line in done.stdout.splitlines() if line.startswith("forge-acme  ")}
    assert int(failed["notifier"]) > 0
    assert "red" in (tmp_path / "red.html").read_text()
