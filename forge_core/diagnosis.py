"""What is wrong with the plugins, as far as metadata, forge.yaml and the last opening tell; nothing foreign is imported."""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions

from attrs import field, frozen

from forge_core.catalog import KERNEL, Catalog, Ref, fits, normal, read_head
from forge_core.config import SYNONYMS, Config
from forge_core.document import INFRASTRUCTURE
from forge_core.faults import ConfigError, Fault
from forge_core.roles import GROUPS, ROLES

KNOWN_GROUPS = (*GROUPS.values(), "forge.contracts", "forge.features", "forge.discovery")
_TARGET = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:(?P<object>[^\W\d]\w*(\.[^\W\d]\w*)*))?(\s*\[.*\])?")


@frozen
class Finding:
    """Something wrong: an error keeps it from working, a warning is what it should not do.

    `distribution` is empty where it is the project's own doing; `where` is an entry point, a stage or a place of forge.yaml.
    """

    distribution: str
    version: str
    level: str
    where: str
    cause: str
    remedy: str
    traceback: str = field(default="", repr=False)


@frozen
class Entry:
    """One entry point that was imported: how long it took, and how many modules came with it."""

    name: str
    target: str
    seconds: float
    modules: int


@frozen
class Probe:
    """A distribution: `result` is well, warnings, broken, or why it was not imported: denied, incompatible.

    `seconds`, `modules` and `heavy` (roots that do not belong there) are of its plugin module, which every opening of a
    project imports; `entries` are all that were imported. `printed` is how many bytes went to stdout.
    """

    distribution: str
    version: str
    result: str
    seconds: float = 0.0
    modules: int = 0
    heavy: tuple[str, ...] = ()
    printed: int = 0
    entries: tuple[Entry, ...] = ()


@frozen
class Installed:
    """A distribution that has entry points for Forge, or what looks like some."""

    name: str
    version: str
    entries: tuple[tuple[str, str, str], ...]
    requires: tuple[str, ...]


def diagnose(
    catalog: Catalog, project: Config | None, faults: Sequence[Fault] = (), *, core: Collection[str] = (), probed: bool = False
) -> list[Finding]:
    """Findings, by distribution. `core` are the kernel's commands; with `probed`, what an import answers better is left to the probe."""
    states = {ref.distribution: ref.state for ref in catalog.refs}
    here = installed()
    found = [*_incompatible(catalog), *_clashing(catalog), *_core_commands(catalog, core)]
    for one in here:
        if states.get(one.name) not in ("denied", "incompatible"):
            found += [*_groups(one), *_requirements(one, states)]
    found += _targets(catalog, probed)
    found += _lists(catalog, project, {one.name for one in here})
    found += _infrastructure(catalog, project)
    local = set((project.raw.get("plugins") or {}).get("local") or ()) if project is not None else set()
    found += _last_opening(catalog, faults, found, probed, local)
    return sorted(found, key=lambda one: (one.distribution, one.level, one.where))


def installed() -> list[Installed]:
    """The first of each name on the path, as the catalog takes it."""
    found: dict[str, Installed] = {}
    for one in distributions():
        text = one.read_text("entry_points.txt") or ""
        if "forge" in text.lower() and any(map(_looks_ours, (entry[0] for entry in _entries(one)))):
            head = read_head(one)
            found.setdefault(head.name, Installed(head.name, head.version, tuple(_entries(one)), tuple(_wanted(one))))
    return list(found.values())


def _entries(one: Distribution) -> list[tuple[str, str, str]]:
    try:
        return [(entry.group, entry.name, entry.value) for entry in one.entry_points]
    except (ValueError, TypeError):  # a line that is none
        return []


def _wanted(one: Distribution) -> Iterator[str]:
    """Of the header lines alone: `requires` of the standard library reads the README with an email parser."""
    text = one.read_text("METADATA") or one.read_text("PKG-INFO") or ""
    for line in text.partition("\n\n")[0].splitlines():
        if line.startswith("Requires-Dist: "):
            yield line.removeprefix("Requires-Dist: ")


def _looks_ours(group: str) -> bool:
    return re.sub(r"[-_]", ".", group.lower()).startswith("forge.")


def _incompatible(catalog: Catalog) -> Iterator[Finding]:
    for ref in _first_of_each(ref for ref in catalog.refs if ref.state == "incompatible"):
        remedy = f"pip install -U {ref.distribution} forge-kernel" + until_then(ref.distribution)
        yield Finding(ref.distribution, ref.version, "error", "catalog", ref.reason, remedy)


