"""A plan is exact, writes nothing, and changes with all that a step depends on."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from forge_core import Kernel, Pipeline
from forge_core.planner import source_digest

STEPS = """
import helper
from package import inner
from package.deep import thing
import json
def work(n=1):
    return {"n": helper.VALUE}
"""
OTHERS = {"helper": "import further\nVALUE = 1\n", "further": "X = 1\n", "stranger": "Y = 1\n"}


def prints(kernel: Kernel, **parameters) -> list[str]:
    module = importlib.import_module("my_steps")
    config = Pipeline("p").with_step(module.work, "TRAINING", **parameters).build()
    return [planned.fingerprint for planned in kernel.plan(config).steps]


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


@pytest.fixture
def kernel(open_kernel, project) -> Kernel:
    folder = project(my_steps=STEPS, **OTHERS)
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").write_text("from . import sibling\n")
    for name, source in (("inner", "Z = 1\n"), ("sibling", "S = 1\n"), ("deep", "thing = 1\n")):
        (folder / "package" / f"{name}.py").write_text(source)
    return open_kernel()


def test_a_fingerprint_is_the_same_until_something_changes(kernel):
    assert prints(kernel) == prints(kernel)
    assert prints(kernel, n=2) != prints(kernel)


@pytest.mark.parametrize(
    "changed", ["my_steps", "helper", "further", "package/__init__", "package/inner", "package/deep", "package/sibling"]
)
def test_a_change_of_a_steps_module_or_of_what_it_imports_from_the_project_changes_its_fingerprint(kernel, changed):
    before = prints(kernel)
    path = kernel.config.root / f"{changed}.py"
    path.write_text(path.read_text() + "\nCHANGED = True\n")
    assert prints(kernel) != before


def test_a_change_elsewhere_changes_nothing(kernel):
    before = prints(kernel)
    (kernel.config.root / "stranger.py").write_text("Y = 2\n")
    assert prints(kernel) == before


def test_code_is_hashed_without_being_imported(kernel):
    folder = kernel.config.root / "never"
    folder.mkdir()
    for name in ("__init__", "inner"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported')\n")
    importlib.invalidate_caches()
    assert source_digest("never.inner", kernel.config.root) != source_digest("further", kernel.config.root)
    assert "never" not in sys.modules


def test_a_plan_says_what_runs_and_why(kernel):
    module = importlib.import_module("my_steps")
    config = Pipeline("p").with_step(module.work, "TRAINING").build()
    assert [(one.cached, one.why) for one in kernel.plan(config).steps] == [
        (False, "no result for this code, these parameters and this data")
    ]
    run = kernel.execute(config)
    assert [(one.cached, one.why) for one in kernel.plan(config).steps] == [(True, f"done in {run.run_id}")]


def test_a_plan_writes_nothing(kernel, project):
    module = importlib.import_module("my_steps")
    config = Pipeline("p").with_step(module.work, "TRAINING").build()
    for _ in range(2):
        before = listing(kernel.config.root)
        with Kernel.open(read_only=True) as reader:
            reader.plan(config)
        assert listing(kernel.config.root) == before
        kernel.execute(config)
        kernel.close()  # SQLite's log is folded into its file here, not by the reader


def test_the_order_of_parameters_does_not_matter(kernel):
    assert prints(kernel, n=1, m=2) == prints(kernel, m=2, n=1)
