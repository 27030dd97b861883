"""`python -m forge_core.testing.suites`, in a folder with a `task.json`: find a distribution's suites, and run them with pytest.

What cannot be imported is written down in `found.json`, and hurts nothing else. `stage` says what is being done, for whoever must
end this process.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from attrs import field, frozen

from forge_core.contracts import CONTRACTS
from forge_core.drivers import first_line
from forge_core.serialize import to_json
from forge_core.testing import SUITES

KIT = "pip install 'forge-kernel[testing]'"
ARGUMENTS = ("-q", "-p", "no:cacheprovider", "-c", "pytest.ini", "--rootdir", ".", "--forge-report", "rows.json")
_OF_KIT = ("pyarrow", "pytest")


@frozen
class Trouble:
    """What kept a distribution, or a driver of it, from being tested."""

    what: str
    cause: str
    remedy: str


@frozen
class Found:
    """`drivers` are (role, name, the class's `module:qualname`), as the rows of a report name it."""

    drivers: list[tuple[str, str, str]] = field(factory=list)
    troubles: list[Trouble] = field(factory=list)

    @contextmanager
    def importing(self, what: str, distribution: str) -> Iterator[None]:
        """What a stranger's module does when it is imported, exiting among it, is kept as a trouble."""
        stage(f"importing {what}")
        try:
            yield
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.troubles.append(Trouble(what, f"{type(error).__name__}: {first_line(error)}", _remedy(error, distribution)))


def main() -> int:
    task = json.loads(Path("task.json").read_text(encoding="utf-8"))
    found = Found()
    files = _files(task, found)
    Path("found.json").write_text(json.dumps(to_json(found)), encoding="utf-8")
    if not files:
        return 0
    import pytest  # an extra: `_files` has found it, or there are no files

    stage("collecting")
    return int(pytest.main([*ARGUMENTS, *files], plugins=[_Stages()]))


def stage(text: str) -> None:
    Path("stage").write_text(text, encoding="utf-8")


def _files(task: Mapping[str, Any], found: Found) -> list[str]:
    """A file of tests for each module of suites, and for each driver that none of them covers."""
    with found.importing("pytest", task["distribution"]):
        import pytest  # an extra, whose absence is told in words

        pytest.register_assert_rewrite("forge_core.testing", *task["modules"])
    files: list[str] = []
    covered: set[type] = set()
    for module in [] if found.troubles else task["modules"]:
        with found.importing(module, task["distribution"]):
            covered |= _covered(importlib.import_module(module))
            files.append(_written(f"from {module} import *\n", len(files)))
    whole = not found.troubles
    for role, name, target in task["drivers"]:
        with found.importing(f"{role} {name}", task["distribution"]):
            cls = EntryPoint(name, target, "").load()
            if not (isinstance(cls, type) and issubclass(cls, CONTRACTS[role])):
                raise TypeError(f"{target} is no subclass of {CONTRACTS[role].__name__}")
            found.drivers.append((role, name, f"{cls.__module__}:{cls.__qualname__}"))
            if whole and cls not in covered:
                importlib.import_module(f"forge_core.testing.{role}")
                files.append(_written(_DEFAULT.format(role=role, suite=SUITES[role], target=target, name=cls.__name__), len(files)))
    return files


_DEFAULT = """
from importlib.metadata import EntryPoint

from forge_core.testing.{role} import {suite}


class Test{name}({suite}):
    driver_class = EntryPoint("", {target!r}, "").load()
"""


def _covered(module: object) -> set[type]:
    from forge_core.testing.contract import Contract  # needs pytest

    classes = [one for name, one in vars(module).items() if name.startswith("Test") and isinstance(one, type) and issubclass(one, Contract)]
    return {cls.driver_class for cls in classes if hasattr(cls, "driver_class")}


def _written(text: str, number: int) -> str:
    name = f"test_{number}.py"
    Path(name).write_text(text, encoding="utf-8")
    return name


def _remedy(error: BaseException, distribution: str) -> str:
    root = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if root in _OF_KIT:
        return KIT
    return f"pip install what has {root}, and add it to the dependencies of {distribution}" if root else f"mend {distribution}"


class _Stages:
    """A plugin of pytest."""

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        stage(nodeid.partition("::")[2])


if __name__ == "__main__":
    sys.exit(main())
