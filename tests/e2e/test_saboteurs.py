"""Seven broken plugins and thirty slow ones are installed: every command works, and the listing says what is wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from environments import Environment

SABOTEURS = {
    "import-error": "import a_module_that_nobody_has",
    "syntax-error": "def broken(:",
    "system-exit": "raise SystemExit(7)",
    "failing-assert": "assert 1 == 2, 'never'",
    "wrong-argument": "from forge_core import hookimpl\n@hookimpl\ndef forge_run_finished(run, nonsense): ...",
    "removed-module": None,
    "from-the-future": "print('imported')",
}
CAUSES = {
    "import-error": "a_module_that_nobody_has",
    "syntax-error": "SyntaxError",
    "system-exit": "SystemExit",
    "failing-assert": "AssertionError",
    "wrong-argument": "nonsense",
    "removed-module": "ModuleNotFoundError",
}


EIGHT = {**SABOTEURS, "endless-import": "while True: pass"}
CAUSES_OF_EIGHT = {
    **CAUSES,
    "syntax-error": "SyntaxError: invalid syntax, at saboteur_syntax_error.py:2",
    "system-exit": "SystemExit: 7, at saboteur_system_exit.py:2",
    "failing-assert": "AssertionError: never, at saboteur_failing_assert.py:2",
    "wrong-argument": "forge_run_finished asks for nonsense",
    "from-the-future": "wants forge-kernel>=99, this is forge-kernel 1.0.0",
    "endless-import": "saboteur_endless_import is still importing after 5 s, at saboteur_endless_import.py:2",
}
REMEDIES_OF_EIGHT = {
    "import-error": "pip install a_module_that_nobody_has",
    "syntax-error": "pip install --force-reinstall forge-syntax-error",
    "system-exit": "its author should end no process at import",
    "failing-assert": "pip install -U forge-failing-assert",
    "wrong-argument": "its author should write forge_run_finished(run)",
    "removed-module": "pip install --force-reinstall forge-removed-module",
    "from-the-future": "pip install -U forge-from-the-future forge-kernel",
    "endless-import": "give it longer with --timeout 30",
}


def plant(folder: Path, name: str, source: str | None, *, wants: str = ">=1.0,<2", entry_points: str = "") -> None:
    """A distribution as pip leaves it: a package, and a dist-info folder with its metadata."""
    module = "saboteur_" + name.replace("-", "_")
    if source is not None:
        (folder / f"{module}.py").write_text(source + "\n")
    info = folder / f"forge_{module}-0.3.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: forge-{name}\nVersion: 0.3\nSummary: Breaks.\nRequires-Dist: forge-kernel{wants}\n\nA readme.\n"
    )
    (info / "entry_points.txt").write_text(f"[forge.plugins]\n{name} = {module}\n{entry_points.format(module=module)}")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    folder = tmp_path / "broken"
    folder.mkdir()
    for name, source in SABOTEURS.items():
        plant(folder, name, source, wants=">=99" if name == "from-the-future" else ">=1.0,<2")
    return folder


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    """Eight broken plugins; those whose first line is reached leave a file `imported-NAME` beside them."""
    folder = tmp_path / "eight"
    folder.mkdir()
    for name, source in EIGHT.items():
        marked = source if source is None else f"open({str(folder / f'imported-{name}')!r}, 'w')\n{source}"
        plant(folder, name, marked, wants=">=99" if name == "from-the-future" else ">=1.0,<2")
    return folder


def test_doctor_names_all_eight_and_imports_them_only_when_asked(
    environment: Environment, example: Callable[[str], Path], eight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, with_them = example("diabetes"), {"PYTHONPATH": str(eight)}
    began = time.monotonic()
    shallow = environment.run("forge plugins doctor", project, code=1, **with_them)
    took = time.monotonic() - began
    with capsys.disabled():
        print(f"\nforge plugins doctor: {took:.2f} s")
    assert took < 10  # the bar is 1 s, on a machine that does nothing else
    assert [one.name for one in eight.glob("imported-*")] == []
    assert "forge-removed-module 0.3: plugin removed-module: " in shallow.stdout
    assert "forge-from-the-future 0.3: catalog: wants forge-kernel>=99" in shallow.stdout

    with_them["FORGE_PLUGINS_DENY"] = "forge-tabular,forge-lake,forge-cortex"  # well, and slow to import for the first time
    done = environment.run("forge plugins doctor --deep --timeout 5 --json", project, code=1, **with_them)
    said = json.loads(done.stdout)
    found = {one["distribution"]: one for one in said["findings"] if one["level"] == "error"}
    assert set(found) == {f"forge-{name}" for name in EIGHT}
    for name in EIGHT:
        one = found[f"forge-{name}"]
        assert one["version"] == "0.3"
        assert CAUSES_OF_EIGHT[name] in one["cause"]
        assert one["remedy"].startswith(REMEDIES_OF_EIGHT[name])
        assert one["remedy"].endswith(f"; until then: forge plugins disable forge-{name}")
    results = {one["distribution"]: one["result"] for one in said["probes"]}
    assert {results[f"forge-{name}"] for name in EIGHT} == {"broken", "incompatible"}
    assert (results["forge-kernel"], results["forge-registry"], results["forge-lake"]) == ("well", "well", "denied")
    imported = {one.name.removeprefix("imported-") for one in eight.glob("imported-*")}
    assert imported == set(EIGHT) - {"syntax-error", "removed-module", "from-the-future"}

    text = environment.run("forge plugins doctor --deep --timeout 5", project, code=1, **with_them).stdout
    for name, one in found.items():
        assert f"{name} 0.3: {one['where']}: {one['cause']}\n  {one['remedy']}\n" in text


def test_with_all_eight_disabled_nothing_is_said_of_them(environment: Environment, example: Callable[[str], Path], eight: Path) -> None:
    project, with_them = example("diabetes"), {"PYTHONPATH": str(eight)}
    before = (project / "forge.yaml").read_text()
    assert "forge: warning: forge-syntax-error" in environment.run("forge plan", project, **with_them).stderr
    for name in EIGHT:
        environment.run(f"forge plugins disable forge-{name}", project, **with_them)
    assert environment.run("forge plan", project, **with_them).stderr == ""
    deep = environment.run("forge plugins doctor --deep --timeout 60", project, **with_them)
    assert deep.stdout.endswith("\nall plugins are well\n")
    assert sum(" well " in line for line in deep.stdout.splitlines()) == 6  # this repository's
    assert (project / "forge.yaml").read_text().startswith(before)
    for name in EIGHT:
        environment.run(f"forge plugins enable forge-{name}", project, **with_them)
    environment.run("forge plugins doctor", project, code=1, **with_them)


def test_every_command_works_beside_them(environment: Environment, example: Callable[[str], Path], broken: Path) -> None:
    project = example("diabetes")
    with_them = {"PYTHONPATH": str(broken)}
    model = environment.json("forge train", project, **with_them)["name"]
    for command in (
        "forge --help", "forge --version", "forge plan", "forge runs list", "forge models list", f"forge models show {model}@latest",
        "forge data list", f"forge deploy {model} --endpoint e", "forge history e", "forge rollback e", "forge config validate",
        "forge config show", "forge config schema", "forge db current", "forge monitor all", "forge plugins list", "forge auth whoami",
    ):  # fmt: skip
        code = 1 if command == "forge rollback e" else 0  # there is nothing to go back to, with them or without
        environment.run(command, project, code=code, **with_them)
    environment.run("forge plugins doctor", project, code=1, **with_them)

    listed = {one["distribution"]: one for one in environment.json("forge plugins list", project, **with_them)}
    for name, cause in CAUSES.items():
        one = listed[f"forge-{name}"]
        assert (one["version"], one["state"]) == ("0.3", "faulty")
        assert one["roles"] == {"plugin": [name]}
        assert any(cause in fault["cause"] and fault["remedy"] for fault in one["faults"]), one
    future = listed["forge-from-the-future"]
    assert future["state"] == "incompatible"
    assert ">=99" in future["reason"]
    assert "1.0.0" in future["reason"]
    assert listed["forge-lake"]["state"] == "ready"
    assert "connector" in listed["forge-lake"]["roles"]


def test_a_denied_plugin_is_listed_and_no_fault(environment: Environment, example: Callable[[str], Path], broken: Path) -> None:
    project = example("diabetes")
    done = environment.run("forge data list", project, PYTHONPATH=str(broken), FORGE_PLUGINS_DENY="forge-system-exit")
    assert "forge-system-exit" not in done.stderr
    assert "forge-syntax-error" in done.stderr
    listed = {
        one["distribution"]: one
        for one in environment.json("forge plugins list", project, PYTHONPATH=str(broken), FORGE_PLUGINS_DENY="forge-system-exit")
    }
    assert listed["forge-system-exit"]["state"] == "denied"


def test_nothing_may_be_changed_while_a_required_plugin_is_broken(
    environment: Environment, example: Callable[[str], Path], broken: Path
) -> None:
    project = example("diabetes")
    required = ("--set plugins.require=[forge-failing-assert]", {"PYTHONPATH": str(broken)})
    done = environment.run(f"forge train {required[0]}", project, code=3, **required[1])
    assert "forge-failing-assert" in done.stderr
    environment.run(f"forge models list {required[0]}", project, **required[1])


def test_help_imports_nothing_of_thirty_slow_plugins(environment: Environment, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    for number in range(30):
        plant(
            slow, f"slow-{number}", "import time\ntime.sleep(2)\nprint('imported')", entry_points="[forge.trainers]\nslow = {module}:Slow\n"
        )
    code = (
        "import sys; sys.argv = ['forge', *sys.argv[1:]]\nfrom forge_core.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = 'sqlalchemy numpy pyarrow pandas sklearn torch mlflow duckdb litserve polars xgboost lightgbm starlette'.split()\n"
        "sys.stderr.write(' '.join(name for name in sys.modules if name in heavy or name.startswith('saboteur_')))\n"
    )
    (tmp_path / "look.py").write_text(code)
    for command in ("--help", "--version", "plugins list", "plugins doctor"):
        done = environment.run(f"python look.py {command}", tmp_path, PYTHONPATH=str(slow), timeout=20)
        assert done.stderr == "", command
        assert "imported" not in done.stdout


def test_two_distributions_with_one_name_are_an_error_that_names_both(
    environment: Environment, example: Callable[[str], Path], tmp_path: Path
) -> None:
    twins = tmp_path / "twins"
    twins.mkdir()
    for name in ("twin-one", "twin-two"):
        plant(twins, name, "class T: ...", entry_points="[forge.trainers]\ntwin = {module}:T\n")
    project = example("diabetes")
    done = environment.run("forge train --set models.0.type=twin", project, code=2, PYTHONPATH=str(twins))
    assert "forge-twin-one" in done.stderr
    assert "forge-twin-two" in done.stderr
    environment.run("forge plan", project, PYTHONPATH=str(twins))
