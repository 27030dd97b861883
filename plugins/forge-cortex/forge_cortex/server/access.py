"""Who may do what, as a gateway asks it: a kernel of its own, and a short memory of what it allowed."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from forge_core.faults import ForgeError, Refused
from forge_core.kernel import Kernel
from forge_core.records.auth import Session
from forge_core.records.data import JSON
from forge_core.records.runs import KernelSpec
from forge_core.serialize import from_json
from forge_cortex.server.problems import Problem

REMEMBERED = 2.0  # seconds; a revoked key is refused everywhere within five
LARGEST = 10_000
_CHALLENGE = {b"www-authenticate": b"Bearer"}


class Access(Protocol):
    """Decides; may block, so it is asked in a thread."""

    def check(self, token: str | None, action: str, resource: str) -> bool:
        """Raise `Problem` 401 or 403, or allow; true where the answer may be remembered for a moment."""


class KernelAccess:
    """Asks the kernel's one `authenticate` and `authorize`. A principal of another tenant finds no endpoint here."""

    def __init__(self, spec: KernelSpec, session: Session) -> None:
        self._kernel = Kernel.from_spec(spec)
        self._kernel.require_sound()  # a gate that vanished must not open the door
        self._tenant = session.principal.tenant

    def check(self, token: str | None, action: str, resource: str) -> bool:
        try:
            caller = self._kernel.authenticate({"bearer": token} if token else {})
        except Refused as error:
            raise Problem(401, error.cause, headers=_CHALLENGE) from None
        if caller.principal.tenant != self._tenant:
            raise Problem(404, "there is no such endpoint")
        try:
            decision = self._kernel.authorize(caller, action, resource)
        except Refused as error:
            if token is None:
                raise Problem(401, error.cause, headers=_CHALLENGE) from None
            raise Problem(403, error.cause) from None
        return not decision.quotas  # a quota is counted each time


def kernel_access(spec: JSON, session: JSON) -> KernelAccess:
    """The factory that a `WorkerSpec` names; its arguments are JSON."""
    return KernelAccess(from_json(spec, KernelSpec), from_json(session, Session))


class Remembered:
    """An `Access` behind a memory of what was allowed, keyed by the raw header; refusals are not kept."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._allowed: dict[tuple[bytes | None, str, str], float] = {}
        self._threads = ThreadPoolExecutor(2, "forge-access")

    def knows(self, authorization: bytes | None, action: str, resource: str, now: float) -> bool:
        """Allowed a moment ago."""
        return self._allowed.get((authorization, action, resource), 0.0) > now

    async def require(self, authorization: bytes | None, action: str, resource: str) -> None:
        """Raise `Problem` 401, 403, or 503 where it cannot be decided."""
        key = (authorization, action, resource)
        if self._allowed.get(key, 0.0) > time.monotonic():
            return
        token = _token(authorization)
        try:
            lasting = await asyncio.get_running_loop().run_in_executor(self._threads, self._access.check, token, action, resource)
        except ForgeError:
            raise Problem(503, "it cannot be decided now who may do this", retry_after=1) from None
        if lasting:
            if len(self._allowed) >= LARGEST:
                self._allowed.clear()
            self._allowed[key] = time.monotonic() + REMEMBERED


def _token(authorization: bytes | None) -> str | None:
    if authorization is None:
        return None
    scheme, _, token = authorization.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem(401, "the Authorization header is not 'Bearer <key>'", headers=_CHALLENGE)
    return token.strip()
