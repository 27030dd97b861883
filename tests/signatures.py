"""What other people's code is written against, as data: contracts, hooks, records, roles. `python tests/signatures.py` records it.

A change that breaks such code is not recorded while the major version is the recorded one.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import attrs

from forge_core import __version__, records
from forge_core.contracts import CONTRACTS
from forge_core.contracts.driver import Capability, Driver
from forge_core.hookspecs import SUBJECTS
from forge_core.roles import ROLES

RECORDED = Path(__file__).with_name("signatures.json")
Surface = Mapping[str, Any]


def now() -> Surface:
    named = {name: getattr(records, name) for name in records.__all__}
    return {
        "version": __version__,
        "contracts": {role: _contract(contract) for role, contract in sorted(CONTRACTS.items())},
        "hooks": {
            name: _parameters(member.__func__)
            for subject in SUBJECTS
            for name, member in sorted(vars(subject).items())
            if isinstance(member, staticmethod)
        },
        "records": {name: _fields(made) for name, made in sorted(named.items()) if attrs.has(made)},
        "choices": {
            name: sorted(one.name for one in made)
            for name, made in sorted({**named, "Capability": Capability}.items())
            if isinstance(made, type) and issubclass(made, Enum)
        },
        "groups": {role.name: [role.group, role.section] for role in ROLES.values()},
    }


def _contract(contract: type[Driver]) -> Surface:
    methods = {name: member for name, member in inspect.getmembers(contract, inspect.isfunction) if not name.startswith("_")}
    return {
        "class": f"{contract.__module__}:{contract.__qualname__}",
        "stable": contract.stable,
        "methods": {
            name: {**_parameters(made), "abstract": name in contract.__abstractmethods__} for name, made in sorted(methods.items())
        },
    }


def _parameters(function: Any) -> dict[str, Any]:
    signature = inspect.signature(function)
    return {
        "parameters": [
            {"name": one.name, "kind": one.kind.name, "optional": one.default is not one.empty, "type": _text(one.annotation)}
            for one in signature.parameters.values()
            if one.name != "self"
        ],
        "returns": _text(signature.return_annotation),
    }


def _fields(record: type) -> list[dict[str, Any]]:
    said = {
        name: text for base in reversed(record.__mro__) for name, text in vars(base).get("__annotations__", {}).items()
    }  # cattrs resolves `type`
    return [{"name": one.name, "optional": one.default is not attrs.NOTHING, "type": _text(said[one.name])} for one in attrs.fields(record)]


def _text(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def breaks(before: Surface, after: Surface) -> Iterator[str]:
    """Each change that code written against `before` would feel; a provisional contract may change."""
    for role, contract in before["contracts"].items():
        if contract["stable"]:
            yield from _contract_breaks(role, contract, after["contracts"].get(role))
    for name, hook in before["hooks"].items():
        yield from _hook_breaks(name, hook, after["hooks"].get(name))
    for name, fields in before["records"].items():
        yield from _record_breaks(name, fields, after["records"].get(name))
    for name, choices in before["choices"].items():
        yield from (f"{name}.{one} is gone" for one in choices if one not in after["choices"].get(name, ()))
    for role, said in before["groups"].items():
        if after["groups"].get(role) != said:
            yield f"role {role} was {' and '.join(said)}"


def _contract_breaks(role: str, before: Surface, after: Surface | None) -> Iterator[str]:
    if after is None:
        yield f"contract {role} is gone"
        return
    if not after["stable"]:
        yield f"contract {role} was stable"
    if after["class"] != before["class"]:
        yield f"contract {role} was {before['class']}"
    for name, method in before["methods"].items():
        now = after["methods"].get(name)
        if now is None:
            yield f"{role}.{name} is gone"
            continue
        if now["abstract"] and not method["abstract"]:
            yield f"{role}.{name} had a body"
        yield from _call_breaks(f"{role}.{name}", method, now)
    yield from (
        f"{role}.{name} is new and abstract"
        for name, made in after["methods"].items()
        if name not in before["methods"] and made["abstract"]
    )


def _call_breaks(name: str, before: Surface, after: Surface) -> Iterator[str]:
    had, has = before["parameters"], after["parameters"]
    for old, new in zip(had, [*has, *[None] * len(had)], strict=False):
        if new is None or (old["name"], old["kind"], old["type"]) != (new["name"], new["kind"], new["type"]):
            yield f"{name} took {old['name']}: {old['type']}"
        elif old["optional"] and not new["optional"]:
            yield f"{name}({old['name']}) was optional"
    yield from (f"{name}({new['name']}) is new and not optional" for new in has[len(had) :] if not new["optional"])
    if before["returns"] != after["returns"]:
        yield f"{name} returned {before['returns']}"


def _hook_breaks(name: str, before: Surface, after: Surface | None) -> Iterator[str]:
    """A listener names the arguments that it wants, so that a new one breaks nobody."""
    if after is None:
        yield f"hook {name} is gone"
        return
    there = {one["name"]: one["type"] for one in after["parameters"]}
    for old in before["parameters"]:
        if there.get(old["name"]) != old["type"]:
            yield f"hook {name} gave {old['name']}: {old['type']}"
    if before["returns"] != after["returns"]:
        yield f"hook {name} returned {before['returns']}"


def _record_breaks(name: str, before: list[Any], after: list[Any] | None) -> Iterator[str]:
    """Records are built by position as well: what is new comes last, and is optional."""
    if after is None:
        yield f"record {name} is gone"
        return
    for old, new in zip(before, [*after, *[None] * len(before)], strict=False):
        if new is None or (old["name"], old["type"]) != (new["name"], new["type"]):
            yield f"{name} had {old['name']}: {old['type']}"
        elif old["optional"] and not new["optional"]:
            yield f"{name}.{old['name']} was optional"
    yield from (f"{name}.{new['name']} is new and not optional" for new in after[len(before) :] if not new["optional"])


def major(surface: Surface) -> str:
    return str(surface["version"]).partition(".")[0]


def main() -> int:
    before, after = json.loads(RECORDED.read_text()) if RECORDED.exists() else None, now()
    if before is not None and major(before) == major(after):
        broken = list(breaks(before, after))
        if broken:
            sys.stderr.write(
                "".join(f"{one}\n" for one in broken) + f"not recorded: {before['version']} and {after['version']} have one major version\n"
            )
            return 1
    RECORDED.write_text(json.dumps(after, indent=1, sort_keys=True) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
