"""What is installed, read from metadata in one scan; nothing foreign is imported.

This file is on the path of `forge --help`: it imports no regular-expression compiler for versions, no email parser and,
unless a requirement is an unusual one, no `packaging`.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Protocol

from attrs import evolve, frozen

from forge_core import __version__
from forge_core.faults import ConfigError
from forge_core.roles import GROUPS, KNOWN

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

KERNEL = "forge-kernel"


@frozen
class Ref:
    """One entry point. `state` is ready, denied, clash or incompatible; `reason` says why it is not ready."""

    role: str
    name: str
    target: str
    distribution: str
    version: str
    summary: str = ""
    state: str = "ready"
    reason: str = ""

    @property
    def entry(self) -> EntryPoint:
        from importlib.metadata import EntryPoint  # with an email parser, 25 ms: for what is loaded, not for what is listed

        return EntryPoint(self.name, self.target, GROUPS[self.role])


@frozen
class Head:
    """What the first lines of METADATA say."""

    name: str
    version: str
    summary: str
    wants: str


@frozen
class Policy:
    """`plugins:` of forge.yaml, with `FORGE_PLUGINS_DENY` added to `deny`."""

    deny: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None
    require: tuple[str, ...] = ()

    def refuses(self, distribution: str) -> str:
        """Why a distribution may not be loaded; empty where it may."""
        name = normal(distribution)
        if name == KERNEL:
            return ""
        if name in map(normal, self.deny):
            return "denied by plugins.deny or FORGE_PLUGINS_DENY"
        if self.allow is not None and name not in map(normal, self.allow):
            return "not in plugins.allow"
        return ""


@frozen
class Catalog:
    refs: tuple[Ref, ...]
    policy: Policy = Policy()
    plugins: bool = True

    @classmethod
    def scan(cls, policy: Policy | None = None, *, plugins: bool = True, path: list[str] | None = None) -> Catalog:
        """Read all entry points once; with `plugins=False` the kernel's own alone. `path` replaces `sys.path` (for tests)."""
        policy = with_environment(policy or Policy())
        refs = _read(policy, path)
        if not plugins:
            refs = [ref for ref in refs if ref.distribution == KERNEL]
        counts = Counter((ref.role, ref.name) for ref in refs if ref.state == "ready" and ref.role != "plugin")
        settled = (_settle(ref, refs) if ref.state == "ready" and counts[ref.role, ref.name] > 1 else ref for ref in refs)
        return cls(tuple(sorted(settled, key=lambda ref: (ref.role, ref.name, ref.distribution))), policy, plugins)

    def ready(self, role: str) -> Iterator[Ref]:
        return (ref for ref in self.refs if ref.role == role and ref.state == "ready")

    def get(self, role: str, name: str) -> Ref:
        """The one ready offer of a name; otherwise a `ConfigError` that says what to do."""
        offers = [ref for ref in self.refs if (ref.role, ref.name) == (role, name)]
        for ref in offers:
            if ref.state == "ready":
                return ref
        clashing = [ref for ref in offers if ref.state == "clash"]
        if clashing:
            both = " and ".join(f"{ref.distribution} {ref.version}" for ref in clashing)
            raise ConfigError(
                f"{role} {name!r} is offered by {both}", f"deny one of them: plugins: {{deny: [{clashing[-1].distribution}]}}"
            )
        if offers:
            ref = offers[0]
            raise ConfigError(f"{role} {name!r} of {ref.distribution} {ref.version} is {ref.state}: {ref.reason}", _mend(ref))
        raise ConfigError(f"no {role} is called {name!r}", self._nearest(role, name))

    def _nearest(self, role: str, name: str) -> str:
        known = KNOWN.get((role, name))
        if not self.plugins:
            return "plugins were left out: run it without --no-plugins"
        if known:
            return f"pip install {known}"
        names = sorted({ref.name for ref in self.ready(role)})
        near = difflib.get_close_matches(name, names, 1)
        return f"did you mean {near[0]!r}?" if near else f"installed: {', '.join(names) or 'none'}"


def with_environment(policy: Policy) -> Policy:
    said = [name.strip() for name in os.environ.get("FORGE_PLUGINS_DENY", "").split(",")]
    return evolve(policy, deny=(*policy.deny, *filter(None, said)))


def normal(name: str) -> str:
    """A distribution's name as PEP 503 normalises it."""
    return "-".join(part for part in name.lower().replace("_", "-").replace(".", "-").split("-") if part)


def _read(policy: Policy, path: list[str] | None) -> list[Ref]:
    roles = {group: role for role, group in GROUPS.items()}
    refs: list[Ref] = []
    seen: set[str] = set()
    for dist in _distributions(path):
        text = dist.read_text("entry_points.txt")
        if not text or "[forge." not in text:  # most of what is installed: nothing more is read of it
            continue
        head, state, reason = _judged(dist, policy)
        if head.name in seen:  # the first on the path is the one that would be imported
            continue
        seen.add(head.name)
        for group, entry, target in _entries(text):
            if group in roles:
                refs.append(Ref(roles[group], entry, target, head.name, head.version, head.summary, state, reason))
    return refs


