"""Who acts, what was decided, and what was recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from forge_core.records.data import JSON, Condition, Mask


@frozen
class Principal:
    name: str
    roles: tuple[str, ...] = ()
    tenant: str = "default"


@frozen
class Decision:
    """An answer to "may they?", with what they must accept: row filters, masked columns, quotas."""

    allowed: bool
    reason: str = ""
    filters: tuple[Condition, ...] = ()
    masks: Mapping[str, Mask] = field(factory=dict)
    quotas: Mapping[str, int] = field(factory=dict)


@frozen
class Session:
    """Who acts and how long; it travels into step processes. The tenant is the principal's."""

    principal: Principal
    request_id: str
    deadline: datetime | None = None


@frozen
class Refusal:
    """What a gate returns to say no."""

    reason: str
    remedy: str = ""


@frozen
class Event:
    """One operation, as the outbox keeps it. `outcome` is done, intent, failed or unknown."""

    id: str
    action: str
    resource: str
    actor: str
    tenant: str
    at: datetime
    before: JSON = None
    after: JSON = None
    request_id: str = ""
    outcome: str = "done"
