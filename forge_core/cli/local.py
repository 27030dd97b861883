"""Commands of a project's local plugins, found by the hook `forge_commands`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from forge_core.catalog import Ref
from forge_core.faults import ForgeError
from forge_core.hookspecs import KernelHooks
from forge_core.kernel import Kernel
from forge_core.records.project import Command


def find(name: str, argv: Sequence[str]) -> Ref | None:
    """The command as a Ref, or None: where there is no project, its file is wrong, or nobody offers the name."""
    place = next((argv[index + 1] for index, one in enumerate(argv[:-1]) if one == "--config"), None)
    try:
        with Kernel.open(Path(place) if place else None, plugins="--no-plugins" not in argv) as kernel:
            for command in kernel.hub.ask(KernelHooks.forge_commands, Command):
                if command.name == name:
                    return Ref("command", command.name, command.target, "this project", "", command.help)
    except ForgeError:
        return None
    return None