def _clashing(catalog: Catalog) -> Iterator[Finding]:
    for ref in catalog.refs:
        if ref.state != "clash":
            continue
        replaces = "kernel's own" in ref.reason
        cause = f"{ref.reason}, and cannot be replaced" if replaces else f"{ref.name!r} is {ref.reason}: neither can be chosen"
        remedy = "its author should give it another name" if replaces else f"disable one of them: forge plugins disable {ref.distribution}"
        yield Finding(ref.distribution, ref.version, "error", _entry(ref), cause, remedy)


def _core_commands(catalog: Catalog, core: Collection[str]) -> Iterator[Finding]:
    for ref in catalog.ready("command"):
        if ref.name in core:
            cause = f"`forge {ref.name}` is the kernel's own command: this one is never reached"
            yield Finding(ref.distribution, ref.version, "error", _entry(ref), cause, "its author should give it another name")


def _groups(one: Installed) -> Iterator[Finding]:
    ours = any(group in KNOWN_GROUPS for group, _, _ in one.entries) or any(_name(wanted) == KERNEL for wanted in one.requires)
    for group in dict.fromkeys(group for group, _, _ in one.entries):
        if group in KNOWN_GROUPS or not _looks_ours(group):
            continue
        near = difflib.get_close_matches(re.sub(r"[-_]", ".", group.lower()), KNOWN_GROUPS, 1, 0.8)
        if near or ours:  # else it may be of another program of that name
            cause = f"the entry-point group {group!r} means nothing to Forge"
            remedy = f"its author should write {near[0]!r}" if near else f"known groups: {', '.join(GROUPS.values())}"
            yield Finding(one.name, one.version, "error", group, cause, remedy)


def _targets(catalog: Catalog, probed: bool) -> Iterator[Finding]:
    for ref in catalog.refs:
        if ref.state in ("denied", "incompatible"):
            continue
        cause = misspelt(ref)
        if cause:
            remedy = f"its author should write it right: {ref.name} = module:object"
            yield Finding(ref.distribution, ref.version, "error", _entry(ref), cause, remedy)
            continue
        absent = missing(re.split(r"[\s:\[]", ref.target, maxsplit=1)[0]) if not probed else ""
        if absent:
            cause = f"{ref.target!r} cannot be imported: there is no module {absent}"
            yield Finding(ref.distribution, ref.version, "error", _entry(ref), cause, reinstall(ref.distribution))


def misspelt(ref: Ref) -> str:
    """Why a target cannot be one, whatever is installed; empty where it can."""
    found = _TARGET.fullmatch(ref.target)
    if found is None:
        return f"{ref.target!r} is no target: it is written module:object"
    if ref.role != "plugin" and not found["object"]:
        return f"{ref.target!r} names a module and no object in it: it is written module:object"
    return ""


def reinstall(name: str) -> str:
    return f"pip install --force-reinstall {name}" + until_then(name)


def until_then(name: str) -> str:
    return "" if name == KERNEL else f"; until then: forge plugins disable {name}"


def missing(module: str) -> str:
    """The first part of a dotted name that no finder knows, its parents unimported; empty where there is none, or no telling."""
    places: list[str] | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        try:
            spec = importlib.util.find_spec(name) if places is None else _below(name, places)
            if spec is None:
                return name
            places = list(spec.submodule_search_locations or ())
        except Exception:  # a finder of somebody's, or a namespace within a namespace: only its import tells
            return ""
    return ""


def _below(name: str, places: list[str]) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, places)
        if spec is not None:
            return spec
    return None


def _requirements(one: Installed, states: dict[str, str]) -> Iterator[Finding]:
    for requirement in one.requires:
        name, specifier, marker = _name(requirement), *_rest(requirement)
        if name == KERNEL or not _applies(marker):  # what it wants of the kernel is a state of its own
            continue
        version = version_of(name)
        if states.get(name) == "denied":
            remedy = f"forge plugins enable {name}, or forge plugins disable {one.name}"
            yield Finding(one.name, one.version, "warning", "requirements", f"requires {name}, which is denied", remedy)
        elif version is None:
            yield Finding(
                one.name,
                one.version,
                "error",
                "requirements",
                f"requires {name}, which is not installed",
                f"pip install {_quoted(name + specifier)}",
            )
        elif specifier and not specifier.startswith("@") and not fits(specifier, version):
            cause = f"requires {name}{specifier}, {version} is installed"
            yield Finding(one.name, one.version, "error", "requirements", cause, f"pip install {_quoted(name + specifier)}")


def _name(requirement: str) -> str:
    return normal(re.split(r"[\s\[<>=!~;(@]", requirement.strip(), maxsplit=1)[0])


