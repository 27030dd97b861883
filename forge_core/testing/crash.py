"""A run that is killed at a step, for those whose drivers must survive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from attrs import frozen

from forge_core import Kernel
from forge_core.testing.project import FakeDistributions, ForgeProject

_KILLER = """
import os, signal
from forge_core import hookimpl

@hookimpl
def forge_step_started(step):
    if step.name == os.environ.get("FORGE_CRASH_AT"):
        os.kill(os.getpid(), signal.SIGKILL)
"""
_RUN = "import sys\nfrom forge_core import Kernel\nwith Kernel.open('.') as kernel:\n    kernel.execute(sys.argv[1] or None)"


@frozen
class Crash:
    """The run that was killed, and what its process wrote to stderr."""

    run_id: str
    stderr: str


def crash(project: ForgeProject, distributions: FakeDistributions, step: str, pipeline: str | None, timeout: float) -> Crash:
    """Run the project's pipeline in a process that kills itself when `step` starts."""
    if not (distributions.folder / "forge_core_crash.py").exists():
        distributions.plugin("forge-core-crash", _KILLER)
    environment = {**os.environ, "FORGE_CRASH_AT": step, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-P", "-c", _RUN, pipeline or ""]
    done = subprocess.run(command, cwd=project.path, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == -signal.SIGKILL, f"the run did not get to {step!r}: it ended with {done.returncode}\n{done.stderr}"
    with Kernel.open(project.path) as kernel:
        return Crash(kernel.runs()[0].run_id, done.stderr)
