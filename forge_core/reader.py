"""YAML as data: YAML 1.2's core schema, no tags beyond it, no bombs, and a mark for every place.

YAML 1.1 reads `1e-3` as text, `12:30` as 750 and `on` as true; people who write hyperparameters mean otherwise.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from forge_core.faults import ConfigError
from forge_core.records.data import JSON
from forge_core.references import Place

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_DIGITS = 1000
MAX_NODES = 20_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_NOT_A_NUMBER = (".nan", ".NaN", ".NAN")
_WORDS: dict[str, JSON] = {"": None, "~": None, "null": None, "true": True, "false": False}


def read(file: Path, marks: dict[Place, str]) -> dict[str, JSON]:
    """A file's mapping. `marks` is filled with `name:line:column` for every place."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{file.name} is larger than {MAX_BYTES // 1000} kB", "a project's file is a page or two")
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file.name}: byte {error.start} is not UTF-8", "save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{file.name} cannot be read: {error.strerror}", "look at its permissions") from None
    data = read_text(text, file.name, marks)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise ConfigError(f"{file.name}:1:1: expected a mapping", "project: {name: ...}")
    return data


def read_text(text: str, name: str, marks: dict[Place, str] | None = None) -> JSON:
    """One YAML document as JSON."""
    try:
        _refuse_size(text, name)
        node = yaml.compose(text, _LOADER)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        where = f"{name}:{at.line + 1}:{at.column + 1}" if at else name
        raise ConfigError(f"{where}: {error.problem or error.context}", "it is not valid YAML") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: {str(error).splitlines()[0]}", "it is not valid YAML") from None
    if node is None:
        return None
    return _Walk(name, marks if marks is not None else {}).value(node, (), 0)


def _refuse_size(text: str, name: str) -> None:
    """Before anything recursive or slow: a million levels, or values, are refused in milliseconds."""
    depth = 0
    for seen, event in enumerate(yaml.parse(text, _LOADER)):
        if seen > 2 * MAX_NODES:  # a value's beginning and end
            raise ConfigError(f"{_at(name, event)}: more than {MAX_NODES} values", "a project's file is a page or two")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ConfigError(f"{_at(name, event)}: nested more than {MAX_DEPTH} levels deep", "a project's file is flat")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _at(name: str, thing: Any) -> str:
    return f"{name}:{thing.start_mark.line + 1}:{thing.start_mark.column + 1}"


class _Walk:
    def __init__(self, name: str, marks: dict[Place, str]) -> None:
        self._name, self._marks, self._seen = name, marks, 0

    def value(self, node: yaml.Node, place: Place, depth: int) -> JSON:
        self._seen += 1
        if self._seen > MAX_NODES or depth > MAX_DEPTH:  # aliases make a small text large
            raise ConfigError(f"{_at(self._name, node)}: aliases repeat too much", "write it out, or use fewer aliases")
        self._marks.setdefault(place, _at(self._name, node))
        if isinstance(node, yaml.MappingNode):
            self._plain(node, "map")
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            self._plain(node, "seq")
            return [self.value(child, (*place, index), depth + 1) for index, child in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[str, JSON]:
        made: dict[str, JSON] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{_at(self._name, key_node)}: a key must be text", "")
            key = key_node.value
            if key == "<<" and not key_node.style:
                raise ConfigError(f"{_at(self._name, key_node)}: merge keys are not read", "write the keys out, or use environments")
            if key in made:
                raise ConfigError(f"{_at(self._name, key_node)}: {key!r} stands here twice", "keep one of them")
            self._marks[(*place, key)] = _at(self._name, key_node)
            made[key] = self.value(value_node, (*place, key), depth + 1)
        return made

    def _plain(self, node: yaml.Node, kind: str) -> None:
        if node.tag != _CORE + kind:
            raise ConfigError(f"{_at(self._name, node)}: the tag {node.tag.replace(_CORE, '!!')} is not read", "write plain values")

    def _scalar(self, node: yaml.Node) -> JSON:
        text: str = node.value
        kinds = ("str", "int", "float", "bool", "null", "timestamp", "merge", "value")  # what YAML 1.1 takes plain text for
        if node.tag not in {_CORE + kind for kind in kinds}:
            self._plain(node, "str")
        if getattr(node, "style", None):
            return text  # quoted, or a block
        word = text.lower() if text in (text.lower(), text.capitalize(), text.upper()) else text
        if word in _WORDS:
            return _WORDS[word]
        if _INTEGER.fullmatch(text):
            if len(text) > MAX_DIGITS:
                raise ConfigError(f"{_at(self._name, node)}: a number of {len(text)} digits", "quote it where it is text")
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        if _INFINITE.fullmatch(text) or text in _NOT_A_NUMBER:
            return float(text.replace(".", ""))
        return text
