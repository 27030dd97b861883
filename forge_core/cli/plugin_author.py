"""`forge plugins new` and `forge plugins test`."""
# ruff: noqa: PT028 - `test` is a command and has options

from __future__ import annotations

import difflib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from attrs import frozen
from cyclopts import Parameter

from forge_core.catalog import Catalog, normal
from forge_core.cli.console import Usage, note, say, table
from forge_core.contracts import CONTRACTS
from forge_core.faults import Conflict, NotFound
from forge_core.files import write_atomically
from forge_core.roles import KNOWN, ROLES
from forge_core.testing.proof import OUTCOMES, Proof, prove
from forge_core.testing.report import page

if TYPE_CHECKING:
    from rich.console import RenderableType

TEMPLATE = Path(__file__).parents[1] / "templates" / "plugin"
PARTS = {"bundles.py": ("registry",), "centroids.py": ("trainer", "flavor"), "conditions.py": ("connector",)}
"""Modules of the template that are of other roles than the one they are called after."""
_NAME = re.compile(r"forge-[a-z][a-z0-9]*(-[a-z0-9]+)*")
_BLOCK = re.compile(r" *(?:#|<!--) <([a-z ]+|/)>(?: -->)?\n")
_GAPS = re.compile(r"\n{3,}(?=(?:import|from) )")
_LONELY = re.compile(r"import \(\n    (\w+),\n\)\n")  # one name is left of several
_MARKED = re.compile(r" +(?:#|<!--) <([a-z ]+)>(?: -->)?\n$")
_PAIRED = {"trainer": "flavor", "flavor": "trainer"}
_LONGEST = 32


@frozen
class Made:
    """A plugin's package; `added` are roles that nobody asked for and others need."""

    distribution: str
    path: str
    roles: tuple[str, ...]
    added: tuple[str, ...]


def new(
    name: str,
    /,
    *,
    roles: Annotated[str, Parameter(help="What it shall offer, with commas between: connector,trainer")],
    path: Annotated[Path | None, Parameter(help="The folder to make; ./NAME where it is not given.")] = None,
) -> int:
    """Make a plugin's package that works: drivers, tests, types, and what CI runs."""
    wanted = _roles(roles)
    added = tuple(_PAIRED[role] for role in wanted if role in _PAIRED and _PAIRED[role] not in wanted)
    chosen = frozenset((*wanted, *added))
    _check_name(name, chosen)
    folder = path or Path(name)
    if folder.is_file() or folder.is_symlink() or (folder.is_dir() and any(folder.iterdir())):
        raise Conflict(f"{folder} exists and is not empty", "give another --path")
    if folder.resolve() == Path.cwd():  # it is made beside, and takes the place of an empty one
        raise Conflict("the working directory cannot be replaced", f"cd .., then --path {Path.cwd().name}")
    _make(folder, name, chosen)
    offered = tuple(role for role in ROLES if role in chosen)
    made = Made(name, str(folder), offered, added)
    lines = [
        f"{folder} is ready: {', '.join(offered)}" + (" (a trainer and the flavor of its models come together)" if added else ""),
        f'  python -m pip install --editable "{folder}[testing]"',
        f"  forge plugins test {name}",
    ]
    say(made, "\n".join(lines))
    return 0


def _roles(said: str) -> tuple[str, ...]:
    found = [role.strip() for role in said.split(",") if role.strip()]
    for role in found:
        if role not in ROLES:
            near = difflib.get_close_matches(role, ROLES, 1)
            raise Usage(f"there is no role {role!r}", f"did you mean {near[0]!r}?" if near else f"roles: {', '.join(ROLES)}")
    if not found:
        raise Usage("a plugin has a role at least", f"roles: {', '.join(ROLES)}")
    return tuple(dict.fromkeys(found))


def _check_name(name: str, roles: frozenset[str]) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        near = "-".join(["forge", *filter(None, re.split(r"[^a-z0-9]+", normal(name).removeprefix("forge")))])
        fits = _NAME.fullmatch(near) and len(near) <= _LONGEST and near != name
        rule = f"forge- and a word: small letters, digits and hyphens, at most {_LONGEST} of them, a letter after forge-"
        raise Usage(f"{name!r} is no plugin's name", f"did you mean {near!r}?" if fits else rule)
    if name in {"forge-kernel", "forge-core", *KNOWN.values()}:
        raise Conflict(f"{name} is a distribution of Forge itself", "give yours another name")
    short, ordered = _words(name)["acme"], [role for role in ROLES if role in roles]
    for role in ordered:
        if short == ROLES[role].default or (role, short) in KNOWN:
            raise Conflict(f"Forge has a {role} {short!r} already", "give yours another name")
    contracts = {contract.__name__ for contract in CONTRACTS.values()}
    for role in ordered:
        if f"{_words(name)['Acme']}{role.title()}" in contracts:
            raise Conflict(f"the {role} of {name} would be called like its contract", "give yours another name")


