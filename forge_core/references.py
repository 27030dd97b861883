"""`${env:NAME}`, `${env:NAME:-default}` and `${secret:path}` inside forge.yaml, resolved late."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from forge_core.faults import ConfigError
from forge_core.records.data import JSON

Place: TypeAlias = tuple[str | int, ...]
_REFERENCE = re.compile(r"\$\{(?P<kind>env|secret):(?P<name>[^}:]+)(?::-(?P<default>[^}]*))?\}")


class Resolved(str):
    """Text that came out of `${...}`: the one kind of text that becomes a number without being asked."""

    __slots__ = ()


def dotted(place: Place) -> str:
    return ".".join(map(str, place))


def interpolate(
    value: JSON, secret: Callable[[str], str] | None = None, locate: Callable[[Place], str] = dotted, place: Place = ()
) -> JSON:
    """`value` with every reference resolved; `secret` reads what `${secret:path}` names, None where no secret may stand."""
    if isinstance(value, Mapping):
        return {key: interpolate(inner, secret, locate, (*place, key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [interpolate(inner, secret, locate, (*place, index)) for index, inner in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def put(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if match["kind"] == "secret":
            if secret is None:
                raise ConfigError(f"{locate(place)}: a secret may not stand here", "use it in a driver's section")
            return secret(name)
        if name in os.environ:
            return os.environ[name]
        if default is None:
            raise ConfigError(f"{locate(place)}: the environment has no {name}", f"export {name}=..., or write ${{env:{name}:-default}}")
        return default

    return Resolved(_REFERENCE.sub(put, value))
