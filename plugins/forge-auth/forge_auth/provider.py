"""The driver `api_keys`: who a key belongs to, what its role may do, and the operations that make and revoke keys."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import sqlalchemy as sa
from attrs import field, frozen

from forge_auth import permissions, server_key, store, token
from forge_auth.directory import Directory, Snapshot
from forge_auth.store import ApiKey, IssuedKey
from forge_core.contracts import AuthProvider
from forge_core.database import Database
from forge_core.faults import ConfigError, ForgeError, InvalidInput, NotFound, Refused
from forge_core.identifiers import new_id
from forge_core.operations import LOCAL, current, describe, operation
from forge_core.records.auth import Decision, Principal
from forge_core.records.project import Project
from forge_core.serialize import to_json

ANONYMOUS = Principal("anonymous")
SYSTEM = LOCAL.principal
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_NOBODY = "0" * 64  # compared with where an id is unknown, so that it takes as long as a wrong secret
_SHORTEST_SERVER_KEY = 32  # characters


class ApiKeyAuth(AuthProvider):
    """API keys in the project's database, hashed with a server key that lies outside of it.

    Until the first key is made, whoever has no credentials may make exactly that one, and it is an admin's.
    The kernel's own upkeep acts as the system user, which no credentials lead to.
    """

    transactional: ClassVar[bool] = True

    @frozen
    class Settings:
        """`server_key`: `${secret:...}` or `${env:...}`, for several machines on one database; else `.forge/auth.key` is made and used."""

        server_key: str = field(default="", repr=False)

    def __init__(self, settings: Settings, *, database: Database, project: Project) -> None:
        if settings.server_key and len(settings.server_key) < _SHORTEST_SERVER_KEY:
            raise ConfigError(
                f"infrastructure.auth.server_key is shorter than {_SHORTEST_SERVER_KEY} characters",
                "make one: python -c 'import secrets; print(secrets.token_hex(32))'",
            )
        self._given_key = settings.server_key.encode()
        self._database = database
        self._key_file = project.state / "auth.key"
        self._environment = project.environment or "local"
        self._directory = Directory(self._load)

    def authenticate(self, credentials: Mapping[str, str]) -> Principal:
        given = credentials.get("api_key") or credentials.get("bearer")
        if not given:
            return ANONYMOUS
        shown = token.parse(given)
        snapshot = self._directory.snapshot()
        if snapshot.trouble:
            raise Refused(snapshot.trouble, "forge doctor")
        if shown.key_id not in snapshot.by_id:  # it may have been made a moment ago, by another process
            snapshot = self._directory.newest()
        stored = snapshot.by_id.get(shown.key_id)
        proof = server_key.digest(snapshot.server_key, shown.text.reveal())
        fits = hmac.compare_digest(proof, stored.digest if stored else _NOBODY)
        if stored is None or not fits:
            raise Refused("the API key is not known here", "ask an admin: forge auth keys create NAME")
        state = stored.key.state(datetime.now(UTC))
        if state != "active":
            raise Refused(f"the API key of {stored.key.name} is {state}", "ask an admin: forge auth keys create NAME")
        return Principal(stored.key.name, (stored.key.role,), stored.key.tenant)

    def authorize(self, principal: Principal, action: str, resource: str) -> Decision:
        if principal == SYSTEM:
            return permissions.decide(principal, principal.roles, action)
        snapshot = self._directory.snapshot()
        if snapshot.trouble:
            return Decision(False, snapshot.trouble)
        if principal == ANONYMOUS:
            if snapshot.unused:
                return Decision(action == "key:create", "no API key was made yet; the first is: forge auth keys create NAME --role admin")
            return Decision(False, "no API key was given")
        stored = snapshot.by_name.get((principal.tenant, principal.name))
        if stored is None or stored.key.state(datetime.now(UTC)) != "active":
            return Decision(False, f"{principal.name} has no API key that is active")
        roles = tuple(role for role in principal.roles if role == stored.key.role)
        return permissions.decide(principal, roles, action)

    @operation("key:create", resource="key:{name}", mutates=True)
    def create_key(self, name: str, role: str = "viewer", expires_in: timedelta | None = None) -> IssuedKey:
        """Make a key for `name`, whose principal has that name. The secret is in the answer and nowhere else."""
        _check(name, role, expires_in)
        session = current()
        snapshot = self._load()
        if snapshot.trouble:
            raise Refused(snapshot.trouble, "forge doctor")
        if session.principal == ANONYMOUS and role != permissions.ADMIN:
            raise Refused("the first key is an admin's", f"forge auth keys create {name} --role {permissions.ADMIN}")
        hashing_key = snapshot.server_key or server_key.create(self._key_file)
        made = token.issue(self._environment, new_id("key"))
        now = datetime.now(UTC)
        expires_at = now + expires_in if expires_in is not None else None
        key = ApiKey(made.key_id, name, role, session.principal.tenant, now, session.principal.name, expires_at)
        with self._database.transaction() as connection:
            if session.principal == ANONYMOUS and store.any_key(connection):
                raise Refused("another process made the first key meanwhile", "give a key: FORGE_API_KEY or --api-key-file")
            store.insert(connection, key, server_key.digest(hashing_key, made.text.reveal()))
            describe(after=to_json(key))
        self._directory.forget()
        return IssuedKey(key, made.text)

    @operation("key:list", resource="keys")
    def list_keys(self) -> Sequence[ApiKey]:
        """The tenant's keys, oldest first, those that are expired or revoked among them."""
        tenant = current().principal.tenant
        return [stored.key for stored in self._sound().by_id.values() if stored.key.tenant == tenant]

    @operation("key:revoke", resource="key:{key_id}", mutates=True)
    def revoke_key(self, key_id: str) -> ApiKey:
        """Refuse a key from now on: here at once, in every other process within five seconds. For ever; again changes nothing."""
        self._sound()
        with self._database.transaction() as connection:
            before, after = store.revoke(connection, current().principal.tenant, key_id, datetime.now(UTC))
            describe(before=to_json(before), after=to_json(after))
        self._directory.forget()
        return after

    @operation("key:read", resource="key:{name}")
    def principal_of(self, name: str) -> Principal:
        """Who a name stands for, to ask what they may do; the key need not be active."""
        if name == ANONYMOUS.name:
            return ANONYMOUS
        stored = self._sound().by_name.get((current().principal.tenant, name))
        if stored is None:
            raise NotFound(f"no key was ever made for {name}", "forge auth keys list")
        return Principal(name, (stored.key.role,), stored.key.tenant)

    def _sound(self) -> Snapshot:
        """The keys as they are now; not from memory, since people ask this to see what they have just done."""
        snapshot = self._load()
        if snapshot.trouble:
            raise ForgeError(snapshot.trouble, "forge doctor")
        return snapshot

    def _load(self) -> Snapshot:
        """Read everything that a decision needs. What cannot be read, whole and sound, denies all.

        So the table is prepared here and not in `open()`: a driver that does not open denies nothing.
        """
        try:
            self._database.prepare("forge-auth", store.METADATA, store.SCHEMA_VERSION)
            hashing_key = self._given_key or server_key.read(self._key_file)
            with self._database.read() as connection:
                keys = store.read(connection)
                used = bool(keys) or store.was_used(connection)
        except ForgeError as error:
            return Snapshot(trouble=f"the API keys cannot be read: {error.cause}")
        except (sa.exc.SQLAlchemyError, ValueError, TypeError, OSError) as error:
            return Snapshot(trouble=f"the API keys cannot be read: {type(error).__name__}")
        if hashing_key is None and used:
            return Snapshot(trouble="the API keys cannot be checked: .forge/auth.key is missing. Restore it")
        if not keys and (used or (hashing_key and not self._given_key)):
            return Snapshot(trouble="the API keys are gone: the database holds none. Restore it, or remove .forge/auth.key to begin anew")
        return Snapshot.of(keys, hashing_key or b"", unused=not used)


def _check(name: str, role: str, expires_in: timedelta | None) -> None:
    if not _NAME.fullmatch(name) or name in {ANONYMOUS.name, SYSTEM.name}:
        raise InvalidInput(f"{name!r} cannot be a key's name", "use letters, digits and . _ @ -, at most 64, such as ci or ana@example.org")
    if role not in permissions.ROLES:
        raise InvalidInput(f"there is no role {role!r}", f"choose one of {', '.join(permissions.ROLES)}")
    if expires_in is not None and expires_in <= timedelta(0):
        raise InvalidInput("a key cannot expire before it is made", "give a duration such as 90d")
