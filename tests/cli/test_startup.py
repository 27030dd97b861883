"""A plugin you do not use costs nothing: what start-up imports is counted, in processes of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "sqlalchemy", "pyarrow", "numpy", "pandas", "sklearn", "stevedore", "pluggy", "packaging", "email.parser", "rich.markdown", "asyncio", "litserve",
    "forge_core.kernel", "forge_core.hub", "forge_core.database",
}  # fmt: skip
ARGV = [["--version"], ["--help"], ["plugins", "list"], ["plugins", "list", "--json"], ["plugins", "doctor"], ["plugins", "--help"]]
SOURCE = """
import sys
argv = sys.argv[1:]
sys.argv = ["forge", *argv]
from forge_core.cli import main
try:
    main()
except SystemExit as error:
    assert error.code in (0, 1, None), error.code
finally:
    sys.stderr.write("\\nMODULES " + " ".join(sys.modules))
"""


def modules(argv: list[str]) -> set[str]:
    said = subprocess.run([sys.executable, "-c", SOURCE, *argv], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0, said.stderr
    return set(said.stderr.rpartition("MODULES ")[2].split())


@pytest.fixture
def crowd(fake_distribution, tmp_path, monkeypatch):
    """Thirty distributions, each of whose modules would end the process."""
    for number in range(30):
        module = f"crowd_{number}"
        groups = {
            group: {f"{module}": f"{module}:x"}
            for group in ("forge.plugins", "forge.trainers", "forge.flavors", "forge.commands", "forge.auth")
        }
        fake_distribution.add(f"forge-crowd-{number}", entries=groups, **{module: "import os; os._exit(99)"})
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("argv", ARGV, ids=" ".join)
def test_l8_help_version_and_listings_import_neither_a_plugin_nor_what_is_heavy(crowd, argv):
    found = modules(argv)
    assert not {name for name in found if name.startswith("crowd_")}
    assert found & HEAVY == set()


def test_help_of_a_command_imports_no_plugin_and_no_library_of_the_field(crowd):
    found = modules(["train", "--help"])
    assert not {name for name in found if name.startswith("crowd_") or name in ("pyarrow", "numpy", "sklearn")}


def test_the_version_imports_next_to_nothing():
    bare = modules(["--version"])
    assert "attrs" not in bare
    assert "cyclopts" not in bare
    assert {name for name in bare if name.startswith("forge_core")} == {"forge_core", "forge_core.cli"}


def test_importing_forge_core_imports_nothing_else():
    source = "import sys; before = set(sys.modules); import forge_core; print(*(set(sys.modules) - before - sys.stdlib_module_names))"
    said = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert {name for name in said.stdout.split() if name.partition(".")[0] not in sys.stdlib_module_names} == {"forge_core"}


def test_a_plugin_module_may_import_hookimpl_and_records_cheaply():
    source = "import sys; from forge_core import hookimpl; from forge_core.records import Refusal, HealthCheck; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert set(said.stdout.split()) & {"sqlalchemy", "pyarrow", "cattrs", "yaml", "stevedore", "forge_core.kernel"} == set()
