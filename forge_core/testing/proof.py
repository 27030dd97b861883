"""Installed distributions, proved by the suites of their roles: what `forge plugins test` does.

A distribution names the modules of its suites in the entry-point group `forge.contracts`. A driver that none of them covers is tested
by its role's suite as it stands. All of it runs in another process, which is ended with its children when its time is over.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distribution as metadata
from pathlib import Path
from typing import Any

from attrs import frozen

from forge_core import __version__
from forge_core.catalog import Catalog, Ref, normal
from forge_core.processes import end_group
from forge_core.roles import ROLES
from forge_core.serialize import from_json
from forge_core.testing.suites import Found, Trouble

GROUP = "forge.contracts"
OUTCOMES = {"passed": "passed", "failed": "failed", "not_declared": "not declared", "expected_failures": "expected failure"}
"""How a rule can end, by the name of its count."""
_ORDER = {role: place for place, role in enumerate(ROLES)}
_GRACE = 10.0  # seconds between an interrupt, after which pytest writes what it knows, and the end


@frozen
class Rule:
    """A rule of a suite, and how the driver did. `rule` says what it asks for; `cause`, where it failed, what was found."""

    role: str
    name: str
    suite: str
    test: str
    capability: str
    outcome: str
    rule: str
    cause: str
    seconds: float


@frozen
class Line:
    """How many rules of a driver's contract, or of one of its capabilities, ended how."""

    role: str
    name: str
    capability: str
    passed: int
    failed: int
    not_declared: int
    expected_failures: int


@frozen
class Proof:
    """What the suites found of one distribution; `passed` where no rule failed and every driver kept some."""

    distribution: str
    version: str
    kernel: str
    python: str
    at: datetime
    seconds: float
    passed: bool
    lines: tuple[Line, ...]
    rules: tuple[Rule, ...]
    troubles: tuple[Trouble, ...]


def prove(distribution: str, timeout: float = 900.0) -> Proof:
    """Run the suites of an installed distribution in another process."""
    refs = [ref for ref in Catalog.scan().refs if ref.distribution == normal(distribution) and ref.role in ROLES]
    began, at = time.monotonic(), datetime.now(UTC)
    found: Found = Found()
    rows: list[Mapping[str, Any]] = []
    if refs[0].state == "incompatible":
        found.troubles.append(Trouble(refs[0].distribution, refs[0].reason, f"pip install -U {refs[0].distribution} forge-kernel"))
    else:
        with tempfile.TemporaryDirectory(prefix="forge-test-") as name:
            found, rows = _run(Path(name), distribution, refs, timeout)
    names = _names(refs, found)
    rules = _rules(names, rows)
    lines = _lines(names, rules)
    passed = {(line.role, line.name) for line in lines if line.passed}
    if not found.troubles:
        silent = [key for key in dict.fromkeys(names.values()) if key not in passed]
        found.troubles.extend(Trouble(" ".join(key), "it passed no rule", "see the rules that failed") for key in silent)
    return Proof(
        distribution=normal(distribution),
        version=refs[0].version,
        kernel=__version__,
        python=platform.python_version(),
        at=at,
        seconds=round(time.monotonic() - began, 1),
        passed=not found.troubles and all(rule.outcome != "failed" for rule in rules),
        lines=lines,
        rules=rules,
        troubles=tuple(found.troubles),
    )


def _names(refs: Sequence[Ref], found: Found) -> dict[str, tuple[str, str]]:
    """(role, name) by class, which a report calls `module:qualname`; a class that has several names is shown with all of them."""
    drivers = {(role, name): driver for role, name, driver in found.drivers}
    names: dict[str, tuple[str, str]] = {}
    for ref in refs:
        driver = drivers.get((ref.role, ref.name), ref.target)
        before = names.get(driver)
        names[driver] = (ref.role, f"{before[1]}, {ref.name}" if before else ref.name)
    return names


def _run(folder: Path, distribution: str, refs: Sequence[Ref], timeout: float) -> tuple[Found, list[Mapping[str, Any]]]:
    modules = sorted({one.value for one in metadata(distribution).entry_points if one.group == GROUP})
    task = {"distribution": distribution, "modules": modules, "drivers": [[ref.role, ref.name, ref.target] for ref in refs]}
    (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("FORGE_", "PYTEST_"))}
    mark = secrets.token_hex(16)
    with (folder / "output").open("wb") as sink:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "forge_core.testing.suites"],
            cwd=folder, env={**kept, "PROVED_BY_FORGE": mark},
            stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        late = _waited(child, timeout, mark)
    found = from_json(_read(folder / "found.json", {}), Found)
    rows: list[Mapping[str, Any]] = _read(folder / "rows.json", [])
    failed = any(row["outcome"] == "failed" for row in rows)
    if late or child.returncode not in ((0, 1) if failed else (0,)):
        found.troubles.append(_ended(folder, distribution, child.returncode, timeout if late else None))
    return found, rows


def _waited(child: subprocess.Popen[bytes], timeout: float, mark: str) -> bool:
    """Whether its time was over before it ended. Nothing of it is left."""
    try:
        child.wait(timeout)
        return False
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE)
        return True
    finally:
        end_group(child)
        for process in _marked(mark):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def _marked(mark: str) -> list[int]:
    """The processes that have this in their environment: what a suite started, in whatever group, whoever is its parent by now."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found


def _ended(folder: Path, distribution: str, code: int, timeout: float | None) -> Trouble:
    stage = _text(folder / "stage") or "starting"
    if timeout is not None:
        return Trouble(
            distribution, f"it did not end within {timeout:g} s, while {stage}", "mend what hangs, or give it a longer --timeout"
        )
    said = [line for line in _text(folder / "output").splitlines() if line.strip()]
    how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return Trouble(distribution, f"the process of its suites {how}, while {stage}: {said[-1] if said else 'it said nothing'}", "mend it")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _read(path: Path, otherwise: Any) -> Any:
    return json.loads(path.read_bytes()) if path.is_file() else otherwise


def _rules(names: Mapping[str, tuple[str, str]], rows: Sequence[Mapping[str, Any]]) -> tuple[Rule, ...]:
    made = []
    for row in rows:
        role, name = names.get(row["driver"], (row["role"], row["driver"].rpartition(":")[2]))
        said = {key: row[key] for key in ("suite", "test", "capability", "outcome", "rule", "seconds")}
        made.append(Rule(role=role, name=name, cause=_cause(row["detail"]), **said))
    return tuple(sorted(made, key=lambda rule: (_ORDER[rule.role], rule.name)))


def _cause(detail: str) -> str:
    """The lines of a traceback that say what was found."""
    said = [line[1:].strip() for line in detail.splitlines() if line.startswith("E ")] or detail.strip().splitlines()[-1:]
    return " ".join(said[:3])[:500]


def _lines(names: Mapping[str, tuple[str, str]], rules: Sequence[Rule]) -> tuple[Line, ...]:
    counts: dict[tuple[str, str, str], Counter[str]] = {(*key, ""): Counter() for key in names.values()}
    for rule in rules:
        counts.setdefault((rule.role, rule.name, rule.capability), Counter())[rule.outcome] += 1
    ordered = sorted(counts.items(), key=lambda item: (_ORDER[item[0][0]], *item[0][1:]))
    return tuple(Line(*key, *(found[outcome] for outcome in OUTCOMES.values())) for key, found in ordered)