def _words(name: str) -> dict[str, str]:
    """What the template's own name becomes, the longest first."""
    short = name.removeprefix("forge-").replace("-", "_")
    prefix = "".join(part.title() for part in short.split("_"))
    return {"forge-acme": name, "forge_acme": f"forge_{short}", "Acme": prefix, "acme": short}


def _make(folder: Path, name: str, roles: frozenset[str]) -> None:
    """All of it or nothing: it is made beside its place and renamed."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        beside.chmod(0o755)
        for source in sorted(TEMPLATE.rglob("*")):
            inside = source.relative_to(TEMPLATE)
            if source.is_file() and _belongs(inside, roles):
                target = beside / Path(*(_named(part, name) for part in inside.parts))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(_named(_kept(source.read_text(encoding="utf-8"), roles), name), encoding="utf-8")
        os.rename(beside, folder)  # an empty folder in its place gives way
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _belongs(file: Path, roles: frozenset[str]) -> bool:
    if any(part.endswith("_cache") or part == "__pycache__" for part in file.parts):
        return False
    of = PARTS.get(file.name, (file.stem,) if file.stem in ROLES else ())
    return not of or not roles.isdisjoint(of)


def _kept(text: str, roles: frozenset[str]) -> str:
    """What is for these roles: a line that ends with `# <role>`, and those between a line `# <role>` and the next one or `# </>`."""
    kept, wanted = [], True
    for line in text.splitlines(keepends=True):
        block, marked = _BLOCK.fullmatch(line), _MARKED.search(line)
        if block is not None:
            wanted = block[1] == "/" or not roles.isdisjoint(block[1].split())
        elif wanted and (marked is None or not roles.isdisjoint(marked[1].split())):
            kept.append(_MARKED.sub("\n", line))
    tidy = _LONELY.sub(r"import \1\n", _GAPS.sub("\n\n", "".join(kept)))
    return tidy.rstrip("\n") + "\n" if kept else ""


def _named(text: str, name: str) -> str:
    words = _words(name)
    return re.sub("|".join(words), lambda found: words[found[0]], text)


# ---- test


def test(
    *distributions: str,
    every: Annotated[bool, Parameter(name="--all", help="Every distribution that offers a driver.")] = False,
    report: Annotated[Path | None, Parameter(help="Write a page of it: one HTML file that needs no other.")] = None,
    timeout: Annotated[float, Parameter(help="Seconds for each distribution.")] = 900.0,
) -> int:
    """Prove installed plugins: every driver by the suite of its role. Exit 1 where a rule does not hold."""
    names = _chosen(distributions, every)
    proofs = []
    for name in names:
        note(f"testing {name} ...")
        proofs.append(prove(name, timeout))
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(report, page(proofs).encode())
    say(proofs, lambda: _shown(proofs))
    return 0 if all(proof.passed for proof in proofs) else 1


def _chosen(given: Sequence[str], every: bool) -> list[str]:
    if bool(given) == every:
        raise Usage("name the distributions to test, or --all", "forge plugins list")
    installed = {ref.distribution for ref in Catalog.scan().refs if ref.role in ROLES}
    if every:
        return sorted(installed)
    names = list(dict.fromkeys(normal(one) for one in given))
    for name in names:
        if name not in installed:
            near = difflib.get_close_matches(name, installed, 1)
            raise NotFound(f"{name} is not installed, or offers no driver", f"did you mean {near[0]}?" if near else f"pip install {name}")
    return names


def _shown(proofs: Sequence[Proof]) -> RenderableType:
    from rich.console import Group  # with the table, where something is drawn
    from rich.text import Text  # the same

    rows = [
        (proof.distribution, line.role, line.name, line.capability, *(getattr(line, count) for count in OUTCOMES))
        for proof in proofs
        for line in proof.lines
    ]
    columns = ("distribution", "role", "name", "capability", *(count.replace("_", " ") for count in OUTCOMES))
    return Group(table(columns, rows), *(Text(line) for proof in proofs for line in _wrong(proof)))


def _wrong(proof: Proof) -> Iterator[str]:
    """What was not passed, and what to do about it."""
    for trouble in proof.troubles:
        yield f"\n{proof.distribution} {proof.version}: {trouble.what}: {trouble.cause}\n  {trouble.remedy}"
    for rule in proof.rules:
        if rule.outcome == "failed":
            yield f"\n{proof.distribution} {proof.version}: {rule.role} {rule.name}: {rule.test}\n  {rule.rule}\n  {rule.cause}"
