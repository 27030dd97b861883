"""What a module's import costs, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Collection

from attrs import frozen

HEAVY = (
    "dagster", "deltalake", "duckdb", "jax", "lightgbm", "lightning", "litserve", "matplotlib", "mlflow", "numpy", "onnx",
    "onnxruntime", "pandas", "polars", "pyarrow", "ray", "requests", "scipy", "skl2onnx", "sklearn", "skops", "sqlalchemy",
    "tensorflow", "torch", "transformers", "xgboost",
)  # fmt: skip
"""Roots that a plugin module has no business with; a driver's module may import what it likes."""
BUDGET = 60  # modules beyond those of `import forge_core.hookspecs`

_PROBE = """
import importlib, json, sys, time
import forge_core.hookspecs, forge_core.records
before, began = set(sys.modules), time.perf_counter()
importlib.import_module({module!r})
print(json.dumps([sorted(set(sys.modules) - before), time.perf_counter() - began]))
"""


@frozen
class Import:
    """`modules` are those that were not there with `forge_core.hookspecs` and `forge_core.records`; `seconds` is wall time."""

    modules: tuple[str, ...]
    seconds: float


def import_of(module: str, timeout: float = 60) -> Import:
    """Import a module in a fresh process, and say what came with it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-P", "-c", _PROBE.format(module=module)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{module} cannot be imported:\n{done.stderr[-2000:]}")
    modules, seconds = json.loads(done.stdout.splitlines()[-1])
    return Import(tuple(modules), seconds)


def assert_light(module: str, budget: int = BUDGET, banned: Collection[str] = HEAVY) -> None:
    """A plugin module imports the standard library and forge_core only: at most `budget` modules, and none below a root in `banned`."""
    found = import_of(module)
    heavy = sorted({name.partition(".")[0] for name in found.modules} & set(banned))
    assert not heavy, f"{module} imports {', '.join(heavy)}: import them in the driver's module, which is loaded when it is chosen"
    assert len(found.modules) <= budget, f"{module} imports {len(found.modules)} modules, {budget} are allowed: {', '.join(found.modules)}"
