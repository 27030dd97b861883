"""`forge plugins doctor`, `enable` and `disable`."""

from __future__ import annotations

from forge_core.cli.console import say
from forge_core.cli.plugins import installed


def doctor() -> int:
    """What is wrong, from metadata and the last opening; no plugin is imported. Exit 1 where something is."""
    found = [one for one in installed() if one.faults or one.state != "ready"]
    lines = [
        line
        for one in found
        for line in (
            *([f"{one.distribution} {one.version}: {one.state}: {one.reason}"] if one.state != "ready" else []),
            *(f"{one.distribution} {one.version}: {fault.where}: {fault.cause}\n  {fault.remedy}" for fault in one.faults),
        )
    ]
    say(found, lambda: "\n".join(lines) or "all plugins are well")
    return 1 if found else 0
