"""A JSON Schema of forge.yaml from the installed settings classes, and the check behind `forge config validate`."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from forge_core import drivers, wiring
from forge_core.catalog import Catalog
from forge_core.document import INFRASTRUCTURE, Document
from forge_core.faults import ConfigError, ForgeError
from forge_core.records.data import JSON
from forge_core.roles import ROLES

if TYPE_CHECKING:
    from forge_core.kernel import Kernel

_PLAIN: dict[Any, JSON] = {str: {"type": "string"}, int: {"type": "integer"}, float: {"type": "number"}, bool: {"type": "boolean"}}


def build(catalog: Catalog | None = None) -> dict[str, JSON]:
    """Draft 2020-12. A driver that does not load is left out; its section may then hold anything."""
    catalog = catalog or Catalog.scan()
    made: dict[str, JSON] = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "forge.yaml", **of(Document)}
    sections = made["properties"]["infrastructure"]["properties"]
    for role in ROLES.values():
        if not role.many:
            sections[role.section] = _chosen(catalog, role.name)
        elif role.section in made["properties"]:
            made["properties"][role.section]["additionalProperties"] = _chosen(catalog, role.name)
    for name in set(INFRASTRUCTURE) - {role.section for role in ROLES.values()}:
        sections[name] = {"type": "object"}
    made["properties"]["environments"] = {"type": "object", "additionalProperties": {"type": "object"}}
    return made


def _chosen(catalog: Catalog, role: str) -> JSON:
    names, variants = [], []
    for ref in catalog.ready(role):
        names.append(ref.name)
        try:
            settings = wiring.settings_class(drivers.load(catalog, role, ref.name))
        except ForgeError:
            continue
        own = of(settings) if settings is not None else {"properties": {}}
        variants.append(
            {"if": {"properties": {"type": {"const": ref.name}}, "required": ["type"]}, "then": {"properties": own["properties"]}}
        )
    name = {"type": "string", "examples": sorted(names)}
    return {"type": "object", "properties": {"type": name, "backend": name, "engine": name}, "allOf": variants}


def of(hint: Any) -> dict[str, JSON]:
    """The schema of a type as the strict converter reads it; text with `${...}` may stand for a number."""
    if hint in _PLAIN:
        plain: dict[str, JSON] = dict(_PLAIN[hint])
        return plain if hint is str else {"anyOf": [plain, {"type": "string", "pattern": r"\$\{"}]}
    if isinstance(hint, type) and attrs.has(hint):
        hints = get_type_hints(hint)
        fields = [one for one in attrs.fields(hint) if one.init]
        made: dict[str, JSON] = {
            "type": "object",
            "properties": {one.alias: of(hints[one.name]) for one in fields if one.alias is not None},
            "additionalProperties": False,
        }
        required = [one.alias for one in fields if one.default is attrs.NOTHING]
        return {**made, "required": required} if required else made
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if one is type(None) else of(one) for one in args]}
    if origin in (tuple, list, Sequence):
        return {"type": "array", "items": of(args[0]) if args else {}}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": of(args[1]) if args else {}}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [one.value for one in hint]}
    return {}


def check(kernel: Kernel) -> dict[str, JSON]:
    """Every driver that forge.yaml names exists and its settings fit; every model has its data set. Nothing is constructed."""
    document = kernel.document
    for role in ROLES.values():
        if not role.many:
            kernel.check_driver(role.name)
    for dataset in document.datasets:
        kernel.check_driver("connector", dataset.connector)
    for transform in document.feature_engineering.transformations:
        kernel.check_driver("transform", transform.type, transform.config)
    for model in document.models:
        kernel.check_driver("trainer", model.type)
        kernel.pipeline(model.name)
    for name in document.pipeline.notifications:
        kernel.check_driver("notifier", name)
    for endpoint in document.deployment.endpoints:
        if endpoint.model and endpoint.model not in {one.name for one in document.models}:
            raise ConfigError(f"the endpoint {endpoint.name!r} names the model {endpoint.model!r}, which is not listed", "look at models")
    if document.deployment.endpoints:
        kernel.check_driver("strategy", document.deployment.strategy, document.deployment.config)
    return {
        "project": document.project.name,
        "models": [one.name for one in document.models],
        "datasets": [one.name for one in document.datasets],
    }
