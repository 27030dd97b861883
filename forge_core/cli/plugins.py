"""`forge plugins`: from metadata alone, importing nothing foreign."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from attrs import evolve, frozen
from cyclopts import App

from forge_core import config
from forge_core.catalog import Catalog, Policy, Ref, normal
from forge_core.cli import console
from forge_core.cli.console import say, table
from forge_core.document import PluginsSection
from forge_core.faults import ConfigError, Fault, NotFound
from forge_core.lastfaults import read

NO_FILE = "there is no forge.yaml here"

app = App(name="plugins", help="What is installed, and what is wrong with it.")
app.command("forge_core.cli.plugin_doctor:doctor", name="doctor", help="What is wrong with the plugins, and what to do about it.")
app.command("forge_core.cli.plugin_doctor:enable", name="enable", help="Take a distribution out of plugins.deny.")
app.command("forge_core.cli.plugin_doctor:disable", name="disable", help="Put a distribution into plugins.deny.")
app.command("forge_core.cli.plugin_author:new", name="new", help="Make a plugin's package from the template.")
app.command("forge_core.cli.plugin_author:test", name="test", help="Prove installed plugins with the suites of their roles.")


@frozen
class Installed:
    """A distribution: what it offers, whether it may be used, and what went wrong when a project was last opened here."""

    distribution: str
    version: str
    state: str
    reason: str
    roles: dict[str, list[str]]
    summary: str
    faults: tuple[Fault, ...]


@app.command(name="list")
def list_() -> int:
    """Each plugin's distribution, version, state and roles, with the faults of the last opening."""
    found = installed()
    rows = [
        (
            one.distribution,
            one.version,
            one.state,
            "  ".join(f"{role}: {', '.join(names)}" for role, names in one.roles.items()),
            _said(one),
        )
        for one in found
    ]
    say(found, lambda: table(("distribution", "version", "state", "offers", "what is wrong"), rows))
    return 0


@app.command
def show(distribution: str, /) -> int:
    """One distribution, with each of its entry points."""
    refs = [ref for ref in scan().refs if ref.distribution == normal(distribution)]
    if not refs:
        raise NotFound(f"{distribution} is not installed, or offers nothing to Forge", "forge plugins list")
    say(
        refs,
        lambda: table(
            ("role", "name", "target", "state", "reason"), [(ref.role, ref.name, ref.target, ref.state, ref.reason) for ref in refs]
        ),
    )
    return 0


def installed() -> list[Installed]:
    """Every distribution, and after them the project's own modules, whose version is `local`."""
    project, plugins = project_here()
    refs = _scan(plugins).refs
    faults = read(project.root if project is not None else None)
    names = sorted({ref.distribution for ref in refs})
    local = [Ref("plugin", module, module, module, "local") for module in plugins.local]
    return [
        *(_installed(name, [ref for ref in refs if ref.distribution == name], faults) for name in names),
        *(_installed(ref.distribution, [ref], faults) for ref in local),
    ]


def _installed(name: str, refs: Sequence[Ref], faults: Sequence[Fault]) -> Installed:
    roles: dict[str, list[str]] = {}
    for ref in refs:
        roles.setdefault(ref.role, []).append(ref.name)
    worst = next((ref for state in ("incompatible", "denied", "clash") for ref in refs if ref.state == state), refs[0])
    own = tuple(one for one in faults if normal(one.distribution) == normal(name) and one.version in ("", refs[0].version))
    state = "faulty" if own and worst.state == "ready" else worst.state
    return Installed(name, refs[0].version, state, worst.reason, roles, refs[0].summary, own)


def _said(one: Installed) -> str:
    return one.reason or "; ".join(fault.cause for fault in one.faults)


def scan() -> Catalog:
    """The catalog as this folder's project sees it; without one, or with one that cannot be read, as it is."""
    return _scan(project_here()[1])


def _scan(plugins: PluginsSection) -> Catalog:
    return Catalog.scan(Policy(plugins.deny, plugins.allow, plugins.require), plugins=not console.options.no_plugins)


def project_here(strict: bool = False) -> tuple[config.Config | None, PluginsSection]:
    """The project of this folder, if there is one that can be read, and its `plugins`; `strict` where it must be known who is denied."""
    said = console.options
    try:
        found = config.load(said.config, said.env, said.set)
        plugins = evolve(found, raw={"plugins": found.raw.get("plugins") or {}}).document.plugins  # whatever is wrong elsewhere
    except ConfigError as error:
        absent = error.cause == NO_FILE
        if said.config is not None or (strict and not absent):
            raise
        if not absent:
            sys.stderr.write(f"forge: warning: {error.cause}\n")
        return None, PluginsSection()
    return found, plugins
