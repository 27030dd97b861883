"""Wrong auth providers: who is let in, and to what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

from attrs import evolve
from mutant_swap import swap

from forge_auth import permissions, token
from forge_auth.directory import Directory, Snapshot
from forge_auth.provider import ANONYMOUS, ApiKeyAuth
from forge_auth.store import ApiKey
from forge_core.faults import Refused
from forge_core.records.auth import Decision, Principal


class UnknownActionsAllowed(ApiKeyAuth):
    """A viewer may do whatever nobody has thought of forbidding."""

    suite: ClassVar[str] = "forge_auth.testing:TestApiKeys"

    def authorize(self, principal: Principal, action: str, resource: str) -> Decision:
        decision = super().authorize(principal, action, resource)
        viewer = "viewer" in principal.roles and "has the role viewer" in decision.reason
        return Decision(True, "not forbidden") if viewer and action not in permissions.ADMIN_ONLY else decision


class WrongIsAnonymous(ApiKeyAuth):
    """Whoever shows a wrong key is let in as nobody."""

    suite: ClassVar[str] = "forge_auth.testing:TestApiKeys"

    def authenticate(self, credentials: Mapping[str, str]) -> Principal:
        try:
            return super().authenticate(credentials)
        except Refused:
            return ANONYMOUS


class IdWithoutSecret(ApiKeyAuth):
    """A key is known by its id, and its secret is not compared."""

    suite: ClassVar[str] = "forge_auth.testing:TestApiKeys"

    def authenticate(self, credentials: Mapping[str, str]) -> Principal:
        given = credentials.get("api_key") or credentials.get("bearer")
        if not given:
            return ANONYMOUS
        found = re.match(r"forge_[a-z0-9]+_([0-9a-f]{22})_", given)
        if found is None:
            return super().authenticate(credentials)
        stored = self._directory.newest().by_id.get(f"key_{found[1]}")
        if stored is None or stored.key.state(datetime.now(UTC)) != "active":
            raise Refused("the API key is not known here", token.REMEDY)
        return Principal(stored.key.name, (stored.key.role,), stored.key.tenant)


class RevokedLetIn(ApiKeyAuth):
    """A key that was revoked or has expired opens as before."""

    suite: ClassVar[str] = "forge_auth.testing:TestApiKeys"

    def open(self) -> None:
        swap(ApiKey, "state", lambda self, now: "active")


class TenantForgotten(ApiKeyAuth):
    """Everybody is of the tenant `default`."""

    suite: ClassVar[str] = "forge_auth.testing:TestApiKeys"

    def authenticate(self, credentials: Mapping[str, str]) -> Principal:
        return evolve(super().authenticate(credentials), tenant="default")


class AskedEachTime(ApiKeyAuth):
    """The keys are read from the database for every decision."""

    suite: ClassVar[str] = "forge_auth.testing:TestApiKeys"

    def authorize(self, principal: Principal, action: str, resource: str) -> Decision:
        self._directory.forget()
        return super().authorize(principal, action, resource)


class OpenOnTrouble(ApiKeyAuth):
    """While the keys cannot be read, those that were known a moment ago stay in force for ever."""

    suite: ClassVar[str] = "forge_auth.testing:TestApiKeys"

    _sound_before: Snapshot | None = None

    def open(self) -> None:
        self._directory = Directory(self._last_sound)

    def _last_sound(self) -> Snapshot:
        found = self._load()
        if found.trouble:
            return self._sound_before or found
        self._sound_before = found
        return found