class _Distribution(Protocol):
    """What `importlib.metadata.Distribution` has as well."""

    def read_text(self, filename: str) -> str | None: ...


@frozen
class _Folder:
    """A `*.dist-info` or `*.egg-info` folder."""

    path: str

    def read_text(self, filename: str) -> str | None:
        try:
            with open(f"{self.path}/{filename}", encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError):
            return None


def _distributions(path: list[str] | None) -> Iterator[_Distribution]:
    """Those of folders are found here, in a quarter of the time that `importlib.metadata` takes, which finds the others."""
    others: list[str] = []
    for place in sys.path if path is None else path:
        try:
            names = os.listdir(place or ".")
        except NotADirectoryError:
            others.append(place)
        except OSError:
            continue
        else:
            yield from (_Folder(f"{place or '.'}/{name}") for name in names if name.endswith((".dist-info", ".egg-info")))
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_distributions") and finder is not PathFinder]
    if others or (finders and path is None):
        from importlib.metadata import DistributionFinder, distributions  # for archives, and for who finds in ways of their own

        yield from distributions(path=others)
        for finder in finders if path is None else ():
            yield from finder.find_distributions(DistributionFinder.Context())


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """(group, name, target) of an entry_points.txt; `Distribution.entry_points` takes ten times as long."""
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif "=" in line and not line.startswith("#"):
            name, _, target = line.partition("=")
            yield group, name.strip(), target.strip()


def _judged(dist: _Distribution, policy: Policy) -> tuple[Head, str, str]:
    head = read_head(dist)
    refusal = policy.refuses(head.name)
    if refusal:
        return head, "denied", refusal
    if head.wants and not fits(head.wants, __version__):
        return head, "incompatible", f"wants forge-kernel{head.wants}, this is forge-kernel {__version__}"
    return head, "ready", ""


def _settle(ref: Ref, refs: list[Ref]) -> Ref:
    others = [other.distribution for other in refs if (other.role, other.name) == (ref.role, ref.name) and other is not ref]
    if KERNEL in (ref.distribution, *others):  # what the kernel offers cannot be replaced
        return ref if ref.distribution == KERNEL else evolve(ref, state="clash", reason=f"{ref.name!r} is the kernel's own")
    return evolve(ref, state="clash", reason=f"also offered by {', '.join(others)}")


def _mend(ref: Ref) -> str:
    if ref.state == "denied":
        return f"take {ref.distribution} out of plugins.deny, or add it to plugins.allow"
    if ref.state == "clash":
        return f"choose another {ref.role}"
    return f"pip install -U {ref.distribution} forge-kernel"


def read_head(dist: _Distribution) -> Head:
    """From METADATA's header lines alone: the email parser behind `dist.metadata` reads the whole README."""
    text = dist.read_text("METADATA") or dist.read_text("PKG-INFO") or ""
    name = version = summary = wants = ""
    for line in text.partition("\n\n")[0].splitlines():
        key, _, value = line.partition(": ")
        if key == "Name":
            name = normal(value)
        elif key == "Version":
            version = value
        elif key == "Summary":
            summary = value
        elif key == "Requires-Dist":
            wants = wants or _kernel_requirement(value)
    return Head(name or "unknown", version, summary, wants)


def _kernel_requirement(requirement: str) -> str:
    """`forge-kernel[arrow]>=1.0,<2` gives `>=1.0,<2`; anything else, or what an extra asks for, gives nothing."""
    wanted, _, marker = requirement.partition(";")
    end = next((index for index, letter in enumerate(wanted) if letter in " [<>=!~("), len(wanted))
    if normal(wanted[:end]) != KERNEL or "extra" in marker:
        return ""
    rest = wanted[end:].strip()
    if rest.startswith("["):
        rest = rest.partition("]")[2].strip()
    return rest.strip("()").replace(" ", "")


def fits(wants: str, version: str) -> bool:
    """`>=1.0,<2` is compared here; `packaging` (15 ms) is imported for anything else."""
    here = _numbers(version)
    for part in wants.split(","):
        bound = _numbers(part.lstrip("<>="))
        if here is None or bound is None or not part.startswith((">=", "<")) or part.startswith("<="):
            return _fits_exactly(wants, version)
        if (here < bound) if part.startswith(">=") else (here >= bound):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...] | None:
    parts = version.split(".")
    if not all(part.isdecimal() for part in parts):
        return None
    found = [int(part) for part in parts]
    return tuple(found + [0] * (6 - len(found)))


def _fits_exactly(wants: str, version: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # 15 ms that most start-ups never pay

    try:
        return SpecifierSet(wants).contains(version, prereleases=True)
    except InvalidSpecifier:
        return False
