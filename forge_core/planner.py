"""What a run will do, exactly, before it does it.

A step's fingerprint is over its inputs: target, parameters, code, the fingerprints of what it needs, the data's digest with the
query, and the versions of the libraries behind the drivers it names. No driver but the connector is imported for it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import Lock

from attrs import evolve

from forge_core import __version__
from forge_core.catalog import Catalog, normal
from forge_core.faults import ConfigError, Conflict
from forge_core.pipeline import steps
from forge_core.records.data import JSON, DatasetVersion, Query
from forge_core.records.runs import PipelineConfig, Plan, Planned, Step
from forge_core.references import interpolate
from forge_core.serialize import digest_of, to_json

_PARSING = Lock()  # CPython 3.11 counts the depth of ast.parse for all threads together


def query_of(config: PipelineConfig) -> Query:
    """The rows a model's pipeline reads: its features, its target, and what its rows are ordered by."""
    assert config.model is not None
    dataset, model = config.datasets[-1], config.model
    columns = model.features
    if columns is not None:
        extra = [name for name in (model.target, model.training.order_by) if name and name not in columns]
        columns = (*columns, *extra)
    return Query(dataset.name, dataset.version, columns)


class Planner:
    """`resolve` gives the version a query would read now, and the query as the acting principal may pose it.

    `local` maps the project's own models to their modules; `section` gives the driver behind a name of forge.yaml with its settings.
    """

    def __init__(
        self,
        catalog: Catalog,
        root: Path,
        resolve: Callable[[str, Query], tuple[DatasetVersion, Query]],
        known: Callable[[Sequence[str]], Mapping[str, tuple[str, bool]]],
        local: Mapping[str, str] | None = None,
        section: Callable[[str, str | None], tuple[str, Mapping[str, JSON]]] = lambda role, name: (name or "", {}),
    ) -> None:
        self._catalog, self._root, self._resolve, self._known = catalog, root, resolve, known
        self._local, self._section = local or {}, section
        self._source = cache(partial(source_digest, root=root))  # once a plan: a hundred steps may share a module

    def plan(self, config: PipelineConfig) -> Plan:
        """`known(fingerprints)` tells for those that have a result its run, and whether its files are still there."""
        data, queries = self._data(config)
        said = _said(data, queries)
        prints: dict[str, str] = {}
        ordered = steps(config)
        for step in ordered:
            prints[step.name] = self._fingerprint(step, config, said, prints)
        found = self._known(list(prints.values()))
        return Plan(config, data, tuple(_judged(step, prints[step.name], found.get(prints[step.name])) for step in ordered), queries)

    def replan(self, plan: Plan, finished: Collection[str]) -> Plan:
        """The same data and steps; what is not finished gets the fingerprint that it has by the code of now."""
        _data, queries = self._data(plan.pipeline)
        if queries != plan.queries:
            raise Conflict(
                "who goes on with this run may not read the same rows and columns as who began it", "start a new run: forge train"
            )
        said = _said(plan.data, plan.queries)
        prints = {one.step.name: one.fingerprint for one in plan.steps if one.step.name in finished}
        made = []
        for one in plan.steps:
            if one.step.name not in prints:
                prints[one.step.name] = self._fingerprint(one.step, plan.pipeline, said, prints)
            made.append(evolve(one, fingerprint=prints[one.step.name]))
        return evolve(plan, steps=tuple(made))

    def _data(self, config: PipelineConfig) -> tuple[tuple[DatasetVersion, ...], tuple[Query, ...]]:
        if config.model is not None:
            wanted = [(config.datasets[-1].connector, query_of(config))]
        else:
            wanted = [(one.connector, Query(one.name, one.version)) for one in config.datasets]
        found = [self._resolve(connector, query) for connector, query in wanted]
        return tuple(version for version, _query in found), tuple(query for _version, query in found)

    def _fingerprint(self, step: Step, config: PipelineConfig, data: JSON, prints: Mapping[str, str]) -> str:
        return digest_of(
            {
                "target": step.target,
                "parameters": interpolate(dict(step.parameters)),
                "code": self._source(step.target.partition(":")[0]),
                "libraries": [self._library(role, name) for role, name in drivers_of(step, config)],
                "storage": dict(self._section("storage", None)[1]) if step.stage == "VALIDATION" else {},
                "data": data if not step.needs or step.stage == "DATA_PREPARATION" else [],
                "needs": [prints[name] for name in step.needs],
                "kernel": __version__,
            }
        )

    def _library(self, role: str, name: str) -> JSON:
        """What stands behind a driver: its distribution's code and version, and the versions of what that requires."""
        kind, settings = self._section(role, name or None)
        said = [role, name, dict(settings)]
        if role == "trainer" and kind in self._local:
            return [*said, self._source(self._local[kind])]
        ref = self._catalog.get(role, kind)
        package = ref.target.partition(":")[0].partition(".")[0]
        return [*said, ref.distribution, ref.version, package_digest(package), requirements(ref.distribution)]


