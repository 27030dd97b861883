"""What is live, and what is seen of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from attrs import field, frozen

from forge_core.records.data import JSON


@frozen
class Route:
    """A share of an endpoint's traffic; the weights of an endpoint's routes sum to 100."""

    model: str
    version: int
    weight: int
    shadow: bool = False


@frozen
class Deployment:
    """One revision of an endpoint. Revisions are kept for ever; `url` is where it answers."""

    endpoint: str
    revision: int
    routes: tuple[Route, ...]
    strategy: str
    url: str
    actor: str
    reason: str
    at: datetime
    status: Literal["progressing", "ready", "failed", "rolled_back", "retired"]


@frozen
class Alert:
    endpoint: str
    name: str
    message: str
    at: datetime
    severity: Literal["info", "warning", "critical"] = "warning"
    values: Mapping[str, JSON] = field(factory=dict)


@frozen
class HealthCheck:
    name: str
    healthy: bool
    message: str = ""
    remedy: str = ""


@frozen
class Notice:
    """What a notifier is given."""

    subject: str
    text: str
    severity: Literal["info", "warning", "critical"] = "info"
    at: datetime | None = None


@frozen
class Resource:
    """What a machine has of one kind, as a probe (`forge_resources`) found it."""

    name: str
    kind: Literal["cpu", "memory", "gpu"]
    amount: float
