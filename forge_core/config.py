"""forge.yaml as plain data: overlays, `--set`, synonyms, and where each key stands.

Secrets stay out: `${...}` is kept as written here, and resolved where a driver is built or a step is done.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from forge_core import reader
from forge_core.document import INFRASTRUCTURE, Document
from forge_core.faults import ConfigError
from forge_core.records.data import JSON
from forge_core.references import Place, dotted, interpolate
from forge_core.wiring import structure

NAMES = ("forge.yaml", "mlforge.yaml")
SYNONYMS = ("type", "backend", "engine")


@frozen
class Config:
    """`raw` is JSON, `marks` tell where each place of it was written."""

    raw: Mapping[str, JSON]
    root: Path
    environment: str | None = None
    marks: Mapping[Place, str] = field(factory=dict, repr=False, eq=False)

    def locate(self, place: Place) -> str:
        """`forge.yaml:12:5: models.0.type`, or the nearest enclosing place that has a mark."""
        for cut in range(len(place), 0, -1):
            if place[:cut] in self.marks:
                return f"{self.marks[place[:cut]]}: {dotted(place)}"
        return dotted(place) or "forge.yaml"

    @property
    def document(self) -> Document:
        """The whole file, checked; drivers' own sections stay as written until the driver is built."""
        found = structure(_own_resolved(self.raw, self.locate), Document, (), self.locate)
        lists = (("datasets",), found.datasets), (("models",), found.models), (("deployment", "endpoints"), found.deployment.endpoints)
        for place, items in lists:
            names = [one.name for one in items]
            for index, name in enumerate(names):
                if name in names[:index]:
                    raise ConfigError(f"{self.locate((*place, index, 'name'))}: {name!r} stands twice", "give one of them another name")
        return found


def find(path: str | Path | None) -> Path:
    """The file asked for, or the project's own in this folder."""
    if path is not None:
        found = Path(path)
        if found.is_dir():
            return find_in(found)
        if not found.is_file():
            raise ConfigError(f"there is no {path}", "give --config FILE, or make a project: forge init NAME")
        return found
    return find_in(Path())


def find_in(folder: Path) -> Path:
    for name in NAMES:
        if (folder / name).is_file():
            return folder / name
    raise ConfigError("there is no forge.yaml here", "change to a project's folder, give --config FILE, or make one: forge init NAME")


def load(path: str | Path | None = None, environment: str | None = None, sets: Sequence[str] = ()) -> Config:
    """Read a project's file with an environment's overlay and `--set` on top."""
    file = find(path)
    marks: dict[Place, str] = {}
    raw = reader.read(file, marks)
    overlays = raw.pop("environments", None) or {}
    if not isinstance(overlays, Mapping):
        raise ConfigError(f"{marks[('environments',)]}: environments: expected a mapping", "environments: {production: {...}}")
    if environment is not None:
        if environment not in overlays:
            raise ConfigError(f"there is no environment {environment!r}", f"known: {', '.join(overlays) or 'none'}")
        overlay = overlays[environment] or {}
        if not isinstance(overlay, Mapping):
            raise ConfigError(f"{marks['environments', environment]}: environments.{environment}: expected a mapping", "project: {...}")
        marks.update({place[2:]: mark for place, mark in marks.items() if place[:2] == ("environments", environment) and len(place) > 2})
        merge(raw, overlay)
    for text in sets:
        _apply(raw, marks, text)
    return finish(raw, file.parent.absolute(), environment, marks)


def from_json(raw: Mapping[str, JSON], root: Path, environment: str | None = None) -> Config:
    """The same project in another process, or a project that has no file."""
    return finish(copy.deepcopy(dict(raw)), root, environment, {})