def _said(data: Sequence[DatasetVersion], queries: Sequence[Query]) -> JSON:
    return [[version.digest for version in data], to_json(queries)]


def _judged(step: Step, fingerprint: str, found: tuple[str, bool] | None) -> Planned:
    if moves_traffic(step):
        return Planned(step, fingerprint, False, "moves traffic where it has to; nothing happens where it is live")
    if found is None:
        return Planned(step, fingerprint, False, "no result for this code, these parameters and this data")
    run, intact = found
    return Planned(step, fingerprint, intact, f"done in {run}" if intact else f"done in {run}, but what it left is gone or damaged")


def moves_traffic(step: Step) -> bool:
    """The standard deployment: what is live can change without a run, so that no result of it is ever taken from before."""
    return step.target == "forge_core.stages:deploy"


def drivers_of(step: Step, config: PipelineConfig) -> Iterator[tuple[str, str]]:
    """(role, name) of the drivers that a standard step calls."""
    if config.model is None or not step.target.startswith("forge_core.stages:"):
        return
    if step.stage == "DATA_PREPARATION":
        yield "connector", config.datasets[-1].connector
    if step.stage in ("DATA_PREPARATION", "TRAINING"):
        for transform in config.transforms:
            yield "transform", transform.type
    if step.stage in ("TRAINING", "VALIDATION"):
        yield "trainer", config.model.type
    if step.stage == "VALIDATION":
        yield "registry", ""


@cache
def package_digest(package: str) -> str:
    """Over every source file of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ConfigError(f"the package {package} is not installed", "pip install --force-reinstall its distribution")
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not folders:
        return _file_digest(Path(spec.origin or ""))
    sha = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            sha.update(f"{path.relative_to(folder)}\0".encode() + bytes.fromhex(_file_digest(path)))
    return sha.hexdigest()


def _file_digest(path: Path) -> str:
    """Kept as long as the file keeps its time and size: a notebook edits its modules between two plans."""
    try:
        stat = path.stat()
    except OSError:
        return "0" * 64
    return _digest_at(path, stat.st_mtime_ns, stat.st_size)


@cache
def _digest_at(path: Path, _time: int, _size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def source_digest(module: str, root: Path) -> str:
    """Of a module's source and of what it imports from the project, found without importing anything."""
    if module.partition(".")[0] == "forge_core":
        return package_digest("forge_core")
    sha = hashlib.sha256()
    for path in sorted(_sources(module, root)):
        sha.update(bytes.fromhex(_file_digest(path)))
    return sha.hexdigest()


def _sources(module: str, root: Path) -> set[Path]:
    """The files of a project's module and of all that it imports from the project; of an installed one, its own."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        for path in _files(waiting.pop(), root):
            if path not in found:
                found.add(path)
                waiting.extend(_imports(path, root))
    return found or set(_installed(module))


def _files(module: str, folder: Path) -> Iterator[Path]:
    """A module's file below a folder, after the `__init__` of each package on the way to it."""
    for part in module.split("."):
        folder = folder / part
        yield from (path for path in (folder / "__init__.py", folder.with_name(f"{part}.py")) if path.is_file())


def _installed(module: str) -> Iterator[Path]:
    top = importlib.util.find_spec(module.partition(".")[0])  # of a top level alone: a deeper one would import its parents
    for place in sys.path if top is None or not top.origin else [str(Path(top.origin).parents[1 if top.submodule_search_locations else 0])]:
        yield from _files(module, Path(place))


def _imports(path: Path, root: Path) -> Iterator[str]:
    """Names that may be modules: `from a import b` gives a and a.b, a relative one is made absolute."""
    try:
        with _PARSING:
            tree = ast.parse(path.read_bytes())
    except SyntaxError:
        return
    package = path.parent.relative_to(root).parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *filter(None, [node.module])] if node.level else [node.module or ""]
            yield ".".join(base)
            yield from (".".join([*base, alias.name]) for alias in node.names)


@cache
def requirements(name: str) -> JSON:
    """[name, version] of what a distribution requires directly and without an extra."""
    try:
        wanted = distribution(name).requires or []
    except PackageNotFoundError:
        return []
    versions = []
    for line in wanted:
        required, _, marker = line.partition(";")
        if "extra" in marker:
            continue
        end = next((index for index, letter in enumerate(required) if letter in " [<>=!~("), len(required))
        try:
            versions.append([normal(required[:end]), distribution(required[:end]).version])
        except PackageNotFoundError:
            continue
    return sorted(versions)
