"""`forge doctor`."""

from __future__ import annotations

import importlib.util
import os

from forge_core.cli.console import opened, say, table
from forge_core.faults import ForgeError
from forge_core.hookspecs import KernelHooks
from forge_core.kernel import Kernel
from forge_core.records.serving import HealthCheck


def doctor() -> int:
    """Is this project, and everything around it, well? Exit 1 where something is not."""
    with opened() as kernel:
        checks = [*_own(kernel), *kernel.hub.ask(KernelHooks.forge_health_checks, HealthCheck)]
        rows = [("ok" if one.healthy else "BAD", one.name, one.message, one.remedy) for one in checks]
        say(checks, lambda: table(("", "what", "", "what to do"), rows))
        return 0 if all(one.healthy for one in checks) else 1


def _own(kernel: Kernel) -> list[HealthCheck]:
    state = kernel.project.state
    made = [
        HealthCheck("project", True, f"{kernel.project.name} {kernel.project.version}"),
        HealthCheck("state folder", os.access(state if state.exists() else state.parent, os.W_OK), ".forge", "make it writable"),
        HealthCheck("arrow", importlib.util.find_spec("pyarrow") is not None, "pyarrow", "pip install 'forge-kernel[arrow]'"),
    ]
    made.extend(HealthCheck(f"plugin {fault.distribution}", False, fault.cause, fault.remedy) for fault in kernel.faults)
    for role in ("registry", "tracker", "deployer", "monitor", "auth", "secrets", "orchestrator"):
        try:
            kernel.driver(role)
        except ForgeError as error:
            made.append(HealthCheck(role, False, error.cause, error.remedy))
        else:
            made.append(HealthCheck(role, True, str(kernel.config.raw["infrastructure"].get(_SECTION[role], {}).get("type", ""))))
    dead = [run.run_id for run in kernel.runs() if run.state == "dead"]
    made.append(
        HealthCheck("runs", not dead, f"{len(dead)} dead" if dead else "none is dead", f"forge runs resume {dead[0]}" if dead else "")
    )
    return made


_SECTION = {
    "registry": "registry", "tracker": "tracking", "deployer": "serving", "monitor": "monitoring", "auth": "auth", "secrets": "secrets",
    "orchestrator": "orchestration",
}  # fmt: skip
