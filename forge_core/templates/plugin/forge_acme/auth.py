"""`auth: acme`: keys whose SHA-256 stands in forge.yaml, each with a role."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen
from forge_core.contracts import AuthProvider
from forge_core.faults import ConfigError, Refused
from forge_core.operations import LOCAL
from forge_core.records import Decision, Principal

ANONYMOUS = Principal("anonymous")
VIEWER = frozenset(
    {
        "data:describe",
        "data:list",
        "data:read",
        "endpoint:list",
        "endpoint:predict",
        "endpoint:read",
        "model:evaluate",
        "model:list",
        "model:load",
        "model:read",
        "model:verify",
        "run:read",
        "transform:apply",
    }
)
"""What the role `viewer` may do; `admin` may do everything, and whoever has no role nothing."""


@frozen
class Key:
    """`sha256` is of the key itself, in hexadecimal; a key is random and long: `secrets.token_hex(32)` makes one."""

    sha256: str
    role: Literal["viewer", "admin"] = "viewer"
    tenant: str = "default"


class AcmeAuth(AuthProvider):
    """Everything is decided from memory; a key is revoked by taking it out of forge.yaml and starting anew."""

    @frozen
    class Settings:
        """`keys` by the name of whom they belong to."""

        keys: Mapping[str, Key] = field(factory=dict)

    def __init__(self, settings: Settings) -> None:
        for name, key in settings.keys.items():
            if name in (ANONYMOUS.name, LOCAL.principal.name):
                raise ConfigError(f"infrastructure.auth.keys: {name!r} is reserved", "give the key another name")
            if not re.fullmatch(r"[0-9a-f]{64}", key.sha256):
                raise ConfigError(f"infrastructure.auth.keys: {name!r} has no SHA-256", "64 hexadecimal digits")
        self._keys = dict(settings.keys)

    def authenticate(self, credentials: Mapping[str, str]) -> Principal:
        given = credentials.get("api_key") or credentials.get("bearer")
        if not given:
            return ANONYMOUS
        digest = hashlib.sha256(given.encode(errors="surrogatepass")).hexdigest()
        found = [name for name, key in self._keys.items() if hmac.compare_digest(key.sha256, digest)]
        if not found:
            raise Refused("the key is not known here", "ask an admin")
        return self._principal(found[0])

    def authorize(self, principal: Principal, action: str, resource: str) -> Decision:
        if principal == LOCAL.principal:  # the kernel's own upkeep, which no credentials lead to
            return Decision(True)
        if principal.name not in self._keys or principal != self._principal(principal.name):
            return Decision(False, f"{principal.name} has no key")
        if "admin" in principal.roles or action in VIEWER:
            return Decision(True)
        return Decision(False, f"{action} needs the role admin")

    def _principal(self, name: str) -> Principal:
        key = self._keys[name]
        return Principal(name, (key.role,), key.tenant)
