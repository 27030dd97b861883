"""`forge plugins doctor`, `enable` and `disable`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from attrs import evolve, frozen
from cyclopts import Parameter

from forge_core import config, editing, reader
from forge_core.catalog import KERNEL, Catalog, Policy, normal, with_environment
from forge_core.cli import console
from forge_core.cli.console import note, say, table
from forge_core.cli.overview import CORE
from forge_core.cli.plugins import project_here
from forge_core.diagnosis import Finding, Probe, diagnose, nearest
from forge_core.faults import ConfigError, NotFound
from forge_core.lastfaults import read
from forge_core.records.data import JSON


@frozen
class Diagnosis:
    """What `forge plugins doctor` says: `probes` are there with `--deep`."""

    distributions: int
    findings: tuple[Finding, ...]
    probes: tuple[Probe, ...] = ()


@frozen
class Edited:
    """What became of plugins.deny; `denied` tells whether the distribution is kept from being loaded, `note` what else bears on it."""

    distribution: str
    denied: bool
    changed: bool
    file: str
    note: str = ""


def doctor(
    *,
    deep: Annotated[bool, Parameter(help="Import each distribution in a process of its own, and look at what that does.")] = False,
    timeout: Annotated[float, Parameter(help="Seconds that a distribution may take with --deep.")] = 10.0,
) -> int:
    """What is wrong with the plugins, and what to do about it. Exit 1 where something keeps one from working.

    Without --deep, that is what metadata, forge.yaml and the last opening tell: no plugin is imported.
    """
    if not timeout > 0:
        raise console.Usage("--timeout takes a number of seconds above 0", "forge plugins doctor --deep --timeout 30")
    project, plugins = project_here(strict=deep)
    catalog = Catalog.scan(Policy(plugins.deny, plugins.allow, plugins.require))
    faults = read(project.root if project is not None else None)
    found = Diagnosis(len({ref.distribution for ref in catalog.refs}), tuple(diagnose(catalog, project, faults, core=CORE, probed=deep)))
    if deep:
        found = _deeply(found, catalog, timeout, plugins.local, project.root if project is not None else None)
    if console.options.json:
        say(found)
    else:
        if found.probes:
            say(None, lambda: _table(found.probes))
        say(None, "\n".join(_lines(found)))
        if console.options.debug:
            sys.stderr.writelines(
                f"\n{one.distribution} {one.version}: {one.where}\n{one.traceback}" for one in found.findings if one.traceback
            )
    return 1 if any(one.level == "error" for one in found.findings) else 0


def _deeply(found: Diagnosis, catalog: Catalog, timeout: float, local: tuple[str, ...], root: Path | None) -> Diagnosis:
    from forge_core.probe import probe  # the hub, and what it needs: not for what metadata tells

    if sys.stderr.isatty():
        note(f"importing each distribution in a process of its own, for at most {timeout:g} s ...")
    probed = probe(catalog, timeout, local, root)
    findings = sorted((*found.findings, *probed.findings), key=lambda one: (one.distribution, one.level, one.where))
    broken = {one.distribution for one in findings if one.level == "error"}
    probes = [
        evolve(one, result="broken") if one.result in ("well", "warnings") and one.distribution in broken else one for one in probed.probes
    ]
    return evolve(found, findings=tuple(findings), probes=tuple(probes))


def _table(probes: Iterable[Probe]) -> Any:
    rows = [(one.distribution, one.version, one.result, *(_cost(one) if one.entries else ())) for one in probes]
    return table(("distribution", "version", "result", "plugin", "modules", "in all", "modules"), rows)


def _cost(one: Probe) -> tuple[str, int, str, int]:
    """Of its plugin module, then of all its entry points."""
    seconds, modules = sum(entry.seconds for entry in one.entries), sum(entry.modules for entry in one.entries)
    return f"{one.seconds:.2f} s", one.modules, f"{seconds:.2f} s", modules


def _lines(found: Diagnosis) -> list[str]:
    lines = [""] if found.probes else []
    for one in found.findings:
        who = f"{one.distribution} {one.version}".strip()
        level = "" if one.level == "error" else f"{one.level}: "
        lines += _folded(who, f"{': ' if who else ''}{level}{one.where}: {one.cause}", "")
        lines += _folded("", one.remedy, "  ")
    errors = sum(one.level == "error" for one in found.findings)
    if not found.findings:
        depth = "" if found.probes else ", as far as metadata tells; --deep imports each of them"
        return [*lines, f"all plugins are well{depth}"]
    return [*lines, "", f"{_many(errors, 'error')}, {_many(len(found.findings) - errors, 'warning')}"]


def _folded(head: str, text: str, indent: str) -> list[str]:
    """One line; on a terminal as many as it takes, the head in bold."""
    if not sys.stdout.isatty():
        return [indent + head + text]
    width, further = max(shutil.get_terminal_size().columns, 20), indent or "    "
    first, *others = textwrap.wrap(head + text, width, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False)
    return [f"\033[1m{head}\033[0m{first.removeprefix(head)}" if head and first.startswith(head) else first, *others]


def _many(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def disable(distribution: str, /) -> int:
    """Put a distribution into plugins.deny of forge.yaml, so that it is never loaded. The rest of the file stays as it is.

    Parameters
    ----------
    distribution
        Its name, as `forge plugins list` shows it.
    """
    name, file = normal(distribution), _file(distribution)
    if name == KERNEL:
        raise ConfigError("forge-kernel cannot be disabled: it is what everything else is plugged into", "forge plugins list")
    raw = reader.read(file, {})
    known = {ref.distribution for ref in Catalog.scan().refs}
    if name not in known and name not in map(normal, editing.listed(raw, file.name)):
        near = nearest(name, known - {KERNEL})
        remedy = f"did you mean {near}?" if near else "forge plugins list"
        raise NotFound(f"{distribution} is not installed, or offers nothing to Forge", remedy)
    for place in _naming(raw, file.name, "require", name):
        raise ConfigError(f"{name} is named in {place}: nothing may be changed without it", f"take it out of {place} first")
    changed = editing.deny(file, name)
    said = f"{name} is disabled: plugins.deny of {file.name} names it" if changed else f"{name} is disabled already: nothing was changed"
    note_ = _overlays(raw, file.name, name)
    say(Edited(name, True, changed, str(file), note_), f"{said}\n  {note_}" if note_ else said)
    return 0


def enable(distribution: str, /) -> int:
    """Take a distribution out of plugins.deny of forge.yaml. The rest of the file stays as it is.

    Parameters
    ----------
    distribution
        Its name, as `forge plugins list` shows it.
    """
    name, file = normal(distribution), _file(distribution)
    changed = editing.allow(file, name)
    why = _still_refused(reader.read(file, {}), file.name, name)
    said = f"{name} is enabled: plugins.deny of {file.name} does not name it any more"
    if not changed:
        said = f"plugins.deny of {file.name} does not name {name}: nothing was changed"
    say(Edited(name, bool(why), changed, str(file), why), f"{said}\n  {why}" if why else said)
    return 0


def _file(distribution: str) -> Path:
    try:
        return config.find(console.options.config)
    except ConfigError as error:
        remedy = f"change to a project's folder, or do without a file: FORGE_PLUGINS_DENY={normal(distribution)}"
        raise ConfigError(error.cause, remedy) from None


def _still_refused(raw: JSON, file: str, name: str) -> str:
    """Why a distribution that plugins.deny does not name is not loaded all the same."""
    allowed = editing.listed(raw, file, "allow")
    if name in map(normal, with_environment(Policy()).deny):
        return "FORGE_PLUGINS_DENY names it, and is asked as well"
    if (raw.get("plugins") or {}).get("allow") is not None and name not in map(normal, allowed) and name != KERNEL:
        return "plugins.allow does not name it: only what stands there is loaded"
    places = _naming(raw, file, "deny", name)
    return f"{places[0]} names it, and replaces the list in that environment" if places else ""


def _overlays(raw: JSON, file: str, name: str) -> str:
    """An environment whose own list replaces the one that was changed."""
    own = {f"{place}plugins.deny" for place, one in _sections(raw).items() if place and "deny" in (one.get("plugins") or {})}
    without = sorted(own - set(_naming(raw, file, "deny", name)))
    return f"{without[0]} replaces that list in its environment, and does not name it" if without else ""


def _naming(raw: JSON, file: str, key: str, name: str) -> list[str]:
    """The lists below `plugins`, here and in each environment, that name a distribution."""
    return [f"{place}plugins.{key}" for place, one in _sections(raw).items() if name in map(normal, editing.listed(one, file, key))]


def _sections(raw: JSON) -> dict[str, JSON]:
    overlays = raw.get("environments")
    found = overlays.items() if isinstance(overlays, dict) else ()
    return {"": raw, **{f"environments.{name}.": overlay for name, overlay in found if isinstance(overlay, dict)}}
