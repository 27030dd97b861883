"""What puts versions behind endpoints, and how traffic moves."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import ClassVar, Literal

from forge_core.contracts.driver import Driver
from forge_core.faults import ForgeError
from forge_core.hookspecs import DeploymentHooks
from forge_core.operations import operation
from forge_core.records.data import ArrowStream
from forge_core.records.serving import Deployment, Route


class DeploymentStrategy(Driver):
    """How a candidate takes over: pure functions of routes and evidence, no I/O."""

    role: ClassVar[str] = "strategy"

    @abstractmethod
    @operation("strategy:plan", resource="strategy")
    def plan(self, current: tuple[Route, ...], candidate: Route) -> tuple[Route, ...]:
        """The first routes; their weights sum to 100."""

    @abstractmethod
    @operation("strategy:advance", resource="strategy")
    def advance(
        self, routes: tuple[Route, ...], evidence: Mapping[str, Mapping[str, float]]
    ) -> tuple[Route, ...] | Literal["done", "abort"]:
        """The next routes, or a verdict; without evidence the routes stay as they are."""


class Deployer(Driver):
    """Endpoints as desired state, in revisions that are kept for ever. A selector is resolved once, at deploy."""

    role: ClassVar[str] = "deployer"

    @abstractmethod
    @operation(
        "endpoint:deploy",
        resource="endpoint:{endpoint}",
        mutates=True,
        gate=DeploymentHooks.forge_before_deploy,
        tells=DeploymentHooks.forge_traffic_changed,
    )
    def deploy_model(self, selector: str, endpoint: str, strategy: DeploymentStrategy) -> Deployment:
        """The strategy's plan as a new revision, also for a version that is routed already."""

    @abstractmethod
    @operation("endpoint:read", resource="endpoint:{endpoint}")
    def status(self, endpoint: str) -> Deployment: ...

    @abstractmethod
    @operation("endpoint:list", resource="endpoints")
    def endpoints(self) -> Sequence[str]:
        """Names of all endpoints that route somewhere, sorted."""

    @abstractmethod
    @operation("endpoint:promote", resource="endpoint:{endpoint}", mutates=True, tells=DeploymentHooks.forge_traffic_changed)
    def promote(self, endpoint: str, reason: str = "") -> Deployment:
        """All traffic to the newest version routed, and the alias `production` with it, in one step."""

    @abstractmethod
    @operation(
        "endpoint:rollback",
        resource="endpoint:{endpoint}",
        mutates=True,
        tells=(DeploymentHooks.forge_traffic_changed, DeploymentHooks.forge_rolled_back),
    )
    def rollback(self, endpoint: str, reason: str = "") -> Deployment:
        """Back to the last routes that differ from the present ones, as a new revision; where there are none, a typed error.

        `production` goes back with them where it names the version that loses its traffic.
        """

    @abstractmethod
    @operation("endpoint:retire", resource="endpoint:{endpoint}", mutates=True, tells=DeploymentHooks.forge_traffic_changed)
    def retire(self, endpoint: str, reason: str = "") -> Deployment:
        """No routes and the status `retired`, as a new revision."""

    @abstractmethod
    @operation("endpoint:read", resource="endpoint:{endpoint}")
    def history(self, endpoint: str, at: datetime | None = None) -> Sequence[Deployment]:
        """Newest first; with `at`, an aware time, the one revision that was live then, or none before the first."""

    @abstractmethod
    @operation("endpoint:predict", resource="endpoint:{endpoint}")
    def predict(self, endpoint: str, data: ArrowStream, key: str | None = None) -> ArrowStream:
        """Predictions of what the endpoint routes to; the same `key` goes to the same version."""

    @operation("endpoint:read", resource="request:{request_id}")
    def trace(self, request_id: str) -> Deployment:
        """The revision that answered a request, with the one route that it took."""
        raise ForgeError(f"{type(self).__name__} does not trace requests", "choose a deployer that does, such as cortex")

    @operation("server:listen", resource="address:{host}:{port}", mutates=True)
    def serve(self, endpoints: Sequence[str], host: str, port: int, workers: int) -> None:
        """Answer over HTTP until interrupted; no endpoints means all. A mutation: refused while the gates are not sound."""
        raise ForgeError(f"{type(self).__name__} does not serve from here", "choose a deployer that does, such as cortex")