def _rest(requirement: str) -> tuple[str, str]:
    """(specifier without extras, spaces and brackets; marker)"""
    wanted, _, marker = requirement.partition(";")
    specifier = re.search(r"[<>=!~@].*", re.sub(r"\[.*?\]", "", wanted))
    return (specifier[0].strip(" ()").replace(" ", "") if specifier else ""), marker.strip()


def _quoted(requirement: str) -> str:
    return f"'{requirement}'" if re.search(r"[<>=!~@*]", requirement) else requirement


def _applies(marker: str) -> bool:
    if not marker:
        return True
    if "extra" in marker:
        return False
    from packaging.markers import InvalidMarker, Marker  # 15 ms that a plain requirement does without

    try:
        return Marker(marker).evaluate()
    except InvalidMarker:
        return False


def version_of(name: str) -> str | None:
    try:
        return read_head(distribution(name)).version
    except (PackageNotFoundError, ValueError):
        return None


def _lists(catalog: Catalog, project: Config | None, known: Collection[str]) -> Iterator[Finding]:
    """Names in plugins.deny, .allow and .require that mean nothing, and those that are required and may not be loaded."""
    policy = catalog.policy
    for key, names in (("deny", policy.deny), ("allow", policy.allow or ()), ("require", policy.require)):
        for index, said in enumerate(names):
            name, where = normal(said), _place(project, key, index)
            if name in known or name == KERNEL:
                continue
            near = nearest(name, known)
            cause = f"{said} offers nothing to Forge" if version_of(name) else f"{said} is not installed"
            remedy = f"did you mean {near}?" if near else f"pip install {name}" if key == "require" else f"take it out of plugins.{key}"
            yield Finding(name, "", "error" if key == "require" else "warning", where, cause, remedy)
    for index, said in enumerate(policy.require):
        for ref in _first_of_each(ref for ref in catalog.refs if ref.distribution == normal(said) and ref.state == "denied"):
            remedy = (
                f"forge plugins enable {ref.distribution}"
                if ref.reason.startswith("denied")
                else f"add it to plugins.allow: {ref.distribution}"
            )
            where = _place(project, "require", index)
            yield Finding(ref.distribution, ref.version, "error", where, f"required, and {ref.reason}: nothing may be changed", remedy)


def nearest(name: str, known: Iterable[str]) -> str:
    """The distribution that was meant, or nothing: what most names begin with makes none alike."""
    short = {one.removeprefix("forge-"): one for one in known}
    near = difflib.get_close_matches(name.removeprefix("forge-"), short, 1, 0.7)
    return short[near[0]] if near else ""


def _place(project: Config | None, key: str, index: int) -> str:
    if project is None or index >= len((project.raw.get("plugins") or {}).get(key) or ()):
        return "FORGE_PLUGINS_DENY"
    return project.locate(("plugins", key, index))


def _infrastructure(catalog: Catalog, project: Config | None) -> Iterator[Finding]:
    """Drivers that forge.yaml names and nobody offers; the defaults are not looked at."""
    sections = project.raw.get("infrastructure") if project is not None else None
    if project is None or not isinstance(sections, dict):
        return
    for role in ROLES.values():
        section = sections.get(role.section) if not role.many else None
        name = section.get("type") if isinstance(section, dict) else None
        place = ("infrastructure", role.section)
        said = name != INFRASTRUCTURE[role.section]["type"] if name else False
        if not isinstance(name, str) or "${" in name or not (said or any((*place, key) in project.marks for key in SYNONYMS)):
            continue
        try:
            catalog.get(role.name, name)
        except ConfigError as error:
            yield Finding("", "", "error", project.locate(place), error.cause, error.remedy)


def _last_opening(
    catalog: Catalog, faults: Iterable[Fault], found: Sequence[Finding], probed: bool, local: Collection[str]
) -> Iterator[Finding]:
    """Faults of what is here and may be loaded; what was found above, or will be by the probe, is not said again."""
    ready = {(ref.distribution, ref.version) for ref in catalog.refs if ref.state in ("ready", "clash")}
    without_module = {one.distribution for one in found if one.where.startswith("plugin ")}
    for fault in faults:
        name = normal(fault.distribution)
        known = fault.where in ("import", "register") and (probed or name in without_module)
        if not known and fault.version == "local" and fault.distribution in local:
            yield Finding(fault.distribution, fault.version, "error", fault.where, fault.cause, fault.remedy)
        elif not known and (name, fault.version) in ready:
            yield Finding(name, fault.version, "error", fault.where, fault.cause, fault.remedy)


def _first_of_each(refs: Iterable[Ref]) -> Iterable[Ref]:
    return {ref.distribution: ref for ref in reversed(list(refs))}.values()


def _entry(ref: Ref) -> str:
    return f"{ref.role} {ref.name}"
