"""`auth: none`: whoever can run the command may do everything, and nobody else can reach it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from forge_core.contracts.auth import AuthProvider
from forge_core.records.auth import Decision, Principal

SYSTEM = Principal("system", ("admin",))


class NoAuth(AuthProvider):
    """Everyone is the system user. So a server may listen on loopback alone."""

    def authenticate(self, credentials: Mapping[str, str]) -> Principal:
        return SYSTEM

    def authorize(self, principal: Principal, action: str, resource: str) -> Decision:
        if action == "server:listen" and not is_loopback(resource.removeprefix("address:").rpartition(":")[0]):
            return Decision(False, "auth is none, so only a loopback address may be served; configure infrastructure.auth")
        return Decision(True)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