def finish(raw: dict[str, JSON], root: Path, environment: str | None, marks: dict[Place, str]) -> Config:
    """Make `type`, `backend` and `engine` one key, and fill in the defaults of `infrastructure`."""
    infrastructure = raw.get("infrastructure") or {}
    if isinstance(infrastructure, Mapping):
        sections: dict[str, JSON] = {
            name: dict(section) if isinstance(section, Mapping) else section for name, section in infrastructure.items()
        }
        for name, default in INFRASTRUCTURE.items():
            said = sections.get(name)
            if isinstance(said, dict):
                _one_type(said, ("infrastructure", name), marks)
                sections[name] = {**default, **said} if said.get("type", default.get("type")) == default.get("type") else said
            elif said is None:
                sections[name] = dict(default)
        raw["infrastructure"] = sections
    for key in ("connectors", "trainers", "flavors", "notifiers", "strategies", "transforms"):
        many = raw.get(key)
        for name, section in many.items() if isinstance(many, Mapping) else ():
            if isinstance(section, dict):
                _one_type(section, (key, name), marks)
    return Config(raw, root, environment, marks)


def _one_type(section: dict[str, JSON], place: Place, marks: Mapping[Place, str]) -> None:
    said = [key for key in SYNONYMS if key in section]
    if len(said) > 1:
        at = marks.get((*place, said[1]), dotted(place))
        raise ConfigError(f"{at}: {said[0]!r} and {said[1]!r} are one key", f"keep {said[0]!r}")
    if said:
        value = section.pop(said[0])
        if not isinstance(value, str):
            raise ConfigError(f"{marks.get((*place, said[0]), dotted(place))}: expected a driver's name", "for instance: {backend: sql}")
        section["type"] = value


def merge(base: dict[str, JSON], over: Mapping[str, JSON]) -> None:
    """Mappings merge; lists of named things merge by name; all else replaces."""
    for key, value in over.items():
        if isinstance(value, Mapping) and isinstance(base.get(key), dict):
            merge(base[key], value)
        elif _named(value) and _named(base.get(key)):
            items = {item["name"]: item for item in base[key]}
            for item in value:
                if item["name"] in items:
                    merge(items[item["name"]], item)
                else:
                    base[key].append(item)
        else:
            base[key] = copy.deepcopy(value)


def _named(value: JSON) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) and "name" in item for item in value)


def _apply(raw: dict[str, JSON], marks: dict[Place, str], text: str) -> None:
    """`--set models.churn.hyperparameters.max_depth=5`: a list's item is addressed by its name or index."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r} is not key=value", "for instance: --set infrastructure.serving.port=9000")
    here: Any = raw
    place: tuple[str | int, ...] = ()
    *parents, last = key.strip().split(".")
    for part in parents:
        step = _step(here, part, key)
        if isinstance(here, dict) and not isinstance(here.get(step), dict | list):
            here[step] = {}
        here, place = here[step], (*place, step)
    step = _step(here, last, key)
    here[step] = reader.read_text(value, "--set")
    marks[(*place, step)] = "--set"


def _step(here: Any, part: str, key: str) -> str | int:
    if isinstance(here, dict):
        return part
    names = [item.get("name") if isinstance(item, Mapping) else None for item in here]
    if part in names:
        return names.index(part)
    if part.isdecimal() and int(part) < len(here):
        return int(part)
    raise ConfigError(f"--set {key}: there is no {part!r}", f"known: {', '.join(str(name) for name in names if name)}")


def _own_resolved(raw: Mapping[str, JSON], locate: Callable[[Place], str]) -> JSON:
    """Text with a reference is kept as written where text may stand; what the kernel itself reads is resolved."""
    kept = {key: raw[key] for key in raw if key in _AS_WRITTEN}
    return {**kept, **{key: interpolate(value, None, locate, (key,)) for key, value in raw.items() if key not in _AS_WRITTEN}}


_AS_WRITTEN = (
    "infrastructure",
    "connectors",
    "trainers",
    "flavors",
    "notifiers",
    "strategies",
    "transforms",
    "datasets",
    "models",
    "feature_engineering",
)
